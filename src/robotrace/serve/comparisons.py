"""Two episodes compared: their files fetched, their clocks laid over each other, the result kept for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from robotrace.serve.divergence import Instant, StreamDifference, difference, first_of, measure
from robotrace.serve.models import Episode
from robotrace.serve.series import SeriesAnswer, SeriesWindow
from robotrace.serve.services import Services
from robotrace.serve.store import StoreError
from robotrace.serve.stream_pairs import EpisodePair, LeftOut, Shift

__all__ = ["Alignment", "Comparison", "Side", "compare", "difference_name", "difference_series"]

_KEPT = 8
"""Comparisons: a page asks for its own twice, and for what lies beside it when somebody goes back and forth."""
_ONE_AT_A_TIME = threading.Lock()
"""Two streams may be 256 MiB: they are in the memory once, whoever asks."""


@dataclass(frozen=True)
class Alignment:
    """Which moments of the two lie over each other.

    Args:
        at: Their starts, their ends, their failures, or the second one's start ``offset_ms`` after the first one's.
        offset_ms: Where ``at`` is ``offset``; negative: before it.
    """

    at: Literal["start", "end", "failure", "offset"] = "start"
    offset_ms: float = 0.0

    @property
    def text(self) -> str:
        """As an address has it."""
        return f"{self.offset_ms:.6f}".rstrip("0").rstrip(".") if self.at == "offset" else self.at


@dataclass(frozen=True)
class Side:
    """What is compared of an episode.

    Args:
        files: Artifact kind, object key and SHA-256 of its streams.
        recipe: Env version and seed.
        failure_s: When it failed.
        duration_s: Its length.
    """

    files: tuple[tuple[str, str, str], ...]
    recipe: tuple[str | None, int | None]
    failure_s: float | None
    duration_s: float | None

    @classmethod
    def of(cls, episode: Episode) -> Side:
        """Of an episode with its artifacts."""
        found = {artifact.kind: artifact for artifact in episode.artifacts}
        files = [(kind, found[kind].object_key, found[kind].sha256) for kind in ("sensors", "actions") if kind in found]
        return cls(tuple(files), (episode.env_version, episode.seed), episode.failure_time_s, episode.duration_s)


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        shift: Where the two begin on the common clock.
        streams: Each that both have.
        left_out: What is not compared, and why.
        first: Where they first differ at all; None where they never do.
        beyond: Where they first differ by more than the tolerance.
        notices: What is not as it was asked for.
    """

    shift: Shift
    streams: list[StreamDifference]
    left_out: list[LeftOut]
    first: Instant | None
    beyond: Instant | None
    notices: list[str] = field(default_factory=list)


class _Kept:
    """The last results; files are told apart by their hashes, so that none gets old."""

    def __init__(self) -> None:
        self._changed = threading.Lock()
        self._results: OrderedDict[tuple[object, ...], Comparison] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> Comparison | None:
        with self._changed:
            found = self._results.get(key)
            if found is not None:
                self._results.move_to_end(key)
            return found

    def put(self, key: tuple[object, ...], result: Comparison) -> None:
        with self._changed:
            self._results[key] = result
            while len(self._results) > _KEPT:
                self._results.popitem(last=False)


_kept = _Kept()


def compare(services: Services, a: Side, b: Side, alignment: Alignment, tolerance: float) -> Comparison:
    """Compare the streams of two episodes.

    Args:
        services: The deployment's parts.
        a: The first episode.
        b: The second.
        alignment: How their clocks lie over each other.
        tolerance: What numbers may be apart; see :func:`robotrace.serve.divergence.measure`.
    """
    key = (a, b, alignment, tolerance)
    if (kept := _kept.get(key)) is not None:
        return kept
    # A bucket's files come over a network: nobody else waits for that.
    with _opened(services, a, b) as (pair, unread), _ONE_AT_A_TIME:
        if (kept := _kept.get(key)) is not None:
            return kept
        shift, notices = _shift(pair, a, b, alignment)
        streams = [measure(each, tolerance) for each in pair.pairs(shift)]
        result = Comparison(
            shift=shift,
            streams=streams,
            left_out=[*unread, *pair.left_out],
            first=first_of(stream.first for stream in streams),
            beyond=first_of(stream.beyond for stream in streams),
            notices=notices,
        )
        if not unread:
            _kept.put(key, result)
        return result


def difference_series(
    services: Services,
    a: Side,
    b: Side,
    alignment: Alignment,
    window: SeriesWindow,
    *,
    names: Collection[str] | None = None,
    most_bytes: int | None = None,
) -> bytes:
    """The largest distance of each row, of the streams that differ, on the common clock.

    Args:
        services: The deployment's parts.
        a: The first episode.
        b: The second.
        alignment: How their clocks lie over each other.
        window: What of each stream is sent.
        names: Of the differences to send; None for all.
        most_bytes: How much to send about; the streams that come after are described only.

    Returns:
        As :mod:`robotrace.serve.series` describes it, thinned out after the distances were taken.
    """
    answer = SeriesAnswer(window, most_bytes)
    with _opened(services, a, b) as (pair, _), _ONE_AT_A_TIME:
        shift, _ = _shift(pair, a, b, alignment)
        wanted = None if names is None else {name for name in pair.names if difference_name(name) in names}
        for each in pair.pairs(shift, wanted):
            header = {
                "name": difference_name(each.name),
                "artifact": each.artifact,
                # Integers and flags jump from one value to the next, and so does how far they are apart.
                "dtype": "float64" if "f" in {track.values.dtype.kind for track in (each.a, each.b)} else "int64",
                "shape": [],
                "labels": [""],
                "count": len(each.t_ns),
            }
            apart = difference(each)
            if not np.any(apart):  # a NaN is something
                continue
            if answer.is_full(len(each.t_ns), 1):
                answer.leave(header, float(each.t_ns[-1]) / 1e6)
            else:
                answer.add(header, each.t_ns / 1e6, apart[:, np.newaxis])
    return answer.encode()


def difference_name(stream: str) -> str:
    """What the distances of a stream are called: it sorts into the same group of a page's charts."""
    return f"{stream} |A − B|" if "/" in stream or "." in stream else f"{stream}.|A − B|"


@contextmanager
def _opened(services: Services, a: Side, b: Side) -> Iterator[tuple[EpisodePair, list[LeftOut]]]:
    """The files of both, and those that the store could not give."""
    unread: list[LeftOut] = []
    with ExitStack() as held:
        sources = []
        for letter, side in (("a", a), ("b", b)):
            paths = []
            for kind, key, _ in side.files:
                try:
                    paths.append((kind, held.enter_context(services.store.local_file(key))))
                except StoreError as error:
                    unread.append(LeftOut(kind, kind, "a" if letter == "a" else "b", f"it cannot be read: {error}"))
            sources.append(paths)
        same_recipe = a.recipe == b.recipe and None not in a.recipe
        yield held.enter_context(EpisodePair(sources[0], sources[1], same_recipe=same_recipe)), unread


def _shift(pair: EpisodePair, a: Side, b: Side, alignment: Alignment) -> tuple[Shift, list[str]]:
    if alignment.at == "offset":
        return Shift.of(round(alignment.offset_ms * 1e6)), []
    if alignment.at == "end":
        end_a, end_b = pair.ends_ns()
        return Shift.of((end_a or _ns(a.duration_s)) - (end_b or _ns(b.duration_s))), []
    if alignment.at == "failure":
        if a.failure_s is not None and b.failure_s is not None:
            return Shift.of(_ns(a.failure_s) - _ns(b.failure_s)), []
        without = " and ".join(letter for letter, side in (("A", a), ("B", b)) if side.failure_s is None)
        return Shift(), [f"{without} has no failure time: they are laid over each other at their starts."]
    return Shift(), []


def _ns(seconds: float | None) -> int:
    # Whatever a client has sent is a float; beyond this it is no time.
    return round(max(-1e9, min(seconds or 0.0, 1e9)) * 1e9)
