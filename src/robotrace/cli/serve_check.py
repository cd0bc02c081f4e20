"""``robotrace serve --check``: what the settings of a deployment come to, one line for each thing."""

from __future__ import annotations

from typing import Any

from robotrace.cli.embedded import needs_server
from robotrace.cli.output import print_checks

__all__ = ["show_check"]


def show_check(*, as_json: bool, **settings: Any) -> None:
    """Print the checks; ends the program with 1 when something is wrong.

    Args:
        as_json: As a document.
        settings: See :class:`robotrace.serve.settings.Settings`.
    """
    with needs_server():
        from robotrace.serve.check import check_settings
        from robotrace.serve.settings import Settings
    print_checks(list(check_settings(Settings(**settings))), as_json=as_json)
