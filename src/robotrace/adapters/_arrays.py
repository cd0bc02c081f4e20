"""Streams of any length into an ``.npz``, through one file on the disk: memory holds a few rows of each.

A stream is a clock and its fields: ``<stream>/_t_ns`` and ``<stream>/<field>``. A field that is not in every row, or
whose dtype or shape changes, goes on under a name and a clock of its own (``<stream>/<field>#1/value``), so that row i
of every array belongs to stamp i of the clock beside it. Rows of several lengths are ``<stream>/value``, all items one
after the other, and ``<stream>/_offsets``, where each row begins; text is UTF-8 bytes, kept like that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robotrace.deliver.columns import CLOCK_KEY
from robotrace.deliver.npz import Member, is_picture, write_npz

__all__ = ["ArraysWriter", "Clock", "MemberSource"]

_INT64 = "<i8"
_BUFFER_BYTES = 64 * 1024
"""Of each array; 500 of them hold 32 MB."""
_READ_BYTES = 1024 * 1024
_KINDS = "biufcSUmM"
_MAX_SEGMENTS = 15


class ArraysWriter:
    """Collects the streams of one file.

    Args:
        spill: A path that is free; the rows wait there. Whoever made it deletes it.

    Attributes:
        notes: By key, what is not as it was.
        last_ns: The latest stamp so far; 0 without any.
    """

    def __init__(self, spill: Path) -> None:
        self.notes: dict[str, str] = {}
        self.last_ns = 0
        self._file = spill.open("xb+", buffering=0)
        self._streams: dict[str, _Stream] = {}
        self._others: dict[str, MemberSource] = {}

    def close(self) -> None:
        """Let go of what waits on the disk."""
        self._file.close()

    def __bool__(self) -> bool:
        return bool(self._streams or self._others)

    def append(self, stream: str, fields: Mapping[str, ArrayLike], t_ns: ArrayLike) -> None:
        """Rows of a stream.

        Args:
            stream: Its name.
            fields: Arrays of N rows by field; dtype and shape are kept. A field need not be in every call, and there
                may be none at all: a clock alone.
            t_ns: The N stamps of the rows, int64 ns on the episode's clock.

        Raises:
            ValueError: A field has not as many rows as there are stamps, or holds Python objects.
        """
        stamps = _checked_stamps(t_ns)
        arrays = {name: _checked(stream, name, value, len(stamps)) for name, value in fields.items()}
        self._stream(stream).append(arrays, stamps)
        self._reached(stamps)

    def append_ragged(self, stream: str, rows: Sequence[ArrayLike | str | bytes], t_ns: ArrayLike) -> None:
        """Rows of several lengths: ``<stream>/value`` and ``<stream>/_offsets``.

        Args:
            stream: Its name; of a field of another stream ``<that>/<field>``.
            rows: Each a one-dimensional array, or text.
            t_ns: Their stamps, int64 ns on the episode's clock.

        Raises:
            ValueError: There are more or fewer rows than stamps, or they hold Python objects.
        """
        stamps = _checked_stamps(t_ns)
        if len(rows) != len(stamps):
            raise ValueError(f"{stream}: {len(rows)} rows and {len(stamps)} stamps")
        items = [_items(stream, row) for row in rows]
        target = self._stream(stream)
        for item, stamp in zip(items, stamps, strict=True):
            target.append_ragged(item, stamp)
        self._reached(stamps)

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            OSError: It cannot be written.
        """
        sources: tuple[MemberSource, ...] = (*self._streams.values(), *self._others.values())
        write_npz(path, (member for source in sources for member in source.members()))

    def add(self, stream: str, source: MemberSource) -> None:
        """A stream that is collected by somebody else, in columns of :meth:`column`.

        Args:
            stream: Its name, which no other has.
            source: Asked for its arrays when the file is written. Whoever fills it raises :attr:`last_ns`.
        """
        self._others[stream] = source

    def clock(self) -> Clock:
        """Stamps that may become a stream of their own; see :meth:`add_clock`."""
        return Clock(self.column(_INT64))

    def add_clock(self, stream: str, clock: Clock) -> None:
        """``<stream>/_t_ns`` alone; nothing where there is a stream of that name, which has its own."""
        if stream not in self._streams and stream not in self._others:
            self._stream(stream).adopt(clock)
            self.last_ns = max(self.last_ns, clock.last_ns)

    def _stream(self, name: str) -> _Stream:
        found = self._streams.get(name)
        if found is None:
            found = self._streams[name] = _Stream(self, name)
        return found

    def _reached(self, stamps: NDArray[np.int64]) -> None:
        if len(stamps):
            self.last_ns = max(self.last_ns, int(stamps.max()))

    def column(self, descr: str, shape: tuple[int, ...] = ()) -> _Column:
        """A new array of rows that waits in the file."""
        return _Column(self._file, descr, shape)


class MemberSource(Protocol):
    """What has arrays for the file."""

    def members(self) -> Iterator[Member]:
        """They, once all rows are known."""


class Clock:
    """Stamps in the order in which they came.

    Attributes:
        last_ns: The latest.
    """

    def __init__(self, column: _Column) -> None:
        self.last_ns = 0
        self.column = column

    def extend(self, stamps: Sequence[int]) -> None:
        """Further ones, int ns."""
        if stamps:
            self.last_ns = max(self.last_ns, *stamps)
            self.column.extend(np.asarray(stamps, np.int64))


class _Column:
    """One array, a few rows of it in memory."""

    def __init__(self, file: Any, descr: str, shape: tuple[int, ...]) -> None:
        self.descr = descr
        self.shape = shape
        self.count = 0
        self._file = file
        self._chunks: list[tuple[int, int]] = []
        self._buffer = bytearray()

    def extend(self, array: NDArray[Any]) -> None:
        self.count += len(array)
        self._buffer += np.ascontiguousarray(array, dtype=self.descr).tobytes()
        if len(self._buffer) >= _BUFFER_BYTES:
            self._chunks.append((self._file.seek(0, 2), len(self._buffer)))
            view = memoryview(self._buffer)
            while view:
                view = view[self._file.write(view) :]
            self._buffer = bytearray()

    def chunks(self) -> Iterator[bytes]:
        for offset, nbytes in self._chunks:
            for begin in range(0, nbytes, _READ_BYTES):
                self._file.seek(offset + begin)
                yield self._file.read(min(_READ_BYTES, nbytes - begin))
        yield bytes(self._buffer)

    def member(self, key: str) -> Member:
        shape = (self.count, *self.shape)
        return Member(key, self.descr, shape, self.chunks(), is_picture(self.descr, self.shape))


class _Stream:
    def __init__(self, owner: ArraysWriter, name: str) -> None:
        self._owner = owner
        self._name = name
        self._clock = owner.column(_INT64)
        self._fields: dict[str, _Column] = {}
        self._alone: dict[str, _Segment] = {}
        self._ragged: _Segment | None = None
        self._segments: list[tuple[str, _Segment]] = []

    def adopt(self, clock: Clock) -> None:
        self._clock = clock.column

    def append(self, fields: Mapping[str, NDArray[Any]], stamps: NDArray[np.int64]) -> None:
        if self._ragged is not None:
            raise ValueError(f"{self._name} has rows of several lengths; these are no more of them")
        before = self._clock.count
        self._clock.extend(stamps)
        for name, array in fields.items():
            column = self._fields.get(name)
            if column is None and name not in self._alone and before == 0:
                column = self._fields[name] = self._owner.column(array.dtype.str, array.shape[1:])
            if column is not None and column.count == before and _fits(column, array):
                column.extend(array)
            else:
                self._append_alone(name, array, stamps)

    def append_ragged(self, items: NDArray[Any], stamp: int) -> None:
        if self._clock.count:
            raise ValueError(f"{self._name} has rows of one length; these are no more of them")
        segment = self._ragged
        if segment is None or not _fits(segment.values, items):
            number = 0 if segment is None else segment.number + 1
            segment = self._next_segment(self._name, number, items.dtype.str, items.shape[1:], ragged=True)
            if segment is None:
                return
            self._ragged = segment
        segment.values.extend(items)
        segment.stamps.extend(np.array([stamp], np.int64))
        assert segment.ends is not None
        segment.ends.extend(np.array([segment.values.count], np.int64))

    def _append_alone(self, name: str, array: NDArray[Any], stamps: NDArray[np.int64]) -> None:
        """A field that was not in every row before, or looks different now."""
        segment = self._alone.get(name)
        if segment is None or not _fits(segment.values, array):
            number = (1 if name in self._fields else 0) if segment is None else segment.number + 1
            leaf = self._name if name == "value" else f"{self._name}/{name}"
            segment = self._next_segment(leaf, number, array.dtype.str, array.shape[1:])
            if segment is None:
                return
            self._alone[name] = segment
        segment.values.extend(array)
        segment.stamps.extend(stamps)

    def _next_segment(
        self, name: str, number: int, descr: str, shape: tuple[int, ...], *, ragged: bool = False
    ) -> _Segment | None:
        if number > _MAX_SEGMENTS:
            self._owner.notes[name] = f"it changed more than {_MAX_SEGMENTS} times; what came later is left out"
            return None
        segment = _Segment(self._owner, number, descr, shape, ragged=ragged)
        self._segments.append((f"{name}#{number}" if number else name, segment))
        return segment

    def members(self) -> Iterator[Member]:
        for name, column in self._fields.items():
            yield column.member(f"{self._name}/{name}")
        if self._clock.count:
            yield self._clock.member(f"{self._name}/{CLOCK_KEY}")
        for name, segment in self._segments:
            yield segment.values.member(f"{name}/value")
            if segment.ends is not None:
                yield segment.ends.member(f"{name}/_offsets")
            yield segment.stamps.member(f"{name}/{CLOCK_KEY}")


class _Segment:
    """Rows with a clock of their own."""

    def __init__(self, owner: ArraysWriter, number: int, descr: str, shape: tuple[int, ...], *, ragged: bool) -> None:
        self.number = number
        self.values = owner.column(descr, shape)
        self.stamps = owner.column(_INT64)
        self.ends: _Column | None = None
        if ragged:
            self.ends = owner.column(_INT64)
            self.ends.extend(np.zeros(1, np.int64))


def _fits(column: _Column, array: NDArray[Any]) -> bool:
    return column.descr == array.dtype.str and column.shape == array.shape[1:]


def _checked_stamps(t_ns: ArrayLike) -> NDArray[np.int64]:
    stamps = np.asarray(t_ns)
    if stamps.ndim != 1 or (stamps.dtype.kind not in "iu" and len(stamps)):
        raise ValueError(f"stamps are int64 of one dimension, not {stamps.dtype} of {stamps.ndim}")
    return stamps.astype(np.int64)


def _checked(stream: str, field: str, value: ArrayLike, rows: int) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in _KINDS or array.dtype.itemsize == 0:
        raise ValueError(f"{stream}/{field}: an array of {array.dtype} cannot be kept without pickle")
    if array.ndim == 0 or len(array) != rows:
        raise ValueError(f"{stream}/{field}: {'no' if array.ndim == 0 else len(array)} rows and {rows} stamps")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _items(stream: str, row: ArrayLike | str | bytes) -> NDArray[Any]:
    if isinstance(row, str):
        row = row.encode("utf-8", "surrogatepass")
    if isinstance(row, bytes):
        return np.frombuffer(row, np.uint8)
    array = np.asarray(row)
    return _checked(stream, "value", array, len(array) if array.ndim else 0)
