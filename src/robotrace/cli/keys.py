"""``robotrace keys``: the API keys of a deployment on this machine, or of its database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robotrace.cli.local_database import database_options, open_database
from robotrace.cli.options import CommandGroup, json_option
from robotrace.cli.output import Column, local_time, print_json, print_table
from robotrace.errors import ConfigurationError

if TYPE_CHECKING:
    from robotrace.serve.models import ApiKey

__all__ = ["keys"]

_project_option = click.option(
    "--project", metavar="SLUG", default="default", show_default=True, help="The project of the key."
)


@click.group(cls=CommandGroup, short_help="Make, list and revoke API keys of a deployment.")
def keys() -> None:
    """Make, list and revoke the API keys of a deployment, in its database: it may be running, and need not be."""


@keys.command(short_help="Make an API key and print it.")
@click.argument("name")
@_project_option
@database_options
@json_option
def create(name: str, project: str, data_dir: Path | None, database: str | None, as_json: bool) -> None:
    """Make an API key called NAME and print it. It is shown this once: only its SHA-256 is stored.

    \b
    Example:
      robotrace keys create arm-2
      robotrace keys create ci --project nightly
    """
    with open_database(data_dir, database) as opened:
        from robotrace.serve.audit import Actor
        from robotrace.serve.keys import make_key, valid_key_name
        from robotrace.serve.projects import project_by_slug

        try:
            name = valid_key_name(name)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="NAME") from error
        with opened.write() as session:
            actor = Actor(project_by_slug(session, project).id, "command line")
            key, text = make_key(session, actor, name)
            shown = {**_as_json(key), "project": project, "api_key": text}
    if as_json:
        print_json(shown)
    else:
        click.echo(text)
        click.echo(f"(of project {project}, called {name}; shown this once)", err=True)


@keys.command("list", short_help="List the API keys of a project.")
@_project_option
@database_options
@json_option
def list_(project: str, data_dir: Path | None, database: str | None, as_json: bool) -> None:
    """List the API keys of a project, newest first, revoked ones too.

    \b
    Example:
      robotrace keys list
      robotrace keys list --project nightly
    """
    with open_database(data_dir, database) as opened:
        from robotrace.serve.keys import list_keys
        from robotrace.serve.projects import project_by_slug

        with opened.read() as session:
            found = [_as_json(key) for key in list_keys(session, project_by_slug(session, project).id)]
    if as_json:
        print_json({"project": project, "keys": found})
        return
    if not found:
        click.echo(f"no keys in project {project}")
        return
    columns = (
        Column("KEY"),
        Column("NAME", least=12),
        Column("CREATED", rank=1),
        Column("LAST USED"),
        Column("REVOKED"),
    )
    times = ("created_at", "last_used_at", "revoked_at")
    print_table(
        columns, [(key["key_prefix"], key["name"], *(local_time(key[time]) for time in times)) for key in found]
    )


@keys.command(short_help="Take an API key out of force.")
@click.argument("key")
@_project_option
@database_options
@json_option
def revoke(key: str, project: str, data_dir: Path | None, database: str | None, as_json: bool) -> None:
    """Take an API key out of force, at once and for good. KEY is its beginning, as list shows it.

    \b
    Example:
      robotrace keys revoke rt_0a1b2c3d4e
    """
    with open_database(data_dir, database) as opened:
        from robotrace.serve.audit import Actor
        from robotrace.serve.keys import key_prefix, list_keys, revoke_key
        from robotrace.serve.projects import project_by_slug

        with opened.write() as session:
            actor = Actor(project_by_slug(session, project).id, "command line")
            # All of a key is a beginning, too, and what people have at hand.
            wanted = "_".join(key.split("_")[:2])
            found = next((each for each in list_keys(session, actor.project_id) if key_prefix(each) == wanted), None)
            if found is None:
                raise ConfigurationError(f"project {project} has no key {wanted}; robotrace keys list names them")
            revoke_key(session, actor, found)
            shown = _as_json(found)
    if as_json:
        print_json(shown)
    else:
        click.echo(f"{shown['key_prefix']} ({shown['name']}) is revoked")


def _as_json(key: ApiKey) -> dict[str, Any]:
    from robotrace.serve.keys import key_prefix
    from robotrace.serve.schemas import iso

    times = {name: getattr(key, name) for name in ("created_at", "last_used_at", "revoked_at")}
    return {
        "key_prefix": key_prefix(key),
        "name": key.name,
        **{name: None if moment is None else iso(moment) for name, moment in times.items()},
    }
