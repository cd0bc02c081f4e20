"""The episodes of a dataset, one after the other, through an importer."""

from __future__ import annotations

import string
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotrace.adapters._spooling import EpisodeFacts, ImportedEpisode, Importer, NoRoomError
from robotrace.deliver.files import is_disk_full
from robotrace.errors import AuthError, ConfigurationError, RobotraceError, TransportError

if TYPE_CHECKING:
    from robotrace.adapters._episode import EncodedEpisode

__all__ = [
    "DatasetUpload",
    "EpisodeFailure",
    "Job",
    "OnProgress",
    "checked_index",
    "delivered",
    "named",
    "upload_all",
    "upload_job",
]


@dataclass(frozen=True)
class EpisodeFailure:
    """An episode that could not be imported.

    Attributes:
        episode_index: Which one of the dataset.
        error: Why, in one line.
    """

    episode_index: int
    error: str


@dataclass(frozen=True)
class DatasetUpload:
    """What became of a dataset.

    Attributes:
        episodes: Those that are delivered, wait in the spool, or were refused; in the order asked for.
        failures: Those that could not be read, sealed or sent.
    """

    episodes: list[ImportedEpisode] = field(default_factory=list)
    failures: list[EpisodeFailure] = field(default_factory=list)


OnProgress = Callable[[int, int, "ImportedEpisode | EpisodeFailure"], None]
"""``on_progress(done, total, what became of that one)``, after each episode."""


@dataclass(frozen=True)
class Job:
    """One episode to import.

    Attributes:
        uuid: From :func:`robotrace.adapters._spooling.episode_uuid`.
        facts: Its labels.
        encode: Writes its files into a folder.
    """

    uuid: str
    facts: EpisodeFacts
    encode: Callable[[Path], EncodedEpisode]


def checked_index(indices: Collection[int], index: int) -> None:
    """Refuse the number of an episode that is not there.

    Raises:
        ConfigurationError: Names those there are.
    """
    if index not in indices:
        there = f"{min(indices)} to {max(indices)}" if indices else "none"
        raise ConfigurationError(f"there is no episode {index}; there is {there}")


def named(template: str, fields: dict[str, Any]) -> str:
    """A name out of a template: ``"{dataset} {episode_index:04d}"``; cut to the 200 characters that a name may have.

    Raises:
        ConfigurationError: It names a field that there is none of; the message lists those there are.
    """
    try:
        for _, name, _, _ in string.Formatter().parse(template):
            # No attributes and no indices: names come out of files of other people.
            if name is not None and name not in fields:
                raise ConfigurationError(f"name_template has no field {{{name}}}; it takes {', '.join(fields)}")
        return template.format(**fields)[:200]
    except (ValueError, KeyError, IndexError) as exc:
        raise ConfigurationError(f"name_template {template!r} is none: {exc}") from exc


def upload_job(
    importer: Importer, job: Job, output_dir: str | Path | None = None, *, keep: bool = False
) -> ImportedEpisode:
    """Encode one episode and hand it to the importer, unless it was imported before.

    Args:
        importer: Takes it.
        job: The episode.
        output_dir: The files go here, and stay.
        keep: Without ``output_dir``: the temporary folder stays.
    """
    known = importer.known(job.uuid, job.facts.name)
    if known is not None:
        return known
    with importer.folder(output_dir, keep=keep) as folder:
        return importer.take(job.uuid, job.encode(folder), job.facts)


def delivered(importer: Importer, episode: ImportedEpisode) -> ImportedEpisode:
    """Wait for one episode.

    Raises:
        RobotraceError: The deployment refused it for good.
    """
    (settled,) = importer.settle([episode])
    if settled.state == "refused":
        raise RobotraceError(f"the deployment refused {settled.name or settled.uuid}: {settled.reason}")
    return settled


def upload_all(
    importer: Importer,
    indices: Sequence[int],
    make_job: Callable[[int], Job],
    *,
    on_progress: OnProgress | None,
    stop_on_error: bool,
) -> DatasetUpload:
    """Import episodes one by one; one that fails is noted, and the rest goes on.

    Args:
        importer: Takes them.
        indices: Which.
        make_job: What to do for one of them.
        on_progress: Called after each.
        stop_on_error: Raise what the first one fails with instead; those before it are imported.

    Raises:
        AuthError, TransportError, NoRoomError, OSError: Every further episode would fail alike: a refused key, a
            deployment that cannot be reached, a full disk. What is in the spool is delivered later.
        ConfigurationError: An argument fits no episode.
    """
    taken: list[tuple[int, ImportedEpisode]] = []
    failures: list[EpisodeFailure] = []
    for done, index in enumerate(indices, 1):
        outcome: ImportedEpisode | EpisodeFailure
        try:
            outcome = upload_job(importer, make_job(index))
            taken.append((index, outcome))
        except (AuthError, ConfigurationError, NoRoomError, TransportError):
            raise
        except Exception as exc:
            if stop_on_error or is_disk_full(exc):
                raise
            outcome = EpisodeFailure(index, _line(exc))
            failures.append(outcome)
        if on_progress is not None:
            on_progress(done, len(indices), outcome)
    settled = importer.settle([episode for _, episode in taken])
    for (index, _), episode in zip(taken, settled, strict=True):
        if episode.state == "refused":
            failures.append(EpisodeFailure(index, f"the deployment refused it: {episode.reason}"))
    return DatasetUpload(settled, failures)


def _line(exc: Exception) -> str:
    text = " ".join(str(exc).split())
    return text if isinstance(exc, RobotraceError) else f"{type(exc).__name__}: {text}".rstrip(": ")
