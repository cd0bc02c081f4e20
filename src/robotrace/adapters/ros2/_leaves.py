"""The numbers and texts of a message type, each a column; rows are spilled to disk, their shape is decided at the end.

A sequence may have another length in each message, and mostly has not. So every leaf keeps its items one after the
other and the lengths beside them, and only when all are known the innermost lengths that never changed become axes: a
laser scan is ``(N, 360)``, a list of detections is ragged, as docs/recording.md describes it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robotrace.deliver.columns import CLOCK_KEY
from robotrace.deliver.npz import Member, is_picture

__all__ = ["Columns", "Leaf", "Level", "NumberLeaf", "TextLeaf", "leaf_members"]

_INT64 = "<i8"
_LONGEST_TEXT = 64
"""Characters: NumPy's fixed-width texts take 4 bytes a character of the longest; longer ones are UTF-8 bytes."""
_LONGEST_FACT = 4096
"""Characters of texts that never change, beyond which they are no fact for the metadata: a robot's description."""
_SOME = 4096


class Column(Protocol):
    """An array whose rows wait on the disk."""

    descr: str
    shape: tuple[int, ...]
    count: int

    def extend(self, array: NDArray[Any]) -> None:
        """Further rows."""

    def chunks(self) -> Iterator[bytes]:
        """All rows, C-ordered."""


class Columns(Protocol):
    """What makes columns: :class:`robotrace.adapters._arrays.ArraysWriter`."""

    def column(self, descr: str, shape: tuple[int, ...] = ()) -> Column:
        """A new one."""


class Level:
    """The lengths of a sequence, one for each item of the level around it."""

    def __init__(self, columns: Columns) -> None:
        self._counts = columns.column(_INT64)
        self._least: int | None = None
        self._most = 0

    def add(self, counts: Sequence[int]) -> None:
        """The lengths of the next sequences."""
        if counts:
            self._counts.extend(np.array(counts, np.int64))
            least = min(counts)
            self._least = least if self._least is None else min(self._least, least)
            self._most = max(self._most, max(counts))

    @property
    def constant(self) -> int | None:
        """The length that all of them have, 0 where there are none; None where they differ."""
        return self._most if self._least in (None, self._most) else None

    @property
    def offsets(self) -> tuple[int, Iterator[bytes]]:
        """How many offsets there are, and these: where each begins, and the end."""
        return self._counts.count + 1, self._offsets()

    def lengths(self) -> Iterator[int]:
        """One after the other."""
        for chunk in self._counts.chunks():
            yield from np.frombuffer(chunk, np.int64).tolist()

    def _offsets(self) -> Iterator[bytes]:
        total = 0
        yield np.zeros(1, np.int64).tobytes()
        for chunk in self._counts.chunks():
            ends = total + np.cumsum(np.frombuffer(chunk, np.int64))
            if len(ends):
                total = int(ends[-1])
                yield ends.tobytes()


class Leaf:
    """A field that is no message.

    Args:
        path: Its name in the message, ``pose.position``.
        levels: The sequences it is in, from the outermost.
    """

    def __init__(self, path: str, levels: tuple[Level, ...]) -> None:
        self.path = path
        self.levels = levels

    @property
    def empty(self) -> bool:
        """Whether no message had anything in it."""
        return any(level.constant == 0 for level in self.levels)

    @property
    def constant(self) -> Any:
        """What it always was, where that is no array but a fact; else None."""
        return None

    def content(self) -> tuple[str, tuple[int, ...], int, Iterator[bytes], tuple[Level, ...]]:
        """The dtype, the shape of an item, how many there are, their bytes, and further levels below."""
        raise NotImplementedError


class NumberLeaf(Leaf):
    """Numbers or bools of one dtype, single ones or vectors."""

    def __init__(
        self, path: str, levels: tuple[Level, ...], columns: Columns, dtype: np.dtype[Any], shape: tuple[int, ...] = ()
    ) -> None:
        super().__init__(path, levels)
        self.dtype = dtype
        self._column = columns.column(dtype.str, shape)

    def add(self, items: NDArray[Any]) -> None:
        """The next items."""
        self._column.extend(items)

    def content(self) -> tuple[str, tuple[int, ...], int, Iterator[bytes], tuple[Level, ...]]:
        column = self._column
        return column.descr, tuple(column.shape), column.count, column.chunks(), ()


class TextLeaf(Leaf):
    """Texts; as long as every message has the same, nothing is spilled."""

    def __init__(self, path: str, levels: tuple[Level, ...], columns: Columns) -> None:
        super().__init__(path, levels)
        self._bytes = columns.column("|u1")
        self._lengths = Level(columns)
        self._first: Sequence[str] | None = None
        self._repeated = 0
        self._changed = False
        self._longest = 0

    def add(self, items: Sequence[str]) -> None:
        """The texts of the next message."""
        if self._first is None:
            self._first = list(items)
            self._changed = sum(map(len, items)) > _LONGEST_FACT
        if not self._changed:
            if self._first == items:
                self._repeated += 1
                return
            self._changed = True
            while self._repeated:
                times = min(self._repeated, _SOME)
                self._spill(list(self._first) * times)
                self._repeated -= times
        self._spill(items)

    @property
    def constant(self) -> Any:
        if self._changed or self._first is None:
            return None
        return list(self._first) if self.levels else self._first[0]

    def content(self) -> tuple[str, tuple[int, ...], int, Iterator[bytes], tuple[Level, ...]]:
        count = self._lengths.offsets[0] - 1
        if self._longest <= _LONGEST_TEXT:
            width = max(self._longest, 1)
            return f"<U{width}", (), count, self._fixed(width), ()
        return self._bytes.descr, (), self._bytes.count, self._bytes.chunks(), (self._lengths,)

    def _spill(self, items: Sequence[str]) -> None:
        encoded = [item.encode("utf-8", "surrogatepass") for item in items]
        self._longest = max([self._longest, *map(len, items)])
        self._lengths.add([len(each) for each in encoded])
        self._bytes.extend(np.frombuffer(b"".join(encoded), np.uint8))

    def _fixed(self, width: int) -> Iterator[bytes]:
        data = bytearray()
        chunks = self._bytes.chunks()
        texts = []
        for length in self._lengths.lengths():
            while len(data) < length:
                data += next(chunks)
            texts.append(data[:length].decode("utf-8", "surrogatepass"))
            del data[:length]
            if len(texts) == _SOME:
                yield np.array(texts, f"<U{width}").tobytes()
                texts = []
        yield np.array(texts, f"<U{width}").tobytes()


def leaf_members(stream: str, rows: int, leaf: Leaf, clock: Column, taken: Container[str]) -> Iterator[Member]:
    """The arrays of a leaf: ``<stream>/<path>``, or where its rows differ in length, those that say how they lie.

    Args:
        stream: What it is part of.
        rows: The messages of the stream.
        leaf: Neither empty nor constant.
        clock: The stamps of the stream.
        taken: Names of streams: a ragged leaf has a clock of its own, and ``/state/data`` may be a topic too.
    """
    descr, shape, count, chunks, below = leaf.content()
    levels = [*leaf.levels, *below]
    while levels and (length := levels[-1].constant) is not None:
        shape = (length, *shape)
        levels.pop()
    key = f"{stream}/{leaf.path}"
    if not levels:
        yield Member(key, descr, (rows, *shape), chunks, is_picture(descr, shape))
        return
    if key in taken:
        key += "#1"
    per_item = int(np.prod(shape[: len(leaf.levels) + len(below) - len(levels)], dtype=np.int64))
    yield Member(f"{key}/value", descr, (count // max(per_item, 1), *shape), chunks, is_picture(descr, shape))
    for number, level in enumerate(levels):
        length, offsets = level.offsets
        yield Member(f"{key}/_offsets" + (f"_{number}" if number else ""), _INT64, (length,), offsets)
    yield Member(f"{key}/{CLOCK_KEY}", _INT64, (rows,), clock.chunks())
