"""What the commands share: the options of every command that talks to a deployment, and ``MODULE:FN``."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args
from urllib.parse import quote, unquote, urlsplit

import click

from robotrace.config import (
    ENV_BASE_URL,
    ENV_ENV_VERSION,
    ENV_GIT_SHA,
    ENV_POLICY_VERSION,
    ENV_PROFILE,
    ENV_ROBOT,
    ENV_SEED,
)
from robotrace.errors import ConfigurationError, RobotraceError
from robotrace.ingest import EpisodeFinalStatus

if TYPE_CHECKING:
    from robotrace.client import Client

    _TextType = click.ParamType[str]
else:
    _TextType = click.ParamType  # generic in recent versions of click only

__all__ = [
    "CALLABLE",
    "EPISODE",
    "CommandGroup",
    "ManyValues",
    "ManyValuesCommand",
    "deployment_options",
    "episode_ids",
    "import_callable",
    "json_option",
    "key_value_pairs",
    "label_options",
    "open_client",
    "page_url",
    "policy_may_not_exit",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def deployment_options(command: _Command) -> _Command:
    """Add ``--base-url`` and ``--profile``; the command gets ``base_url`` and ``profile``, both ``str | None``."""
    command = click.option(
        "--profile", metavar="NAME", help=f"Profile in the credentials file.  [env var: {ENV_PROFILE}]"
    )(command)
    return click.option("--base-url", metavar="URL", help=f"The deployment.  [env var: {ENV_BASE_URL}]")(command)


def json_option(command: _Command) -> _Command:
    """Add ``--json``; the command gets ``as_json: bool`` and prints one JSON document on stdout when it is set."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def label_options(command: _Command) -> _Command:
    """Add what an episode is labelled with: ``policy_version``, ``env_version``, ``git_sha``, ``seed``, ``robot``,
    ``status`` and ``metadata``, a dict.
    """
    text: dict[str, Any] = {"metavar": "TEXT", "show_envvar": True}
    options = (
        click.option("--policy-version", **text, envvar=ENV_POLICY_VERSION, help="What acted."),
        click.option("--env-version", **text, envvar=ENV_ENV_VERSION, help="What it acted in."),
        click.option("--git-sha", **text, envvar=ENV_GIT_SHA, help="The code's commit."),
        click.option("--seed", type=int, show_envvar=True, envvar=ENV_SEED, help="The seed of the episode's reset."),
        click.option("--robot", **text, envvar=ENV_ROBOT, help="The robot."),
        click.option(
            "--status",
            type=click.Choice(get_args(EpisodeFinalStatus)),
            default="ready",
            show_default=True,
            help="How it ended.",
        ),
        click.option(
            "--metadata",
            multiple=True,
            metavar="KEY=VALUE",
            callback=key_value_pairs,
            help="Anything else; VALUE is JSON, or text where it is none.  [repeatable]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def open_client(base_url: str | None, profile: str | None) -> Client:
    """A client for the values of :func:`deployment_options` that prints nothing by itself.

    Raises:
        ConfigurationError: No API key or no base URL was found.
    """
    from robotrace.client import Client

    return Client(base_url=base_url, profile=profile, verbose=False)


def page_url(client: Client, section: str, name: str) -> str:
    """The address of a portal page: ``page_url(client, "episodes", episode.id)``."""
    return f"{client.base_url}/portal/{section}/{quote(name, safe='')}"


def key_value_pairs(ctx: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """A click callback: the texts ``KEY=VALUE``, whose values are JSON, or text where they are none."""
    pairs: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE", ctx, option)
        try:
            pairs[key] = json.loads(value)
        except ValueError:  # a word needs no quotes
            pairs[key] = value
    return pairs


class CommandGroup(click.Group):
    """A group that shows its help when no command is named, and takes that for no mistake."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help instead of parsing nothing; click would exit with 2, and which stream it uses varies."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)


class ManyValues(click.Option):
    """An option that takes all values up to the next option, and may be repeated: ``--ids a b --ids c``.

    Only in a :class:`ManyValuesCommand`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "multiple": True})


class ManyValuesCommand(click.Command):
    """A command without positional arguments, whose :class:`ManyValues` options gather values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spell ``--ids a b`` as ``--ids a --ids b``, which click knows."""
        names = {name for item in self.params if isinstance(item, ManyValues) for name in item.opts}
        spelled: list[str] = []
        current: str | None = None  # the option whose values come now
        empty = False  # it has none so far
        for argument in args:
            if argument.startswith("-") and argument != "-":
                if current is not None and empty:
                    break
                name, _, value = argument.partition("=")
                current = name if name in names else None
                empty = current is not None and not value
                if current is None or value:
                    spelled.append(argument)
            elif current is None:
                spelled.append(argument)
            else:
                spelled += [current, argument]
                empty = False
        if current is not None and empty:
            raise click.BadOptionUsage(current, f"Option '{current}' requires at least one value.", ctx)
        return super().parse_args(ctx, spelled)


class _CallableName(_TextType):
    """``MODULE:FN``, looked at but not imported."""

    name = "MODULE:FN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        module, _, attribute = str(value).partition(":")
        names = (*module.split("."), *attribute.split("."))
        if not all(name.isidentifier() for name in names):
            self.fail(f"{value!r} is not of the form MODULE:FN, as in my_policy:act", param, ctx)
        return str(value)


class _EpisodeId(_TextType):
    """An episode's id, or the address of one of its pages, which is what people have in the clipboard."""

    name = "ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        if re.match("https?://", text, re.IGNORECASE):
            found = re.search("/episodes/([^/]+)", urlsplit(text).path)
            text = unquote(found[1]) if found else ""
        if not text:
            self.fail(f"{value!r} is neither an episode's id nor the address of its page", param, ctx)
        return text


CALLABLE = _CallableName()
EPISODE = _EpisodeId()


def episode_ids(ctx: click.Context, option: click.Parameter, values: Sequence[str]) -> list[str]:
    """The episodes that the values name, each once: ids, addresses of pages, and ``@FILE`` with one a line."""
    texts = (text for value in values for text in _expanded(value, ctx, option))
    ids = list(dict.fromkeys(EPISODE.convert(text, option, ctx) for text in texts))
    if not ids:
        raise click.BadParameter("no episode is named", ctx, option)
    return ids


def _expanded(value: str, ctx: click.Context, option: click.Parameter) -> Iterator[str]:
    if not value.startswith("@"):
        yield value
        return
    try:
        with click.open_file(value[1:], encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError) as exc:
        reason = (exc.strerror if isinstance(exc, OSError) else None) or exc
        raise click.BadParameter(f"{value[1:]} cannot be read: {reason}", ctx, option) from exc
    for line in lines:
        text = line.partition("#")[0].strip()
        if text:
            yield text


def import_callable(name: str) -> Callable[..., Any]:
    """The object that ``module:attr.path`` names; the working directory is importable.

    Args:
        name: What the parameter type :data:`CALLABLE` let pass.

    Raises:
        ConfigurationError: It cannot be imported, or is nothing to call; one line that says why, with the place in
            the user's code where an exception came from.
    """
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as exc:  # a script without a main guard may well end with sys.exit()
        raise ConfigurationError(f"importing {module!r} failed: {_described(exc)}") from exc
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{module!r} has no {attribute!r}")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigurationError(f"{name} is a {type(found).__name__}, nothing to call")
    return found  # type: ignore[no-any-return]


@contextlib.contextmanager
def policy_may_not_exit() -> Iterator[None]:
    """Around calls of a user's policy: its ``sys.exit(0)`` must not end a gate with 0, which means that it passed.

    Raises:
        RobotraceError: It called ``sys.exit``.
    """
    try:
        yield
    except SystemExit as exc:
        raise RobotraceError(f"the policy ended the program: {_described(exc)}") from exc


def _described(exc: BaseException) -> str:
    text = f"{type(exc).__name__}: {exc}".rstrip(": ").replace("\n", " ")
    frames = [frame for frame in traceback.extract_tb(exc.__traceback__) if not _is_machinery(frame.filename)]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text


def _is_machinery(file: str) -> bool:
    return file.startswith("<frozen ") or file in (importlib.__file__, __file__)
