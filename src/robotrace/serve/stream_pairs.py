"""The streams that two episodes have in common, row against row on one clock, within a bound of memory.

Needs NumPy alone. Rows are paired by step where the two count steps alike; otherwise by time: at each row of the one
that has more, what the other said last.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robotrace.serve.npz import NpzFile, SeriesError
from robotrace.serve.series import SeriesSource, is_zip, series_sources

__all__ = ["EpisodePair", "LeftOut", "Pairing", "Shift", "StreamPair", "Track"]

Pairing = Literal["step", "time"]

_MAX_STREAM_BYTES = 128 * 1024**2
"""Of a stream, unpacked: 4,000,000 rows of 8 float32. Two of them are in the memory, and their clocks."""
_MAX_STREAMS = 1000
_SAME_LENGTH = 0.05
"""Two runs with as many steps whose lengths differ by less: a wall clock's jitter rather than another rate."""
_LATEST_NS = 10**18
"""Thirty years: a time beyond it is no time, and sums of two are still int64."""
_SLACK_NS = 2000
"""A row this little after a time is in force at it: clocks of different rates round differently. No step is shorter."""


@dataclass(frozen=True)
class Shift:
    """Where the two episodes begin on the common clock, which begins with the earlier one.

    Args:
        a_ns: When the first begins.
        b_ns: When the second begins; one of them is 0.
        by_step: Both begin together, so that steps may be counted.
    """

    a_ns: int = 0
    b_ns: int = 0
    by_step: bool = True

    @classmethod
    def of(cls, offset_ns: int) -> Shift:
        """The second begins so much later than the first, or earlier when that is negative."""
        offset_ns = max(-_LATEST_NS, min(offset_ns, _LATEST_NS))
        return cls(max(0, -offset_ns), max(0, offset_ns), by_step=False)


@dataclass(frozen=True)
class Track:
    """A stream of one of the two.

    Args:
        listed: How its file describes it.
        values: ``(rows, columns)``, its own dtype.
        t_ns: ``(rows,) int64`` on the common clock, ascending.
    """

    listed: SeriesSource
    values: NDArray[Any]
    t_ns: NDArray[np.int64]


@dataclass(frozen=True)
class StreamPair:
    """A stream that both have.

    Args:
        name: The stream.
        artifact: ``sensors`` or ``actions``.
        a: Of the first episode.
        b: Of the second.
        by: How rows were paired.
        rows_a: ``(compared,)``: which rows of the first face
        rows_b: ``(compared,)``: which rows of the second.
        t_ns: ``(compared,) int64``: when, on the common clock.
    """

    name: str
    artifact: str
    a: Track
    b: Track
    by: Pairing
    rows_a: NDArray[np.intp]
    rows_b: NDArray[np.intp]
    t_ns: NDArray[np.int64]


@dataclass(frozen=True)
class LeftOut:
    """A stream, or a file, that is not compared.

    Args:
        name: Its name.
        artifact: ``sensors`` or ``actions``.
        side: ``a`` or ``b`` where only that one has it, else None.
        reason: Why.
    """

    name: str
    artifact: str
    side: Literal["a", "b"] | None
    reason: str


@dataclass
class _Side:
    listed: dict[tuple[str, str], SeriesSource] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)


class EpisodePair:
    """The files of two episodes; a context manager.

    Args:
        a: Artifact kind and file of the first episode's streams.
        b: Those of the second.
        same_recipe: Both were made from the same env and seed: steps are the clock, whatever time they took.

    Attributes:
        left_out: What is not compared, and why.
    """

    def __init__(
        self, a: Sequence[tuple[str, Path]], b: Sequence[tuple[str, Path]], *, same_recipe: bool = False
    ) -> None:
        self._same_recipe = same_recipe
        self.left_out: list[LeftOut] = []
        self._open = ExitStack()
        try:
            self._a, self._b = self._side(a, "a"), self._side(b, "b")
        except BaseException:
            self._open.close()
            raise
        self._common = self._in_common()

    def __enter__(self) -> EpisodePair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def ends_ns(self) -> tuple[int, int]:
        """The last moment of each on its own clock: of their common streams, of any stream where there is none."""
        return self._end_ns(self._a), self._end_ns(self._b)

    @property
    def names(self) -> set[str]:
        """Of the common streams."""
        return {name for _, name in self._common}

    def pairs(self, shift: Shift, names: Collection[str] | None = None) -> Iterator[StreamPair]:
        """Each common stream, one in the memory at a time; one that is broken is left out.

        Args:
            shift: Where the two begin on the common clock.
            names: The streams; None for all.
        """
        for key in self._common:
            artifact, name = key
            if names is not None and name not in names:
                continue
            try:
                a = _track(self._a.listed[key], shift.a_ns)
                b = _track(self._b.listed[key], shift.b_ns)
            except SeriesError as error:
                self.left_out.append(LeftOut(name, artifact, None, str(error)))
            else:
                yield self._paired(name, artifact, a, b, shift)

    def _side(self, sources: Sequence[tuple[str, Path]], side: Literal["a", "b"]) -> _Side:
        found = _Side()
        for artifact, path in sources:
            if not is_zip(path):
                self.left_out.append(LeftOut(artifact, artifact, side, "not an NPZ file"))
                found.unread.add(artifact)
                continue
            try:
                npz = self._open.enter_context(NpzFile(path))
            except SeriesError as error:
                self.left_out.append(LeftOut(artifact, artifact, side, f"the file cannot be read: {error}"))
                found.unread.add(artifact)
                continue
            found.listed.update({(artifact, stream.name): stream for stream in series_sources(npz, artifact)})
        return found

    def _in_common(self) -> list[tuple[str, str]]:
        a, b = self._a.listed, self._b.listed
        common: list[tuple[str, str]] = []
        for key in [*a, *(key for key in b if key not in a)]:
            artifact, name = key
            if artifact in self._a.unread | self._b.unread:
                continue  # what it would have had, nobody knows
            if key not in b or key not in a:
                side: Literal["a", "b"] = "a" if key in a else "b"
                only = (a if side == "a" else b)[key]
                self.left_out.append(LeftOut(name, artifact, side, only.reason or "only this one has it"))
            elif (reason := _why_not(a[key], b[key])) is not None:
                self.left_out.append(LeftOut(name, artifact, None, reason))
            elif len(common) == _MAX_STREAMS:
                self.left_out.append(LeftOut(name, artifact, None, f"more than {_MAX_STREAMS} streams"))
            else:
                common.append(key)
        return common

    def _end_ns(self, side: _Side) -> int:
        end = 0
        for key in self._common or [key for key, stream in side.listed.items() if stream.reason is None]:
            source, clock = side.listed[key], side.listed[key].clock
            if clock is not None and clock.rows:
                try:
                    last = int(source.npz.read(clock).astype(np.int64).max())
                    end = max(end, min(last, _LATEST_NS))
                except SeriesError:
                    continue  # said where the stream itself is read
        return end

    def _paired(self, name: str, artifact: str, a: Track, b: Track, shift: Shift) -> StreamPair:
        if shift.by_step and (self._same_recipe or _steps_alike(a.t_ns, b.t_ns)):
            count = min(len(a.t_ns), len(b.t_ns))
            rows = np.arange(count)
            return StreamPair(name, artifact, a, b, "step", rows, rows, a.t_ns[:count])
        return StreamPair(name, artifact, a, b, "time", *_by_time(a.t_ns, b.t_ns))


def _why_not(a: SeriesSource, b: SeriesSource) -> str | None:
    """Why a stream that both have cannot be compared, None when it can."""
    if a.reason is not None or b.reason is not None:
        sides = [("A", a.reason), ("B", b.reason)]
        return a.reason if a.reason == b.reason and a.reason else "; ".join(f"{s}: {r}" for s, r in sides if r)
    if a.columns != b.columns:
        return f"A has {a.columns} values a row, B {b.columns}"
    for side, stream in (("A", a), ("B", b)):
        size = math.prod(stream.member.shape) * stream.member.dtype.itemsize
        if size > _MAX_STREAM_BYTES:
            return f"{side}: more than {_MAX_STREAM_BYTES // 1024**2} MiB"
    return None


def _track(listed: SeriesSource, begin_ns: int) -> Track:
    npz = listed.npz
    assert listed.clock is not None  # else it has a reason
    t_ns = npz.read(listed.clock).astype(np.int64) + begin_ns
    # The two differ in length when a writer was killed between them.
    count = min(listed.member.rows, len(t_ns))
    values, t_ns = npz.read(listed.member)[:count].reshape(count, listed.columns), t_ns[:count]
    if np.any(np.diff(t_ns) < 0):
        order = np.argsort(t_ns, kind="stable")
        values, t_ns = values[order], t_ns[order]
    return Track(listed, values, t_ns)


def _steps_alike(a: NDArray[np.int64], b: NDArray[np.int64]) -> bool:
    """Whether row k of the one and row k of the other are the same step."""
    count = min(len(a), len(b))
    if count == 0:
        return True
    since_a, since_b = a[:count] - a[0], b[:count] - b[0]
    if len(a) == len(b) and abs(int(since_a[-1]) - int(since_b[-1])) <= _SAME_LENGTH * max(since_a[-1], since_b[-1]):
        return True
    if count == 1:
        return False
    half = min(np.median(np.diff(since_a)), np.median(np.diff(since_b))) / 2
    return bool(np.abs(since_a - since_b).max() <= half)


def _by_time(
    a: NDArray[np.int64], b: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]]:
    """Rows of both, and when: the rows of the one with more of them in the common window, what the other said last."""
    if not len(a) or not len(b):
        none = np.zeros(0, np.intp)
        return none, none, np.zeros(0, np.int64)
    start, end = max(a[0], b[0]) - _SLACK_NS, min(a[-1], b[-1]) + _SLACK_NS
    inside_a, inside_b = (
        np.arange(np.searchsorted(stamps, start, "left"), np.searchsorted(stamps, end, "right")) for stamps in (a, b)
    )
    if len(inside_a) >= len(inside_b):
        return inside_a, _in_force(b, a[inside_a]), a[inside_a]
    return _in_force(a, b[inside_b]), inside_b, b[inside_b]


def _in_force(stamps: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.intp]:
    return np.maximum(np.searchsorted(stamps, at + _SLACK_NS, "right") - 1, 0)
