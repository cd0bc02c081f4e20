"""What ``robotrace reproduce`` and ``robotrace render`` share: options, finding episodes, verdicts in words."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from robotrace.cli.options import open_client
from robotrace.cli.output import clean, progress_bars
from robotrace.deliver.spool import Spool, find_spool
from robotrace.errors import ConfigurationError
from robotrace.reroll.jobs import Verdict
from robotrace.reroll.pool import Limits

if TYPE_CHECKING:
    from robotrace.client import Client
    from robotrace.reroll.episodes import FoundEpisode

__all__ = ["EpisodeFinder", "import_folders", "limits_of", "rerun_options", "verdict_lines"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_DEFAULTS = Limits()
_GIB = 1024**3


def rerun_options(command: _Command) -> _Command:
    """Add ``--import-from``, ``--timeout`` and ``--memory``; the command gets values of those names."""
    command = click.option(
        "--memory",
        type=click.FloatRange(min=0, min_open=True),
        default=_DEFAULTS.memory_bytes / _GIB,
        show_default=True,
        metavar="GIB",
        help="What one episode may use.",
    )(command)
    command = click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=_DEFAULTS.time_s,
        show_default=True,
        metavar="SECONDS",
        help="What one episode may take.",
    )(command)
    return click.option(
        "--import-from",
        type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
        multiple=True,
        help="A folder with the environment's code, beside the working directory.  [repeatable]",
    )(command)


def limits_of(timeout: float, memory: float) -> Limits:
    """The limits that the options say."""
    return Limits(time_s=timeout, memory_bytes=round(memory * _GIB))


def import_folders(given: tuple[Path, ...]) -> tuple[str, ...]:
    """Where to import from: the folders given, then the working directory."""
    return tuple(dict.fromkeys(map(str, (*given, Path.cwd()))))


class EpisodeFinder:
    """Finds episodes in folders, in the spool, and on the deployment, which is not asked before it has to be.

    Args:
        base_url: The deployment.
        profile: In the credentials file.
        spool: This machine's.
    """

    def __init__(self, base_url: str | None, profile: str | None, spool: Spool | None = None) -> None:
        self._base_url = base_url
        self._profile = profile
        self._spool = spool or find_spool()
        self._open = contextlib.ExitStack()
        self._client: Client | None = None
        self._folder: Path | None = None

    def __enter__(self) -> EpisodeFinder:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def client(self) -> Client:
        """The deployment's.

        Raises:
            ConfigurationError: None is configured.
        """
        if self._client is None:
            self._client = self._open.enter_context(open_client(self._base_url, self._profile))
        return self._client

    def temporary(self) -> Path:
        """A folder that is there until this is closed."""
        if self._folder is None:
            self._folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="robotrace-")))
        return self._folder

    def find(self, text: str, *, videos: bool = False) -> FoundEpisode:
        """An episode.

        Args:
            text: A folder, a uuid in the spool or the beginning of one, or an id on the deployment.
            videos: Fetch its videos, too.

        Raises:
            RobotraceError: There is none.
        """
        from robotrace.reroll.episodes import delivered_id, fetch_episode, find_local

        found = find_local(text, self._spool)
        if found is not None:
            return found
        try:
            client = self.client()
        except ConfigurationError as exc:
            raise ConfigurationError(
                f"{text} is neither a folder nor in the spool, and no deployment can be asked: {exc}"
            ) from exc
        with progress_bars() as bars:
            episode_id = delivered_id(text, self._spool) or text
            number = len(list(self.temporary().iterdir()))
            return fetch_episode(client, episode_id, self.temporary() / str(number), videos=videos, progress=bars)

    def store(self, episode: FoundEpisode, verdict: Verdict) -> str | None:
        """Store a verdict with its episode; returns why that cannot be done, None where it was."""
        from robotrace.reroll.episodes import delivered_id, store_verdict

        if episode.own:  # the uploader does not wait for a verdict
            gone = delivered_id(episode.label, self._spool)
            if gone is not None:
                episode = dataclasses.replace(episode, folder=None, episode_id=gone)
        return store_verdict(episode, verdict, None if episode.episode_id is None else self.client())


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """A verdict in words, what may explain it first."""
    if verdict.verdict != "reproduced" and verdict.differences:
        told = (f"{item.name} {item.recorded} (here {item.here or 'missing'})" for item in verdict.differences)
        yield clean(f"another version here: {', '.join(told)}")
    found = verdict.divergence
    if found is not None:
        when = "" if found.t_s is None else f" ({found.t_s:.6g} s)"
        distance = "" if found.distance is None else f", {found.distance:.6g} apart"
        yield clean(f"step {found.step}{when}, {found.stream}: recorded {found.recorded}, here {found.here}{distance}")
    for stream, why in verdict.not_compared.items():
        yield clean(f"not compared: {stream}, {why}")
