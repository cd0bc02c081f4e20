"""The group of all commands, and how errors end."""

from __future__ import annotations

import io
import sys

import click

from robotrace._version import __version__
from robotrace.cli.clean import clean as clean_spool
from robotrace.cli.demo import demo
from robotrace.cli.doctor import doctor
from robotrace.cli.episodes import episodes
from robotrace.cli.explain import explain
from robotrace.cli.export import export
from robotrace.cli.import_ import import_command
from robotrace.cli.keys import keys
from robotrace.cli.log import log
from robotrace.cli.login import login, logout, whoami
from robotrace.cli.options import CommandGroup
from robotrace.cli.output import clean
from robotrace.cli.projects import projects
from robotrace.cli.render import render
from robotrace.cli.replay import replay
from robotrace.cli.reproduce import reproduce
from robotrace.cli.retry import retry
from robotrace.cli.run import run
from robotrace.cli.serve import serve
from robotrace.cli.status import status
from robotrace.cli.sync import sync
from robotrace.cli.verify import verify
from robotrace.errors import RobotraceError

__all__ = ["main"]


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


_SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Record": (run, log, import_command, demo),
    "Look": (episodes, explain, render, export),
    "Verify": (reproduce, replay, verify),
    "Deliver": (sync, status, doctor, retry, clean_spool),
    "Deployment": (serve, keys, projects, login, whoami, logout, version),
}


class _Sections(CommandGroup):
    """The group of all commands, which lists them by what they are for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one definition list a section, with the same width of names in each."""
        width = max(len(name) for name in self.commands)
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                limit = formatter.width - width - 6
                rows = [(f"{command.name:{width}}", command.get_short_help_str(limit)) for command in commands]
                formatter.write_dl(rows)


@click.group(
    cls=_Sections,
    commands=[command for commands in _SECTIONS.values() for command in commands],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="robotrace")
def cli() -> None:
    """Observability for robots that learn: record, replay, explain and verify episodes."""


def main() -> None:
    """Run the command line: exit code 0 when fine, 1 when something failed (one line on stderr), 2 on wrong usage."""
    # A name that the encoding has no letter for must not end a listing half way; of ASCII click takes care.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        # By name: as `python -m robotrace` the help and the variable of shell completion are the same.
        result = cli.main(prog_name="robotrace", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except click.Abort:  # Ctrl-C, or the end of the input at a question
        _fail("interrupted")
    except RobotraceError as exc:
        _fail(str(exc))
    except OSError as exc:
        _fail(": ".join(str(part) for part in (exc.filename, exc.strerror or exc) if part is not None))
    # What ctx.exit() was called with; a command itself returns nothing.
    sys.exit(result if isinstance(result, int) else 0)


def _fail(text: str) -> None:
    # One line, and none that a terminal obeys: much of it is what a server answered.
    click.echo(f"robotrace: {clean(text)}", err=True)
    sys.exit(1)
