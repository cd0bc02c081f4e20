"""The leaves of a stream: one array each, whose rows are copied as they come, in their own dtype and shape.

A leaf whose dtype or shape changes goes on as another segment, ``<leaf>#1/value`` and so on, with its own stamps; one
that changes the length of its first axis only is ragged from there on. A leaf that is missing in a row says from there
on in ``_rows`` which rows it is in (the files: :mod:`robotrace.deliver.columns`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from robotrace.capture.spaces import LeafPlan, collect
from robotrace.deliver.blocks import Column

__all__ = ["INT64", "NO_PATH", "Artifact", "Fixed", "Leaf", "Rows", "Segment", "Time"]

Artifact = Literal["sensors", "actions"]
Time = Literal["all", "before", "after", "none"]

INT64 = 2**63 - 1
"""The largest int that an array holds."""
_KINDS = "biufc"
"""dtypes that are kept: bool, int, unsigned, float, complex."""
_FLOAT64 = "<f8"
_INT64 = "<i8"
_BYTES = "|u1"
_FLOATS = (float, np.float64)
_SCALARS = (bool, int, float, complex, np.generic)
NO_PATH = (LookupError, TypeError, AttributeError, ValueError)
"""What looking for a leaf in a value that has none may raise."""
_MAX_SEGMENTS = 16


class Rows(Protocol):
    """Rows that are not converted yet."""

    def columns(self) -> Iterable[Column]:
        """Convert them. On the writer thread, or on the training thread at the episode's end; maybe on both."""


class Fixed:
    """Rows of one dtype and shape: bytes to be joined, or scalars (immutable) to be converted."""

    __slots__ = ("artifact", "descr", "first", "key", "rows", "scalars", "shape", "time")

    def __init__(
        self,
        key: str,
        artifact: Artifact,
        time: Time,
        descr: str,
        shape: tuple[int, ...],
        rows: list[Any],
        *,
        scalars: bool,
        first: int = 0,
    ) -> None:
        self.key = key
        self.artifact: Artifact = artifact
        self.time: Time = time
        self.descr = descr
        self.shape = shape
        self.rows = rows
        self.scalars = scalars
        self.first = first

    def columns(self) -> list[Column]:
        """One join, or one conversion."""
        data = np.array(self.rows, dtype=self.descr).tobytes() if self.scalars else b"".join(self.rows)
        return [Column(self.key, self.artifact, self.time, self.descr, self.shape, len(self.rows), data, self.first)]


class _Ragged:
    """Rows with any number of items; also of a leaf that is not in every row."""

    __slots__ = ("artifact", "base", "descr", "first", "lengths", "places", "rows", "scalars", "shape", "time")

    def __init__(self, segment: Segment, artifact: Artifact, time: Time) -> None:
        self.base = segment.base
        self.artifact: Artifact = artifact
        self.time: Time = time
        self.descr = segment.descr
        self.shape = segment.shape
        self.first = segment.first
        self.scalars = segment.scalars
        self.rows = segment.rows[:]
        self.lengths = [level[:] for level in segment.lengths]
        self.places = None if segment.places is None else segment.places[:]

    def columns(self) -> list[Column]:
        base, made = self.base, []
        if self.descr is not None:
            data = np.array(self.rows, dtype=self.descr).tobytes() if self.scalars else b"".join(self.rows)
            size = np.dtype(self.descr).itemsize * math.prod(self.shape)
            count = sum(self.lengths[-1]) if self.lengths else len(self.rows)
            if self.lengths and size and len(data) != count * size:
                raise ValueError(f"{base}: {len(data)} bytes for {count} items")
            time: Time = "none" if self.lengths else self.time
            made.append(Column(f"{base}/value", self.artifact, time, self.descr, self.shape, count, data, self.first))
        for number, level in enumerate(self.lengths):
            key = f"{base}/_offsets" + (f"_{number}" if number else "")
            made.append(self._int64(key, level, "none" if number else self.time, 0 if number else self.first))
        if self.places is not None:
            made.append(self._int64(f"{base}/_rows", self.places, "none", 0))
        return made

    def _int64(self, key: str, values: list[int], time: Time, first: int) -> Column:
        data = np.array(values, dtype=_INT64).tobytes()
        return Column(key, self.artifact, time, _INT64, (), len(values), data, first)


class Segment:
    """The rows of one leaf while its dtype and shape stay the same."""

    __slots__ = ("base", "count", "descr", "dtype", "first", "lengths", "places", "rows", "scalar", "shape")

    def __init__(self, base: str, first: int, levels: int, sparse: bool) -> None:
        self.base = base
        self.first = first
        self.count = 0
        self.descr: str | None = None
        self.dtype: np.dtype[Any] | None = None
        self.shape: tuple[int, ...] = ()
        self.scalar: type | None = None
        self.rows: list[Any] = []
        self.lengths: list[list[int]] = [[] for _ in range(levels)]
        self.places: list[int] | None = [] if sparse else None

    @property
    def scalars(self) -> bool:
        """Whether its rows are kept as they are, not as bytes."""
        return self.scalar is not None

    @property
    def pending(self) -> int:
        """How many rows there are since the last :meth:`take`."""
        return len(self.lengths[0]) if self.lengths else len(self.rows)

    @property
    def plain(self) -> bool:
        """Whether its rows are of one size, and in every row of the stream."""
        return not self.lengths and self.places is None and self.descr is not None

    @property
    def row_bytes(self) -> int:
        """Size of a row; of ragged ones, of the last."""
        if self.descr is None:
            return 0
        if self.plain:
            return np.dtype(self.descr).itemsize * math.prod(self.shape)
        return len(self.rows[-1]) if self.rows and isinstance(self.rows[-1], bytes) else 16

    def describe(self) -> str:
        """For a note."""
        ragged = " ragged" * len(self.lengths)
        return f"{self.descr or 'empty'}{ragged} {self.shape}"

    def take(self, artifact: Artifact, time: Time) -> Rows | None:
        """What came since the last call; ``rows`` stays the same list, others hold its ``append``."""
        pending = self.pending
        if not pending:
            return None
        taken: Rows
        if self.plain and self.descr is not None:
            key = f"{self.base}/value"
            taken = Fixed(
                key, artifact, time, self.descr, self.shape, self.rows[:], scalars=self.scalars, first=self.first
            )
        else:
            taken = _Ragged(self, artifact, time)
        self.count += pending
        self.rows.clear()
        for level in self.lengths:
            level.clear()
        if self.places is not None:
            self.places.clear()
        return taken


class _Unrecordable(TypeError):
    """A value that no file of ours can hold."""


class _Nothing(_Unrecordable):
    """None: there is no value in this row."""


class _Item:
    """One row of a leaf, copied."""

    __slots__ = ("data", "descr", "dtype", "lengths", "masked", "scalar", "shape")

    def __init__(self, plan: LeafPlan, kind: str, value: Any) -> None:
        self.lengths, items = collect(value, plan.path)
        self.scalar: type | None = None
        self.masked = False
        self.descr: str | None = None
        self.dtype: np.dtype[Any] | None = None
        self.shape: tuple[int, ...] = ()
        self.data: Any = b""
        if kind == "text":
            self._texts(items)
        elif kind == "ragged" or self.lengths:
            self._arrays([self._array(item) for item in items], kind == "ragged")
        else:
            self._one(items[0])

    def _texts(self, items: list[Any]) -> None:
        if not all(isinstance(item, str) for item in items):
            raise _Unrecordable("a text is something else now")
        encoded = [item.encode("utf-8", "surrogatepass") for item in items]
        self.lengths.append([len(text) for text in encoded])
        self.descr, self.data = _BYTES, b"".join(encoded)

    def _one(self, item: Any) -> None:
        array = self._array(item)
        self.descr, self.shape = array.dtype.newbyteorder("<").str, array.shape
        # Little endian on disk: an array of the other order never takes the short way.
        self.dtype = array.dtype if array.dtype.str == self.descr else None
        if isinstance(item, _SCALARS):
            # Python's and NumPy's scalars are immutable: the reference is the copy.
            self.scalar, self.data = type(item), item
        else:
            self.data = array.astype(self.descr, copy=False).tobytes()

    def _arrays(self, arrays: list[NDArray[Any]], ragged: bool) -> None:
        if ragged:
            if any(array.ndim == 0 for array in arrays):
                raise _Unrecordable("a single value where rows of them were expected")
            self.lengths.append([len(array) for array in arrays])
        kinds = {
            (array.dtype.newbyteorder("<").str, array.shape[1:] if ragged else array.shape)
            for array in arrays
            if not ragged or len(array)
        }
        if len(kinds) > 1:
            raise _Unrecordable(f"items of several kinds in one row: {sorted(map(str, kinds))}")
        for descr, shape in kinds:
            self.descr, self.shape = descr, shape
            self.data = b"".join(array.astype(descr, copy=False).tobytes() for array in arrays)

    def _array(self, value: Any) -> NDArray[Any]:
        if value is None:
            raise _Nothing
        self.masked |= isinstance(value, np.ma.MaskedArray)
        if hasattr(value, "detach"):  # torch, on whatever device
            value = value.detach().cpu()
        elif not hasattr(value, "__array__") and hasattr(value, "__dlpack__"):
            value = np.from_dlpack(value)
        array = np.asarray(value)
        if array.dtype.kind not in _KINDS:
            raise _Unrecordable(f"dtype {array.dtype}")
        return array


class Leaf:
    """One leaf of a stream and its segments."""

    __slots__ = (
        "as_float",
        "broken",
        "done",
        "kind",
        "notes",
        "plan",
        "segment",
        "segments",
        "sparse",
        "text_keys",
        "total",
    )

    def __init__(self, plan: LeafPlan, as_float: bool) -> None:
        self.plan = plan
        self.kind: str = plan.kind
        self.as_float = as_float
        self.text_keys = plan.keys if plan.kind == "text" else None
        self.segment: Segment | None = None
        self.segments = 0
        self.done: list[Segment] = []
        self.total = 0
        """Rows in the segments before this one."""
        self.sparse = False
        self.broken: str | None = None
        self.notes: dict[str, str] = {}

    @property
    def rows(self) -> int:
        """How many there are."""
        segment = self.segment
        return self.total if segment is None else self.total + segment.count + segment.pending

    def append(self, value: Any, row: int) -> None:
        """The leaf of one row, the long way; never raises for what a value may be."""
        if self.broken is not None or (self.text_keys is not None and self._append_text(value, row)):
            return
        try:
            item = _Item(self.plan, self.kind, value)
        except Exception as exc:
            self._cannot(exc, row)
            return
        if item.masked:
            self.notes.setdefault(f"{self.plan.name}/value", "masked values are recorded without their mask")
        if not self.sparse and self.rows != row:
            self.sparse = True
            self.notes.setdefault(f"{self.plan.name}/_rows", f"not in every row, the first time in row {self.rows}")
            if self.segment is not None:
                taken = self.segment.first + self.segment.count
                self.segment.places = list(range(taken, taken + self.segment.pending))
        segment = self.segment
        if segment is None or not self._same(segment, item):
            segment = self._next(segment, item, row)
            if segment is None:
                return
        if segment.descr is None and item.descr is not None:
            segment.descr, segment.dtype, segment.shape, segment.scalar = (
                item.descr,
                item.dtype,
                item.shape,
                item.scalar,
            )
            if self.as_float and item.scalar in (int, float):
                segment.descr, segment.scalar = _FLOAT64, float
            elif item.scalar is int and item.descr != _INT64:
                segment.scalar = None  # uint64: as bytes, since a list of ints would take a negative one, too
        if segment.scalars and item.scalar is None:
            item.data = np.frombuffer(item.data, item.descr)[0]
        elif not segment.scalars and item.scalar is not None:
            item.data = np.array(item.data, dtype=segment.descr).tobytes()
        segment.rows.append(item.data)
        for level, lengths in zip(segment.lengths, item.lengths, strict=True):
            level.extend(lengths)
        if segment.places is not None:
            segment.places.append(row)

    def look(self, value: Any) -> tuple[str, tuple[int, ...]] | None:
        """Dtype and shape of the leaf in a value; None where it has none, or is no single array."""
        if self.kind != "array" or self.plan.keys is None:
            return None
        try:
            item = _Item(self.plan, self.kind, value)
        except Exception:
            return None
        return None if item.descr is None else (item.descr, item.shape)

    def rewind(self, row: int) -> None:
        """Forget what is there of the row: it is walked again, the long way."""
        if self.segment is not None and self.segment.plain and self.rows > row:
            self.segment.rows.pop()

    def take(self, artifact: Artifact, time: Time) -> list[Rows]:
        """Everything since the last call."""
        taken = [rows for segment in self.done if (rows := segment.take(artifact, time)) is not None]
        self.done.clear()
        if self.segment is not None and (rows := self.segment.take(artifact, time)) is not None:
            taken.append(rows)
        return taken

    def _append_text(self, value: Any, row: int) -> bool:
        """The short way of a single text, which is the usual mission or caption; False where it is not."""
        segment = self.segment
        if segment is None or self.sparse or segment.first + segment.count + len(segment.rows) != row:
            return False
        try:
            for key in self.text_keys or ():
                value = value[key]
        except NO_PATH:
            return False
        if type(value) is not str:
            return False
        data = value.encode("utf-8", "surrogatepass")
        segment.rows.append(data)
        segment.lengths[0].append(len(data))
        return True

    def _same(self, segment: Segment, item: _Item) -> bool:
        if len(segment.lengths) != len(item.lengths):
            return False
        if segment.descr is None or item.descr is None:
            return True
        if segment.descr == item.descr and segment.shape == item.shape:
            return True
        # An int among floats is a float where it can be one to the bit, or where it was to be one from the start.
        whole = item.scalar is int and segment.scalar in _FLOATS and segment.descr == _FLOAT64
        return whole and (self.as_float or abs(item.data) <= 2**53)

    def _next(self, before: Segment | None, item: _Item, row: int) -> Segment | None:
        """Another segment for this item."""
        if before is not None and self.kind == "array" and not item.lengths and len(item.shape) > 0:
            grown = item.shape[1:] == before.shape[1:] and len(before.shape) == len(item.shape)
            if grown and item.descr == before.descr:
                self.kind = "ragged"
                item.lengths.append([item.shape[0]])
                item.shape, item.dtype = item.shape[1:], None
        if self.segments >= _MAX_SEGMENTS:
            self.broken = f"changed its dtype or shape {self.segments} times and ends in row {row}"
            self._close()
            return None
        self._close()
        base = f"{self.plan.name}#{self.segments}" if self.segments else self.plan.name
        made = self.segment = Segment(base, self.total, len(item.lengths), self.sparse)
        self.segments += 1
        if before is not None:
            kind = f"{item.descr or 'empty'}{' ragged' * len(item.lengths)} {item.shape}"
            self.notes[base] = f"from row {row}: {kind} after {before.describe()}"
        return made

    def _close(self) -> None:
        if self.segment is not None:
            self.total = self.rows
            self.done.append(self.segment)
            self.segment = None

    def _cannot(self, exc: Exception, row: int) -> None:
        nothing = isinstance(exc, _Nothing)
        absent = isinstance(exc, NO_PATH) and not isinstance(exc, _Unrecordable)
        if self.segment is None and not self.total and not nothing and not absent:
            self.broken = f"not recorded: {exc}"
        else:
            why = "there is none" if nothing else str(exc) or type(exc).__name__
            self.notes.setdefault(f"{self.plan.name}/value", f"missing in row {row}, and maybe in later ones: {why}")
