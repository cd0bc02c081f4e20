"""The database of a deployment, for commands that work on it without asking the deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from robotrace.cli.embedded import default_data_dir, needs_server
from robotrace.errors import ConfigurationError

if TYPE_CHECKING:
    from robotrace.serve.database import Database

__all__ = ["ENV_DATABASE", "database_options", "open_database"]

ENV_DATABASE = "ROBOTRACE_SERVE_DATABASE"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def database_options(command: _Command) -> _Command:
    """Add ``--data-dir`` and ``--database``; the command gets ``data_dir`` and ``database``, None where not given."""
    command = click.option(
        "--database",
        metavar="URL",
        envvar=ENV_DATABASE,
        help=f"The deployment's, if not in its folder.  [env var: {ENV_DATABASE}]",
    )(command)
    return click.option(
        "--data-dir", type=click.Path(path_type=Path), help="Its folder.  [default: ~/.robotrace/deployment]"
    )(command)


@contextmanager
def open_database(data_dir: Path | None, database: str | None) -> Iterator[Database]:
    """The database of the options; the deployment may be running.

    Raises:
        ConfigurationError: There is none, or its schema is of another version.
    """
    with needs_server():
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        from robotrace.serve.database import Database
        from robotrace.serve.settings import Settings
    if database is None:
        settings = Settings(data_dir or default_data_dir())
        if not settings.database_path.is_file():
            raise ConfigurationError(f"there is no deployment in {settings.data_dir}; robotrace serve makes one")
        url = settings.database_url
    else:
        try:
            url = make_url(database)
        except ArgumentError as error:
            raise ConfigurationError(f"--database: {error}") from error
    opened = Database(url)
    try:
        opened.require_current()
        yield opened
    finally:
        opened.close()
