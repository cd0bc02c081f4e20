"""Where the common streams of two episodes first differ, and how far apart they are.

Needs NumPy alone. Exactly first: to the bit where the dtypes are the same, else by value; a NaN equals a NaN. Then
beyond a tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.bits import different_bits, distances
from robotrace.serve.stream_pairs import Pairing, StreamPair

__all__ = ["Instant", "StreamDifference", "difference", "first_of", "measure"]

_CHUNK_VALUES = 131_072
"""Compared at once: what is made on the way stays in the cache of a core. A million takes twice as long."""
_ASIDE = "info"
"""What an env tells beside its observation, timings among it: it is looked at when nothing else differs."""


@dataclass(frozen=True)
class Instant:
    """Two values that face each other.

    Attributes:
        stream: The stream.
        column: Which of its values; empty where a row is a single one.
        row_a: The row of the first episode, from 0; the step where rows were paired by step.
        row_b: That of the second.
        t_ms: When, on the common clock.
        a: What the first episode has there.
        b: What the second has.
        distance: How far they are apart; None where one of them is no number.
    """

    stream: str
    column: str
    row_a: int
    row_b: int
    t_ms: float
    a: str
    b: str
    distance: float | None

    @property
    def value(self) -> str:
        """What to call it: ``observation[2]``, or the stream where a row is a single value."""
        return f"{self.stream}[{self.column}]" if self.column else self.stream


@dataclass(frozen=True)
class StreamDifference:
    """A common stream, compared.

    Attributes:
        name: The stream.
        artifact: ``sensors`` or ``actions``.
        by: How rows were paired.
        columns: Values a row.
        dtypes: Of both.
        rows: Of both.
        compared: How many rows faced each other.
        begins_ms: When the first of them was, on the common clock; None where there is none.
        different_rows: In how many of them something was not exactly the same.
        unlike: How many values had a number on one side only.
        first: Where they first differ at all; None where they never do.
        beyond: Where they first differ by more than the tolerance.
        largest: Where they are the furthest apart, among numbers; None where they are nowhere apart.
        rms: The root of the mean square of what numbers are apart; None where there are none.
    """

    name: str
    artifact: str
    by: Pairing
    columns: int
    dtypes: tuple[str, str]
    rows: tuple[int, int]
    compared: int
    begins_ms: float | None
    different_rows: int
    unlike: int
    first: Instant | None
    beyond: Instant | None
    largest: Instant | None
    rms: float | None


def measure(pair: StreamPair, tolerance: float = 0.0) -> StreamDifference:
    """Compare a stream.

    Args:
        pair: The stream.
        tolerance: What numbers may be apart before they are said to be beyond it, in the stream's own unit.
    """
    columns = pair.a.listed.columns
    size = max(1, _CHUNK_VALUES // columns)
    first = beyond = largest = None
    most, squares, numbers, different_rows, unlike = 0.0, 0.0, 0, 0, 0
    for begin in range(0, len(pair.t_ns), size):
        part = slice(begin, begin + size)
        a, b = pair.a.values[pair.rows_a[part]], pair.b.values[pair.rows_b[part]]
        different = _different(a, b)
        where = np.flatnonzero(different.any(axis=1))
        numbers += different.size
        if a.dtype.kind == "f":  # a NaN that equals a NaN is no number
            numbers -= int(np.count_nonzero(~different & ~np.isfinite(a)))
        if not len(where):
            continue
        different_rows += len(where)
        # Everything else is zero apart: only what differs is subtracted.
        apart = np.where(different[where], distances(a[where], b[where]), 0.0)
        outside = different[where] & ~(apart <= tolerance)
        if first is None:
            first = _instant(pair, begin + where[0], int(np.argmax(different[where[0]])))
        if beyond is None and (rows := np.flatnonzero(outside.any(axis=1))).size:
            beyond = _instant(pair, begin + where[rows[0]], int(np.argmax(outside[rows[0]])))
        finite = np.isfinite(apart)
        unlike += int(np.count_nonzero(~finite))
        numbers -= int(np.count_nonzero(~finite))
        apart[~finite] = 0.0
        with np.errstate(over="ignore"):
            squares += float(np.square(apart).sum())
        row, column = np.unravel_index(int(apart.argmax()), apart.shape)
        if apart[row, column] > most:
            most = float(apart[row, column])
            largest = _instant(pair, begin + where[row], int(column))
    rms = math.sqrt(squares / numbers) if numbers and math.isfinite(squares) else None
    return StreamDifference(
        name=pair.name,
        artifact=pair.artifact,
        by=pair.by,
        columns=columns,
        dtypes=(pair.a.listed.member.dtype.name, pair.b.listed.member.dtype.name),
        rows=(len(pair.a.t_ns), len(pair.b.t_ns)),
        compared=len(pair.t_ns),
        begins_ms=float(pair.t_ns[0]) / 1e6 if len(pair.t_ns) else None,
        different_rows=different_rows,
        unlike=unlike,
        first=first,
        beyond=beyond,
        largest=largest,
        rms=rms,
    )


def difference(pair: StreamPair) -> NDArray[np.float64]:
    """The largest distance in each row that was compared.

    Returns:
        ``(compared,) float64``; NaN where values differ, but none of them by a number.
    """
    columns = pair.a.listed.columns
    size = max(1, _CHUNK_VALUES // columns)
    found = np.zeros(len(pair.t_ns))
    for begin in range(0, len(pair.t_ns), size):
        part = slice(begin, begin + size)
        a, b = pair.a.values[pair.rows_a[part]], pair.b.values[pair.rows_b[part]]
        different = _different(a, b)
        apart = np.where(different, distances(a, b), np.nan)
        apart[np.isinf(apart)] = np.nan
        found[part] = np.where(different.any(axis=1), np.fmax.reduce(apart, axis=1), 0.0)
    return found


def first_of(instants: Iterable[Instant | None]) -> Instant | None:
    """The earliest; at the same time, the one that comes first. What an env tells aside counts when it is alone."""
    return min(
        (instant for instant in instants if instant is not None),
        key=lambda instant: (_is_aside(instant.stream), instant.t_ms),
        default=None,
    )


def _is_aside(stream: str) -> bool:
    return stream == _ASIDE or stream.startswith(f"{_ASIDE}.")


def _different(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values differ: by bits where they have the same, by value where dtypes differ; a NaN equals a NaN."""
    different: NDArray[np.bool_]
    # A long double has bytes that mean nothing.
    if a.dtype == b.dtype and a.dtype.itemsize <= 8:
        different = different_bits(a, b)
    elif a.dtype.kind in "biu" and b.dtype.kind in "biu":
        different = np.not_equal(distances(a, b), 0)  # NumPy compares int64 and uint64 as float64
    else:
        different = np.not_equal(a, b)
    if a.dtype.kind == "f" and b.dtype.kind == "f" and different.any():
        different &= ~(np.isnan(a) & np.isnan(b))
    return different


def _instant(pair: StreamPair, at: int, column: int) -> Instant:
    row_a, row_b = int(pair.rows_a[at]), int(pair.rows_b[at])
    a, b = pair.a.values[row_a, column : column + 1], pair.b.values[row_b, column : column + 1]
    apart = float(distances(a, b)[0])
    labels = pair.a.listed.labels
    return Instant(
        stream=pair.name,
        column=labels[column] if len(labels) > 1 else "",
        row_a=row_a,
        row_b=row_b,
        t_ms=float(pair.t_ns[at]) / 1e6,
        a=_text(a[0]),
        b=_text(b[0]),
        distance=apart if math.isfinite(apart) else None,
    )


def _text(value: Any) -> str:
    """A value with all its digits and no more: ``0.1`` of a float32."""
    return str(value).lower() if isinstance(value, np.bool_) else str(value)
