"""The columns of an episode, over all its blocks, as the arrays of its files.

The columns of one leaf:

=====================  ==============================================================================================
``<leaf>/value``       the rows; of a ragged leaf the items of all its rows, one after the other
``<leaf>/_offsets``    in blocks the number of items of each row; in the file, one more than rows, where each begins
``<leaf>/_offsets_1``  where there are items within items: the same for each item of the level above
``<leaf>/_rows``       of a leaf that is not in every row: which rows it is in; in blocks, from the first gap on
``<leaf>/_t_ns``       the rows' stamps, made here from the clock
=====================  ==============================================================================================

A column's ``time`` says which stamps of the episode's clock (the column ``_t_ns``) belong to its rows, counted from its
``first``:

=========  ==========================================================================
``all``    row k at stamp k: observations, N + 1 of them
``before`` row k at stamp k: actions, at the time their observation was seen
``after``  row k at stamp k + 1: rewards and flags, at the time of their result
``none``   it has none: it belongs to another column of its leaf
=========  ==========================================================================

Everything is read a block at a time: a long episode never lies in memory as a whole. Of an episode of which only the
last seconds are kept, the first blocks may be gone: rows keep their numbers, counted from the episode's first one.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from encodings import utf_32_le  # by name, decode() would import it on the writer thread: see guards.py
from pathlib import Path

from robotrace.deliver.blocks import Block, Column, Layout, Record
from robotrace.deliver.npz import Member, is_picture

__all__ = [
    "CLOCK_KEY",
    "Columns",
    "Cut",
    "collect_columns",
    "first_row",
    "last_stamp",
    "members",
    "resume_at",
    "structures",
]

CLOCK_KEY = "_t_ns"

_STAMP = "<i8"
_OFFSETS = "_offsets"
_ROWS = "_rows"
_ONCE = "/_structure"
"""What such a column says is in its first block only, for the whole episode."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    path: Path
    offset: int
    nbytes: int
    count: int


@dataclass
class _Column:
    layout: Layout
    before: int = 0
    """Rows of the blocks that are gone."""
    chunks: list[_Chunk] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(chunk.count for chunk in self.chunks)

    @property
    def first(self) -> int:
        """The place of its first row that is there among the rows of the episode."""
        return self.layout.first + self.before

    @property
    def row_bytes(self) -> int:
        return sum(chunk.nbytes for chunk in self.chunks) // max(self.count, 1)

    def read(self, begin: int = 0, end: float = math.inf) -> Iterator[bytes]:
        """The bytes from ``begin`` to ``end``."""
        position = 0
        for chunk in self.chunks:
            start, stop = max(begin - position, 0), int(min(end - position, chunk.nbytes))
            if start < stop:
                with chunk.path.open("rb", buffering=0) as file:
                    file.seek(chunk.offset + start)
                    yield file.read(stop - start)
            position += chunk.nbytes

    def numbers(self, begin: int = 0, end: float = math.inf) -> Iterator[int]:
        """The rows of a column of int64 from ``begin`` to ``end``."""
        for data in self.read(8 * begin, 8 * end):
            yield from struct.unpack(f"<{len(data) // 8}q", data)


Columns = Mapping[str, _Column]


@dataclass(frozen=True)
class Cut:
    """What an episode begins with, when only its end is kept.

    Attributes:
        row: The first row that is kept.
        t_ns: The time that is 0 then.
    """

    row: int = 0
    t_ns: int = 0


def collect_columns(blocks: Mapping[int, Record], resumes: Mapping[int, Record] | None = None) -> Columns:
    """The columns over all blocks up to the first missing one.

    Rows after a gap have lost their place on the clock: the stamps before them would be missing too, and everything
    later would be shifted.

    Args:
        blocks: STEPS records by sequence number.
        resumes: RESUME records, by the sequence number of the block after them: the first blocks may be missing.
    """
    resumes = resumes or {}
    # Of the places where one may begin: what reaches furthest, and the most of it.
    starts = {start: _reach(blocks, start) for start in (0, *resumes) if start == 0 or start in blocks}
    start = max(starts, key=lambda begin: (starts[begin], -begin))
    columns: dict[str, _Column] = {}
    if start:
        for layout, count, chunk in _chunks(resumes[start]):
            columns[layout.key] = _Column(layout, 0, [chunk]) if chunk.nbytes else _Column(layout, count)
    for sequence in range(start, starts[start]):
        for layout, _, chunk in _chunks(blocks[sequence]):
            column = columns.get(layout.key)
            if column is None:
                column = columns[layout.key] = _Column(layout)
            column.chunks.append(chunk)
    return columns


def resume_at(columns: Columns) -> list[Column]:
    """What a RESUME record says, from which the blocks after these columns can be read without them."""
    resumed = []
    for key, column in columns.items():
        layout = column.layout
        data = b"".join(column.read()) if key.endswith(_ONCE) else b""
        count = column.before + column.count
        resumed.append(Column(key, layout.artifact, layout.time, layout.descr, layout.shape, count, data, layout.first))
    return resumed


def _reach(blocks: Mapping[int, Record], start: int) -> int:
    return next(sequence for sequence in itertools.count(start) if sequence not in blocks)


def _chunks(record: Record) -> Iterator[tuple[Layout, int, _Chunk]]:
    block: Block = record.content
    offset = record.offset
    for layout, count, nbytes in zip(block.layouts, block.sizes[::2], block.sizes[1::2], strict=True):
        yield layout, count, _Chunk(record.path, offset, nbytes, count)
        offset += nbytes


def last_stamp(columns: Columns) -> int:
    """The last time on the episode's clock, in nanoseconds."""
    clock = columns[CLOCK_KEY]
    return next(clock.numbers(clock.count - 1))


def first_row(columns: Columns, t_ns: int) -> int:
    """The first row that is there at or after a time."""
    clock = columns[CLOCK_KEY]
    rows = enumerate(clock.numbers(), clock.first)
    return next((row for row, stamp in rows if stamp >= t_ns), clock.first + clock.count - 1)


def structures(columns: Columns, artifact: str) -> bytes:
    """What says how the leaves of a file's streams make up their rows, as the comment of that file; maybe empty.

    JSON ``{"structure": {stream: …}}``. No array of its own: a reader that takes row i of every array, as far as the
    shortest goes, would find one row.
    """
    texts = {
        key.removesuffix(_ONCE): utf_32_le.decode(b"".join(column.read()))[0].rstrip("\0")
        for key, column in columns.items()
        if key.endswith(_ONCE) and column.layout.artifact == artifact
    }
    if not texts:
        return b""
    structure = {stream: json.loads(text) for stream, text in texts.items()}
    return json.dumps({"structure": structure}, separators=(",", ":")).encode()


def members(columns: Columns, cut: Cut) -> dict[str, list[Member]]:
    """The arrays of each file, from the cut on."""
    found: dict[str, list[Member]] = {"sensors": [], "actions": []}
    for leaf in dict.fromkeys(key.rpartition("/")[0] for key in columns if key != CLOCK_KEY):
        for artifact, member in _leaf(columns, leaf, cut):
            found[artifact].append(member)
    return found


def _leaf(columns: Columns, leaf: str, cut: Cut) -> Iterator[tuple[str, Member]]:
    levels = [f"{leaf}/{_OFFSETS}" + (f"_{number}" if number else "") for number in range(len(columns))]
    levels = list(itertools.takewhile(columns.__contains__, levels))
    value = columns.get(f"{leaf}/value")
    rows = columns[levels[0]] if levels else value
    if rows is None:
        return
    artifact = rows.layout.artifact
    places = columns.get(f"{leaf}/{_ROWS}")
    if places is None:
        skip = min(max(cut.row - rows.first, 0), rows.count)
    else:
        skip = sum(1 for place in _places(rows, places) if place < cut.row)
    if skip == rows.count and (skip or rows.before):
        return
    items = skip
    for key in levels:
        lengths = columns[key]
        yield artifact, Member(key, _STAMP, (lengths.count - items + 1,), _offsets(lengths, items))
        items = sum(lengths.numbers(0, items))
    if value is not None:
        layout = value.layout
        picture = is_picture(layout.descr, layout.shape)
        data = value.read(items * value.row_bytes)
        yield artifact, Member(value.layout.key, layout.descr, (value.count - items, *layout.shape), data, picture)
    if rows.layout.time != "none":
        count, stamps = _stamps(rows, places, columns[CLOCK_KEY], skip, cut)
        yield artifact, Member(f"{leaf}/{CLOCK_KEY}", _STAMP, (count,), stamps)
    if places is not None:
        kept = itertools.islice(_places(rows, places), skip, None)
        numbers = (struct.pack("<q", place - cut.row) for place in kept)
        yield artifact, Member(f"{leaf}/{_ROWS}", _STAMP, (rows.count - skip,), numbers)


def _stamps(rows: _Column, places: _Column | None, clock: _Column, skip: int, cut: Cut) -> tuple[int, Iterator[bytes]]:
    """How many stamps the rows from ``skip`` on have, and these."""
    shift = 1 if rows.layout.time == "after" else 0
    if places is not None:
        kept = itertools.islice(_places(rows, places), skip, None)
        return rows.count - skip, _picked(clock, (place + shift for place in kept), cut)
    begin = rows.first + shift + skip - clock.first
    count = max(min(rows.count - skip, clock.count - begin), 0)
    return count, _since(clock.read(8 * begin, 8 * (begin + count)), cut)


def _since(chunks: Iterator[bytes], cut: Cut) -> Iterator[bytes]:
    if not cut.t_ns:
        yield from chunks
        return
    for data in chunks:
        stamps = struct.unpack(f"<{len(data) // 8}q", data)
        yield struct.pack(f"<{len(stamps)}q", *(stamp - cut.t_ns for stamp in stamps))


def _places(column: _Column, rows: _Column) -> Iterator[int]:
    """Which rows a column has: those before the first that is listed are there without a gap."""
    gapless = column.before + column.count - rows.before - rows.count
    yield from range(column.first, column.layout.first + gapless)
    yield from rows.numbers()


def _picked(clock: _Column, places: Iterator[int], cut: Cut) -> Iterator[bytes]:
    """The stamps at ascending places; after the end, where a fault in the middle of a step can leave one, the last."""
    stamps = enumerate(clock.numbers(), clock.first)
    at, stamp = -1, 0
    for place in places:
        while at < place:
            at, stamp = next(stamps, (place, stamp))
        yield struct.pack("<q", stamp - cut.t_ns)


def _offsets(lengths: _Column, skip: int) -> Iterator[bytes]:
    total = 0
    yield struct.pack("<q", 0)
    for data in lengths.read(8 * skip):
        ends: Sequence[int] = tuple(itertools.accumulate(struct.unpack(f"<{len(data) // 8}q", data), initial=total))
        total = ends[-1]
        yield struct.pack(f"<{len(ends) - 1}q", *ends[1:])
