"""Streams of an episode: values copied as they come, in their own dtype and shape, and handed over in blocks.

``tobytes`` is the cheapest copy there is (30 to 50 ns for a small observation) and mends strides; it happens at once,
because envs reuse their buffers. A row that looks like the one before takes the short way, which looks at its dtype and
shape only; any other is walked leaf by leaf.

A leaf whose dtype or shape changes goes on as another segment, ``<leaf>#1/value`` and so on, with its own stamps; one
that changes the length of its first axis only is ragged from there on. A leaf that is missing in a row says from there
on in ``_rows`` which rows it is in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from robotrace.capture.spaces import LeafPlan, collect, plan_for
from robotrace.deliver.blocks import Column

__all__ = ["INT64", "Artifact", "Fixed", "Rows", "Stream", "Time"]

Artifact = Literal["sensors", "actions"]
Time = Literal["all", "before", "after", "none"]
Fates = Callable[[Mapping[str, tuple[Any, Sequence[int]]]], Mapping[str, str]]
Picture = Callable[[str, Any], None]

INT64 = 2**63 - 1
_KINDS = "biufc"
"""dtypes that are kept: bool, int, unsigned, float, complex."""
_FLOAT64 = "<f8"
_INT64 = "<i8"
_BYTES = "|u1"
_FLOATS = (float, np.float64)
_SCALARS = (bool, int, float, complex, np.generic)
_NO_PATH = (LookupError, TypeError, AttributeError, ValueError)
_MAX_SEGMENTS = 16
_MAX_NEW_LEAVES = 256
_MAX_PLANS = 8
"""So often the short way is planned anew in an episode: a stream that keeps changing stays on the long one."""


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

    def __init__(self, segment: _Segment, artifact: Artifact, time: Time) -> None:
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


class _Segment:
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
        return self.scalar is not None

    @property
    def pending(self) -> int:
        return len(self.lengths[0]) if self.lengths else len(self.rows)

    @property
    def plain(self) -> bool:
        """Whether its rows are of one size, and in every row of the stream."""
        return not self.lengths and self.places is None and self.descr is not None

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


def _row_bytes(segment: _Segment) -> int:
    if segment.descr is None:
        return 0
    if segment.plain:
        return np.dtype(segment.descr).itemsize * math.prod(segment.shape)
    return len(segment.rows[-1]) if segment.rows and isinstance(segment.rows[-1], bytes) else 16


def _item(leaf: _Leaf, value: Any) -> _Item | None:
    try:
        return _Item(leaf.plan, leaf.kind, value)
    except Exception:
        return None


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


class _Leaf:
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
        "total",
    )

    def __init__(self, plan: LeafPlan, as_float: bool) -> None:
        self.plan = plan
        self.kind: str = plan.kind
        self.as_float = as_float
        self.segment: _Segment | None = None
        self.segments = 0
        self.done: list[_Segment] = []
        self.total = 0
        """Rows in the segments before this one."""
        self.sparse = False
        self.broken: str | None = None
        self.notes: dict[str, str] = {}

    @property
    def rows(self) -> int:
        segment = self.segment
        return self.total if segment is None else self.total + segment.count + segment.pending

    def append(self, value: Any, row: int) -> None:
        """The leaf of one row, the long way; never raises for what a value may be."""
        if self.broken is not None:
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
        if segment.scalars and item.scalar is None:
            item.data = np.frombuffer(item.data, item.descr)[0]
        elif not segment.scalars and item.scalar is not None:
            item.data = np.array(item.data, dtype=segment.descr).tobytes()
        segment.rows.append(item.data)
        for level, lengths in zip(segment.lengths, item.lengths, strict=True):
            level.extend(lengths)
        if segment.places is not None:
            segment.places.append(row)

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

    def _same(self, segment: _Segment, item: _Item) -> bool:
        if len(segment.lengths) != len(item.lengths):
            return False
        if segment.descr is None or item.descr is None:
            return True
        if segment.descr == item.descr and segment.shape == item.shape:
            return True
        # An int among floats is a float where it can be one to the bit, or where it was to be one from the start.
        whole = item.scalar is int and segment.scalar in _FLOATS and segment.descr == _FLOAT64
        return whole and (self.as_float or abs(item.data) <= 2**53)

    def _next(self, before: _Segment | None, item: _Item, row: int) -> _Segment | None:
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
        made = self.segment = _Segment(base, self.total, len(item.lengths), self.sparse)
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
        absent = isinstance(exc, _NO_PATH) and not isinstance(exc, _Unrecordable)
        if self.segment is None and not self.total and not nothing and not absent:
            self.broken = f"not recorded: {exc}"
        else:
            why = "there is none" if nothing else str(exc) or type(exc).__name__
            self.notes.setdefault(f"{self.plan.name}/value", f"missing in row {row}, and maybe in later ones: {why}")


def _ignore(_: Any) -> None:
    """After the end."""


class _Unusual(Exception):
    """This row does not look like the one before."""


class Stream:
    """One named series: a single array, or a nest of dicts, tuples and other spaces with a leaf each.

    Args:
        name: ``observation``, ``action``, …
        artifact: The file it goes to.
        time: Which stamps of the clock belong to its rows (see ``deliver.columns``).
        space: Of the env, where there is one.
        as_float: Python numbers are kept as float64, whether an int comes or a float.
        optional: Its keys come and go (infos): no note is made of that, and how they make up a row is not kept.
        sparse: Its rows come and go: no note is made of that.
        fates: Says of the leaves, by dtype and shape, which are ``arrays``, ``video`` or ``drop``.
        picture: Takes the value of a ``video`` leaf, with its name.

    Attributes:
        append: Takes one row. Another function after a row that changes the plan: look it up for each row.
        count: How many rows there are.
        loose: Whether its rows differ in size.
    """

    append: Callable[[Any], None]

    def __init__(
        self,
        name: str,
        artifact: Artifact,
        time: Time,
        *,
        space: Any = None,
        as_float: bool = False,
        optional: bool = False,
        sparse: bool = False,
        fates: Fates | None = None,
        picture: Picture | None = None,
    ) -> None:
        self.name = name
        self.count = 0
        self.loose = False
        self.append = self._append_first
        self._artifact: Artifact = artifact
        self._time: Time = time
        self._space = space
        self._as_float = as_float
        self._optional = optional
        self._sparse = sparse or optional
        self._fates = fates
        self._picture = picture
        self._leaves: list[_Leaf] = []
        self._nests: dict[tuple[Any, ...], set[Any]] = {}
        self._pictures: list[LeafPlan] = []
        self._structure: list[Rows] = []
        self._new_leaves = 0
        self._plans = 0
        self._too_many: str | None = None

    @property
    def row_bytes(self) -> int:
        """Size of one row over all leaves, as the last one was."""
        return sum(_row_bytes(leaf.segment) for leaf in self._leaves if leaf.segment is not None)

    @property
    def flat(self) -> tuple[type, np.dtype[Any] | None, tuple[int, ...]] | None:
        """(type, dtype, shape) of a stream of one plain leaf, for callers who inline :attr:`append`; else None.

        Rows of that kind may be kept aside, as bytes (of arrays) or as they are (scalars), and handed to
        :meth:`adopt` before any other row.
        """
        if 0 < self._plans <= _MAX_PLANS and len(self._leaves) == 1:
            leaf = self._leaves[0]
            segment = leaf.segment
            if leaf.plan.path == () and not self._pictures and segment is not None and segment.plain:
                if segment.scalar is not None:
                    return segment.scalar, None, ()
                if segment.dtype is not None:
                    return np.ndarray, segment.dtype, segment.shape
        return None

    def adopt(self, rows: list[Any]) -> None:
        """Take rows of the kind that :attr:`flat` tells."""
        segment = self._leaves[0].segment
        if segment is not None:
            segment.rows += rows
            self.count += len(rows)

    def at(self, row: int, value: Any) -> None:
        """One row at a given place, which is not before the last: there was none in between."""
        if row != self.count:
            if self.append != self._append_first:
                self.append = self._append_slowly
            self.count = row
        self.append(value)

    def close(self) -> None:
        """No more rows: lets go of itself, so that it needs no garbage collector."""
        self.append = _ignore

    def faults(self) -> dict[str, str]:
        """Leaves that are missing or end early, and why."""
        found: dict[str, str] = {}
        for leaf in self._leaves:
            value = f"{leaf.plan.name}/value"
            if leaf.broken is not None:
                found[value] = leaf.broken
            elif value in leaf.notes and not self._optional:
                found[value] = leaf.notes[value]
        if self._too_many is not None:
            found[f"{self.name}/*"] = self._too_many
        return found

    def segments(self) -> dict[str, str]:
        """What changed in the middle, by segment."""
        notes = {key: note for leaf in self._leaves for key, note in leaf.notes.items() if not key.endswith("/value")}
        return {key: note for key, note in notes.items() if not (self._sparse and key.endswith("/_rows"))}

    def take(self) -> list[Rows]:
        """Everything since the last call."""
        taken, self._structure = self._structure, []
        for leaf in self._leaves:
            taken += leaf.take(self._artifact, self._time)
        return taken

    def _append_first(self, value: Any) -> None:
        plan = plan_for(self.name, value, self._space)
        self._leaves = [_Leaf(leaf, self._as_float) for leaf in plan.leaves]
        self._nests = plan.nests
        if not self._optional and plan.structure != {"leaf": self.name}:
            text = np.array([json.dumps(plan.structure, default=str)])
            described = text.astype(text.dtype.newbyteorder("<")).tobytes()
            key = f"{self.name}/_structure"
            self._structure = [
                Fixed(key, self._artifact, "none", f"<U{text.itemsize // 4}", (), [described], scalars=False)
            ]
        self.append = self._append_slowly
        if self._fates is not None:
            self._decide(value)
        self._append_slowly(value)

    def _decide(self, value: Any) -> None:
        """Which of the leaves become video, or are left out."""
        shapes: dict[str, tuple[Any, Sequence[int]]] = {}
        for leaf in self._leaves:
            if leaf.kind == "array" and leaf.plan.keys is not None:
                item = _item(leaf, value)
                if item is not None and item.descr is not None:
                    shapes[leaf.plan.name] = (item.descr, item.shape)
        fates = self._fates(shapes) if self._fates is not None else {}
        kept = []
        for leaf in self._leaves:
            fate = fates.get(leaf.plan.name, "arrays")
            if fate == "video":
                self._pictures.append(leaf.plan)
            elif fate == "arrays":
                kept.append(leaf)
        self._leaves = kept

    def _append_slowly(self, value: Any) -> None:
        """Leaf by leaf; then try to go the short way again."""
        row = self.count
        for leaf in self._leaves:
            leaf.rewind(row)
        self._find_new(value)
        for leaf in self._leaves:
            leaf.append(value, row)
        self._show(value)
        self.count = row + 1
        self.loose = any(leaf.segment is not None and not leaf.segment.plain for leaf in self._leaves)
        self._plans += 1
        self.append = self._short_way() if self._plans <= _MAX_PLANS else self._append_slowly

    def _show(self, value: Any) -> None:
        for plan in self._pictures:
            if self._picture is not None:
                try:
                    ((picture,)) = collect(value, plan.path)[1]
                except _NO_PATH:
                    continue
                self._picture(plan.name, picture)

    def _find_new(self, value: Any) -> None:
        """Keys that were not there before get leaves of their own, without a place in the structure."""
        for path, known in list(self._nests.items()):
            part = value
            try:
                for key in path:
                    part = part[key]
                keys = part if isinstance(part, Mapping) else range(len(part))
                new = [key for key in keys if key not in known]
            except _NO_PATH:
                continue
            for key in new:
                if self._new_leaves >= _MAX_NEW_LEAVES:
                    self._too_many = f"more than {_MAX_NEW_LEAVES} new keys, the last one {key!r} in row {self.count}"
                    return
                known.add(key)
                name = ".".join([self.name, *map(str, path), str(key)])
                steps = (*(("key", step) for step in path), ("key", key))
                plan = plan_for(name, part[key], None, steps)
                self._nests.update(plan.nests)
                taken = {leaf.plan.name for leaf in self._leaves}
                for leaf in plan.leaves:
                    if leaf.name not in taken:
                        self._leaves.append(_Leaf(leaf, self._as_float))
                        self._new_leaves += 1

    def _short_way(self) -> Callable[[Any], None]:
        """A function for rows that look like the last one."""
        row = self.count
        groups: dict[tuple[Any, ...], tuple[list[Any], list[Any]]] = {path: ([], []) for path in self._nests}
        others = []
        for leaf in self._leaves:
            segment, keys = leaf.segment, leaf.plan.keys
            plain = segment is not None and segment.plain and leaf.rows == row and leaf.broken is None
            if leaf.broken is not None:
                continue
            if segment is None or not plain or keys is None or not (segment.scalar or segment.dtype):
                others.append(leaf)
            elif keys == ():
                return self._append_scalar if segment.scalar else self._short_array(segment)
            else:
                arrays, scalars = groups.setdefault(keys[:-1], ([], []))
                if segment.scalar is not None:
                    scalars.append((keys[-1], segment.scalar, segment.rows.append))
                else:
                    arrays.append((keys[-1], segment.dtype, segment.shape, segment.rows.append))
        return self._short_nest(groups, others)

    def _short_array(self, segment: _Segment) -> Callable[[Any], None]:
        dtype, shape, keep, array = segment.dtype, segment.shape, segment.rows.append, np.ndarray

        def append(value: Any) -> None:
            if type(value) is array and value.dtype is dtype and value.shape == shape:
                keep(value.tobytes())
                self.count += 1
            else:
                self._append_slowly(value)

        return append

    def _append_scalar(self, value: Any) -> None:
        segment = self._leaves[0].segment
        if segment is not None and type(value) is segment.scalar and (type(value) is not int or abs(value) <= INT64):
            segment.rows.append(value)
            self.count += 1
        else:
            self._append_slowly(value)

    def _short_nest(
        self, groups: Mapping[tuple[Any, ...], tuple[list[Any], list[Any]]], others: Sequence[_Leaf]
    ) -> Callable[[Any], None]:
        plan = [
            (path, len(self._nests[path]) if path in self._nests else None, *parts) for path, parts in groups.items()
        ]
        array, pictures = np.ndarray, bool(self._pictures)

        def append(value: Any) -> None:
            try:
                for path, size, arrays, scalars in plan:
                    part = value
                    for key in path:
                        part = part[key]
                    if size is not None and len(part) != size:
                        raise _Unusual
                    for key, dtype, shape, keep in arrays:
                        leaf = part[key]
                        if type(leaf) is not array or leaf.dtype is not dtype or leaf.shape != shape:
                            raise _Unusual
                        keep(leaf.tobytes())
                    for key, kind, keep in scalars:
                        leaf = part[key]
                        if type(leaf) is not kind or (kind is int and abs(leaf) > INT64):
                            raise _Unusual
                        keep(leaf)
            except Exception:
                # Whatever it is: the long way finds out, leaf by leaf, and takes back what is there of this row.
                self._append_slowly(value)
                return
            if others:
                row = self.count
                for other in others:
                    other.append(value, row)
            if pictures:
                self._show(value)
            self.count += 1

        return append
