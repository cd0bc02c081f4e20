"""``robotrace run``: any program, recorded without touching its code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from robotrace.cli.options import key_value_pairs
from robotrace.config import ENV_ENABLED, ENV_INSTRUMENT, ENV_RUN_CONTEXT
from robotrace.errors import ConfigurationError
from robotrace.ingest import EpisodeSource

__all__ = ["run"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_BLIND = {"-I": "isolated", "-E": "without environment variables", "-S": "without the module site"}
"""Options of Python that keep it from reading PYTHONPATH, or what is in it."""
_VIDEO: dict[str, Any] = {"on": True, "off": False}
_EXECUTABLE_MISSING = 127
"""As a shell's."""


def _video(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
    return _VIDEO.get(text, text) if text is not None else None


def _number_or_text(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
    return int(text) if text is not None and text.isdigit() else text


def _per_minute(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
    if text is None or text == "none":
        return text
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor none", ctx, option) from None


def _infos(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
    return {None: None, "auto": "auto", "on": True, "off": False}.get(text, (text or "").split(","))


def _context_options(command: _Command) -> _Command:
    """What is said of the whole run."""
    for option in reversed(
        (
            click.option("--policy-version", metavar="TEXT", help="What acts, in every episode."),
            click.option("--env-version", metavar="TEXT", help="What it acts in."),
            click.option("--git-sha", metavar="TEXT", help="The code's commit, where it is not the repository's."),
            click.option("--seed", type=int, help="Of episodes whose reset is given none."),
            click.option("--project", metavar="TEXT", help="What the run belongs to."),
            click.option("--name", metavar="TEXT", help="The run's."),
            click.option("--tag", "tags", metavar="TEXT", multiple=True, help="A tag.  [repeatable]"),
            click.option(
                "--metadata",
                multiple=True,
                metavar="KEY=VALUE",
                callback=key_value_pairs,
                help="Anything else; VALUE is JSON, or text where it is none.  [repeatable]",
            ),
        )
    ):
        command = option(command)
    return command


def _capture_options(command: _Command) -> _Command:
    """Which episodes are recorded, and what of them."""
    for option in reversed(
        (
            click.option(
                "--phase",
                "phases",
                type=click.Choice(("train", "eval")),
                multiple=True,
                help="Of trainings of Stable-Baselines3 and Lightning: only these episodes.  [repeatable]",
            ),
            click.option("--every-n-episodes", type=int, metavar="N", help="Episodes 0, N, 2N, …"),
            click.option("--trigger", metavar="RULE", help="every(10), cubic, rate(1/min), or a MODULE:FN."),
            click.option(
                "--max-per-minute",
                metavar="N",
                callback=_per_minute,
                help="At most so many episodes a minute; none for no limit.  [default: 60]",
            ),
            click.option("--max-episodes", type=int, metavar="N", help="No more than these."),
            click.option(
                "--only", type=click.Choice(("all", "failures", "successes")), help="What is kept.  [default: all]"
            ),
            click.option("--success-key", metavar="KEY", help="Of the last info.  [default: is_success]"),
            click.option("--failure", metavar="MODULE:FN", help="Decides at the end whether it failed."),
            click.option(
                "--keep-partial",
                type=click.Choice(("failures", "always", "never")),
                help="Which unfinished episodes are kept.  [default: failures]",
            ),
            click.option(
                "--video",
                type=click.Choice(("auto", "on", "off", "deferred")),
                callback=_video,
                help="auto: where the environment renders rgb_array.  [default: auto]",
            ),
            click.option(
                "--video-trigger",
                metavar="N|RULE",
                callback=_number_or_text,
                help="Which recorded episodes have video.",
            ),
            click.option("--video-every-n-steps", type=int, metavar="N", help="A frame at every Nth step."),
            click.option("--video-size", type=int, metavar="PIXELS", help="The longer edge at the most."),
            click.option("--video-envs", type=int, metavar="N", help="So many environments of a vector.  [default: 1]"),
            click.option(
                "--env-index",
                "env_indices",
                type=int,
                multiple=True,
                metavar="N",
                help="Of a vector: only these.  [repeatable]",
            ),
            click.option("--fps", type=float, help="Steps a second, where the environment does not say it."),
            click.option(
                "--images", type=click.Choice(("auto", "video", "arrays", "drop")), help="Image observations."
            ),
            click.option("--infos", metavar="auto|on|off|KEY,…", callback=_infos, help="The infos of the steps."),
            click.option("--last-seconds", type=float, metavar="SECONDS", help="Only those before the end."),
            click.option(
                "--realtime/--no-realtime", default=None, help="Drop a frame rather than wait for the encoder."
            ),
            click.option("--robot", metavar="TEXT", help="The robot."),
            click.option("--source", type=click.Choice(get_args(EpisodeSource)), help="[default: sim]"),
            click.option("--otel-spans", is_flag=True, default=None, help="An OpenTelemetry span for each episode."),
        )
    ):
        command = option(command)
    return command


@click.command(
    short_help="Run a program and record it, its code untouched.",
    context_settings={"allow_interspersed_args": False},
)
@_context_options
@_capture_options
@click.option(
    "--framework",
    "frameworks",
    metavar="NAME",
    multiple=True,
    help="Instrument only this one: gymnasium, stable_baselines3, lightning.  [repeatable]",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND...")
@click.pass_context
def run(ctx: click.Context, /, command: tuple[str, ...], frameworks: tuple[str, ...], **given: Any) -> None:
    """Run COMMAND, and record the episodes of every Python process in it: its code stays as it is.

    Environments that gymnasium.make makes, Gymnasium's vectors, and trainings of Stable-Baselines3 and Lightning are
    recorded, in the program itself and in the processes it starts. The program has this process from then on: its
    output, its exit code and Ctrl-C are its own.

    \b
    Example:
      robotrace run -- python train.py
      robotrace run --policy-version ppo-v3 --tag night --only failures -- python -m my_package.train
      robotrace run --video deferred -- torchrun train.py
    """
    if not command:
        raise click.UsageError("Missing command: robotrace run [OPTIONS] -- python train.py", ctx)
    environment = {**os.environ, **_said(frameworks, given)}
    program = _program(command, ctx)
    try:
        os.execvpe(program, list(command), environment)
    except OSError as exc:
        click.echo(f"robotrace: {program}: {exc.strerror}", err=True)
        ctx.exit(_EXECUTABLE_MISSING - (not isinstance(exc, FileNotFoundError)))


def _program(command: Sequence[str], ctx: click.Context) -> str:
    """The program, where it can be run and recorded."""
    program = command[0]
    if shutil.which(program) is None:
        script = Path(program)
        hint = f"; is it robotrace run -- python {program}?" if script.suffix == ".py" and script.exists() else ""
        click.echo(f"robotrace: {program} is no program that can be run{hint}", err=True)
        ctx.exit(_EXECUTABLE_MISSING)
    if Path(program).name.startswith("python"):
        for argument in command[1:]:
            if not argument.startswith("-") or argument in ("-", "-c", "-m") or argument.startswith("--"):
                break
            for option, what in _BLIND.items():
                if option[1] in argument[1:] and argument[1] not in "cmWX":
                    raise ConfigurationError(f"python {option} runs {what}, and nothing could be recorded in it")
    return program


def _said(frameworks: tuple[str, ...], given: dict[str, Any]) -> dict[str, str]:
    """The environment variables that tell the processes below."""
    from robotrace import auto
    from robotrace.auto.instrumentation import modules
    from robotrace.context.handover import inherited
    from robotrace.context.run import enter_job

    said = {name: value for name, value in given.items() if value is not None and value != () and value != {}}
    context = {name: said.pop(name) for name in auto.RUN_FIELDS if name in said}
    # Entered here for the check alone.
    enter_job(**context)()
    if frameworks:
        said["frameworks"] = frameworks
    auto.instrument(**auto.given_options(said))()
    levels = inherited()
    startup = str(Path(auto.__file__).parent / "startup")
    variables = {
        ENV_INSTRUMENT: f"{','.join(modules())} {json.dumps(said)}",
        "PYTHONPATH": os.pathsep.join(filter(None, (startup, os.environ.get("PYTHONPATH")))),
    }
    if context:
        variables[ENV_RUN_CONTEXT] = json.dumps({**levels, "run": {**levels.get("run", {}), **context}})
    if not os.environ.get(ENV_ENABLED):
        variables[ENV_ENABLED] = "1"  # for plugins of launchers, which know more of a job
    return variables
