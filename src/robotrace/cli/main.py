"""The group of all commands, and how errors end."""

from __future__ import annotations

import sys

import click

from robotrace._version import __version__
from robotrace.cli.demo import demo
from robotrace.cli.serve import serve
from robotrace.errors import RobotraceError

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="robotrace")
def cli() -> None:
    """Observability for robots that learn: record, replay, explain and verify episodes."""


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


cli.add_command(serve)
cli.add_command(demo)


def main() -> None:
    """Run the command line: exit code 0 when fine, 1 when something failed (one line on stderr), 2 on wrong usage."""
    try:
        cli()
    except RobotraceError as exc:
        click.echo(f"robotrace: {exc}", err=True)
        sys.exit(1)
