"""``robotrace serve --check``: what the settings of a deployment come to, one line for each thing."""

from __future__ import annotations

from pathlib import Path

from robotrace.cli.embedded import serve_settings
from robotrace.cli.output import print_checks

__all__ = ["show_check"]


def show_check(
    data_dir: Path, host: str, port: int, *, database: str, storage: str, secret: str, as_json: bool
) -> None:
    """Print the checks; ends the program with 1 when something is wrong."""
    settings = serve_settings(
        data_dir=data_dir, host=host, port=port, database=database, storage=storage, secret=secret
    )
    from robotrace.serve.check import check_settings

    print_checks(list(check_settings(settings)), as_json=as_json)
