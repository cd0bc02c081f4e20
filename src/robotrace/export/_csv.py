"""The numeric streams and texts of an episode as one CSV table: a row a time, a column a value.

Streams keep their own times: where one has no value, its cells are empty. Numbers are the shortest text that reads back
as the same value of their dtype; ``time_s`` is exact, with nine decimals.
"""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from robotrace.export._episode import ExportError, Window
from robotrace.export._leaves import Leaf, Streams

__all__ = ["table_bytes", "write_csv"]

_MOST_COLUMNS = 1024
"""Of a stream: more are an image."""
_MOST_ALL = 16_384
"""What spreadsheets take."""
_MOST_SORTED = 1_000_000
"""Rows of a stream whose times go back: they are sorted in memory."""

_Row = tuple[int, int, list[str]]
"""Time in ns, number of the stream, and cells."""


def table_bytes(streams: Streams, window: Window) -> int:
    """What the streams that may be in the table take in their own types."""
    return sum(
        leaf.rows * leaf.columns * leaf.dtype.itemsize
        for leaf in streams.leaves
        if leaf.columns <= _MOST_COLUMNS and (window.streams is None or leaf.name in window.streams)
    )


def write_csv(
    file: IO[bytes],
    streams: Streams,
    left_out: dict[str, str],
    on_row: Callable[[], None],
    window: Window,
) -> int:
    """Write the streams that fit into a table.

    Args:
        file: Where to; UTF-8.
        streams: The episode's.
        left_out: Why others are not in the file, by name; more are added.
        on_row: Called for each row of a stream.
        window: Which part of it.

    Returns:
        How many streams are in the file.

    Raises:
        ExportError: A file of the episode is broken, or a stream that was asked for is none.
    """
    unknown = (window.streams or frozenset()) - {leaf.name for leaf in streams.leaves}
    if unknown:
        raise ExportError(f"there is no stream {min(unknown)!r} to export")
    leaves = []
    columns = 0
    for leaf in streams.leaves:
        if window.streams is not None and leaf.name not in window.streams:
            continue
        width = 1 if leaf.kind == "text" else leaf.columns
        if leaf.kind == "ragged":
            left_out[leaf.name] = "its rows are of several lengths"
        elif width > _MOST_COLUMNS or columns + width > _MOST_ALL:
            left_out[leaf.name] = f"{width} values a row are too many for a table"
        elif leaf.rows > _MOST_SORTED and not leaf.is_ascending:
            left_out[leaf.name] = "its times go back"
        else:
            leaves.append(leaf)
            columns += width
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="")
    try:
        writer = csv.writer(text)
        headers = [_headers(leaf) for leaf in leaves]
        writer.writerow(["time_s", *(name for names in headers for name in names)])
        begins = [sum(len(names) for names in headers[:number]) for number in range(len(headers))]
        for t_ns, cells in _table([_timed(leaf, number, window) for number, leaf in enumerate(leaves)]):
            row = [""] * columns
            for number, values in cells:
                row[begins[number] : begins[number] + len(values)] = values
                on_row()
            writer.writerow([_seconds(t_ns), *row])
    finally:
        text.flush()
        text.detach()
    return len(leaves)


def _headers(leaf: Leaf) -> list[str]:
    if leaf.kind == "text" or not leaf.shape:
        return [leaf.name]
    return [f"{leaf.name}[{','.join(map(str, index))}]" for index in np.ndindex(*leaf.shape)]


def _timed(leaf: Leaf, number: int, window: Window) -> Iterator[_Row]:
    """The rows of a stream in the window, forward in time."""
    rows = _in_window(leaf, number, window)
    return rows if leaf.is_ascending else iter(sorted(rows, key=lambda row: row[0]))


def _in_window(leaf: Leaf, number: int, window: Window) -> Iterator[_Row]:
    write = _writer_of(leaf)
    for times, block in leaf.blocks():
        inside = window.inside(times)
        for at in np.flatnonzero(inside).tolist():
            yield int(times[at]), number, write(block[at])


def _table(sources: list[Iterator[_Row]]) -> Iterator[tuple[int, list[tuple[int, list[str]]]]]:
    """The rows of the table; a stream with two values at a time has them in two of them."""
    at: int | None = None
    rows: list[list[tuple[int, list[str]]]] = []
    for t_ns, number, cells in heapq.merge(*sources, key=lambda item: item[:2]):
        if t_ns != at:
            for row in rows:
                assert at is not None
                yield at, row
            at, rows = t_ns, []
        free = next((row for row in rows if row[-1][0] != number), None)
        if free is None:
            rows.append([(number, cells)])
        else:
            free.append((number, cells))
    for row in rows:
        assert at is not None
        yield at, row


def _writer_of(leaf: Leaf) -> Callable[[Any], list[str]]:
    if leaf.kind == "text":
        return lambda row: [row]
    kind = leaf.dtype.kind
    if kind == "b":
        return lambda row: ["1" if value else "0" for value in row.ravel().tolist()]
    if kind in "iu":
        return lambda row: [str(value) for value in row.ravel().tolist()]
    if kind == "f" and leaf.dtype.itemsize == 8:
        return lambda row: [repr(value) for value in row.ravel().tolist()]
    if kind == "f":
        # The shortest text that a float32 (or float16) reads back from: as a float64 it would gain digits.
        return lambda row: [str(value) for value in row.ravel()]
    if kind == "S":
        return lambda row: [value.decode("utf-8", "replace") for value in np.ravel(row).tolist()]
    return lambda row: [str(value) for value in np.ravel(row).tolist()]


def _seconds(t_ns: int) -> str:
    sign = "-" if t_ns < 0 else ""
    whole, rest = divmod(abs(t_ns), 1_000_000_000)
    return f"{sign}{whole}.{rest:09d}"
