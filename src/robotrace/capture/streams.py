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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from robotrace.capture.leaves import INT64, NO_PATH, Artifact, Fixed, Leaf, Rows, Segment, Time
from robotrace.capture.spaces import LeafPlan, collect, plan_for

__all__ = ["Artifact", "Rows", "Stream", "Time"]

Fates = Callable[[Mapping[str, tuple[Any, Sequence[int]]]], Mapping[str, str]]
Picture = Callable[[str, Any], None]

_MAX_NEW_LEAVES = 256
_MAX_PLANS = 8
"""So often the short way is planned anew in an episode: a stream that keeps changing stays on the long one."""


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
        self._leaves: list[Leaf] = []
        self._loose: list[Leaf] = []
        self._plain_bytes = 0
        self._nests: dict[tuple[Any, ...], set[Any]] = {}
        self._pictures: list[LeafPlan] = []
        self._structure: list[Rows] = []
        self._new_leaves = 0
        self._plans = 0
        self._too_many: str | None = None

    @property
    def row_bytes(self) -> int:
        """Size of one row over all leaves, as the last one was."""
        return self._plain_bytes + sum(leaf.segment.row_bytes for leaf in self._loose if leaf.segment is not None)

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
        self._leaves = [Leaf(leaf, self._as_float) for leaf in plan.leaves]
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
        looks = {leaf.plan.name: leaf.look(value) for leaf in self._leaves}
        shapes = {name: look for name, look in looks.items() if look is not None}
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
        segments = [(leaf, leaf.segment) for leaf in self._leaves if leaf.segment is not None]
        self._loose = [leaf for leaf, segment in segments if not segment.plain]
        self._plain_bytes = sum(segment.row_bytes for _, segment in segments if segment.plain)
        self.loose = bool(self._loose)
        self._plans += 1
        self.append = self._short_way() if self._plans <= _MAX_PLANS else self._append_slowly

    def _show(self, value: Any) -> None:
        for plan in self._pictures:
            if self._picture is not None:
                try:
                    ((picture,)) = collect(value, plan.path)[1]
                except NO_PATH:
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
            except NO_PATH:
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
                        self._leaves.append(Leaf(leaf, self._as_float))
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

    def _short_array(self, segment: Segment) -> Callable[[Any], None]:
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
        self, groups: Mapping[tuple[Any, ...], tuple[list[Any], list[Any]]], others: Sequence[Leaf]
    ) -> Callable[[Any], None]:
        plan = [
            (path, len(self._nests[path]) if path in self._nests else None, *parts) for path, parts in groups.items()
        ]
        array, pictures = np.ndarray, bool(self._pictures)
        if len(plan) == 1 and plan[0][0] == () and not plan[0][3] and not others and not pictures:
            return self._short_dict(plan[0][1], plan[0][2])

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

    def _short_dict(self, size: int | None, arrays: Sequence[Any]) -> Callable[[Any], None]:
        """Of a dict (or tuple) of arrays alone."""
        array = np.ndarray

        def append(value: Any) -> None:
            try:
                if len(value) != size:
                    raise _Unusual
                for key, dtype, shape, keep in arrays:
                    leaf = value[key]
                    if type(leaf) is not array or leaf.dtype is not dtype or leaf.shape != shape:
                        raise _Unusual
                    keep(leaf.tobytes())
                self.count += 1
            except Exception:
                self._append_slowly(value)

        return append
