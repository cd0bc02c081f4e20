"""The steps of all environments of a vector, kept as they come: one assignment an array and step, however many.

A slab holds ``[time, environment, …]``. Row t has the observation after step t, and the action, reward and flags of
that step; an episode that begins in row t has its first observation there and its first action in row t + 1. The rows
of one environment are cut out when its episode ends, or when the slab is full or a second old, by the writer thread.
Slabs are not used again: a new one costs less than knowing when the writer is done with the old one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.capture.batches import MISSING, on_host
from robotrace.capture.images import images_plan
from robotrace.capture.options import Images
from robotrace.capture.recording import Recording
from robotrace.capture.spaces import Plan, plan_for
from robotrace.capture.streams import Artifact, Rows, Time
from robotrace.deliver.blocks import Column

__all__ = ["Piece", "Slabs", "fits_slabs"]

_SLAB_BYTES = 4 * 1024 * 1024
_MAX_ROWS, _MIN_ROWS = 4096, 8
_BLOCK_NS = 1_000_000_000
_KINDS = "biufc"
_MAX_SEGMENTS = 16

_NO_ROWS: NDArray[Any] = np.empty((0, 0))


class _Cut:
    """Rows ``start`` to ``stop`` of one environment, cut when they are written."""

    __slots__ = ("array", "artifact", "first", "index", "key", "start", "stop", "time")

    def __init__(
        self,
        key: str,
        artifact: Artifact,
        at: Time,
        array: NDArray[Any],
        index: int,
        start: int,
        stop: int,
        first: int,
    ) -> None:
        self.key = key
        self.artifact: Artifact = artifact
        self.time: Time = at
        self.array = array
        self.index = index
        self.start = start
        self.stop = stop
        self.first = first

    def columns(self) -> list[Column]:
        """One copy."""
        rows = self.array[self.start : self.stop, self.index]
        descr = rows.dtype.newbyteorder("<").str
        data = rows.astype(descr, copy=False).tobytes()
        return [Column(self.key, self.artifact, self.time, descr, rows.shape[1:], len(rows), data, self.first)]


class _Ready:
    """A column that is made already."""

    __slots__ = ("column",)

    def __init__(self, column: Column) -> None:
        self.column = column

    def columns(self) -> list[Column]:
        """It."""
        return [self.column]


class _Leaf:
    """One array of the batches, and which of the slabs' generations of it there is."""

    __slots__ = ("array", "artifact", "dtype", "generation", "keys", "name", "shape", "time")

    def __init__(self, name: str, keys: tuple[Any, ...], artifact: Artifact, at: Time) -> None:
        self.array: NDArray[Any] = _NO_ROWS
        """(T, environments, …)"""
        self.name = name
        self.keys = keys
        self.artifact: Artifact = artifact
        self.time: Time = at
        self.dtype: np.dtype[Any] | None = None
        self.shape: tuple[int, ...] = ()
        self.generation = 0


class Piece:
    """One recorded episode among the slabs.

    Args:
        recording: Opened, without an observation.
        index: Its environment's place in the slabs.
    """

    __slots__ = ("changes", "count", "incomplete", "index", "observed", "recording", "segments", "stepped")

    def __init__(self, recording: Recording, index: int, row: int) -> None:
        self.recording = recording
        self.index = index
        self.observed = row
        """The slab's row of the first observation that is not handed over yet."""
        self.stepped = row + 1
        """The slab's row of the first step that is not handed over yet."""
        self.count = 0
        """Observations handed over."""
        self.segments: dict[str, tuple[int, int, int]] = {}
        """By leaf: its generation, the number of the segment, and the segment's first row."""
        self.incomplete: dict[str, str] = {}
        self.changes: dict[str, str] = {}


def fits_slabs(observation: Any, action_space: Any, space: Any, images: Images) -> bool:
    """Whether observations are arrays all over, none of them is for a video, and actions are arrays too.

    Args:
        observation: A row of them.
        action_space: Of a single environment.
        space: Of a single environment's observations.
        images: The option.
    """
    plan = plan_for("observation", observation, space)
    leaves: dict[str, tuple[Any, Sequence[int]]] = {}
    if not plan.leaves or any(leaf.kind != "array" or leaf.keys is None for leaf in plan.leaves):
        return False
    for leaf in plan.leaves:
        value = observation
        for key in leaf.keys or ():
            value = value[key]
        if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind not in _KINDS:
            return False
        leaves[leaf.name] = value.dtype.str, value.shape
    return all(fate == "arrays" for fate in images_plan(leaves, images).values()) and _stacks(action_space)


def _stacks(space: Any) -> bool:
    kind = type(space).__name__
    if kind == "Dict":
        return all(map(_stacks, space.spaces.values()))
    if kind == "Tuple":
        return all(map(_stacks, space.spaces))
    return kind in ("Box", "Discrete", "MultiBinary", "MultiDiscrete")


class Slabs:
    """The slabs of a vector environment, and the episodes recorded in them.

    Args:
        count: How many environments have a row.
        indices: Which of the vector's environments these are, None for all.
        observation: A row of the observations, as the environment gives it.
        observation_space: Of a single environment.
        action_space: Of a single environment.
    """

    def __init__(
        self,
        count: int,
        indices: Sequence[int] | None,
        observation: Any,
        observation_space: Any,
        action_space: Any,
    ) -> None:
        self.pieces: dict[int, Piece] = {}
        self.row = 0
        """The row that is written next."""
        self._count = count
        self._rows_of = None if indices is None else _as_slice(indices)
        self._structures: dict[str, tuple[Artifact, Any]] = {}
        self._observations = self._leaves("observation", "sensors", "all", observation, observation_space)
        self._action_space = action_space
        self._actions: list[_Leaf] | None = None
        self._beside: dict[str, list[_Leaf]] = {}
        self._outcomes = [_Leaf(name, (), "sensors", "after") for name in ("reward", "terminated", "truncated")]
        self._stamps: list[int] = []
        self._rows = _MIN_ROWS
        self._end_ns = 0
        self._observed = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was kept since :meth:`clear`, this row's observations included."""
        return not self.row and not self._observed

    def act(self, actions: Any) -> None:
        """The actions about to be taken; copied now."""
        if self._actions is None:
            first = on_host_row(actions, self._action_space)
            self._actions = self._leaves("action", "actions", "before", first, self._action_space)
        for leaf in self._actions:
            self._store(leaf, actions)

    def beside(self, batches: Mapping[str, Any]) -> None:
        """Further streams with a row for each action, by name; copied now, before :meth:`act`."""
        for name, batch in batches.items():
            if name not in self._beside:
                self._beside[name] = self._leaves(name, "sensors", "before", _first_row(batch), None)
            for leaf in self._beside[name]:
                self._store(leaf, batch)

    def observe(self, observations: Any, stamp: int) -> None:
        """The observations of this row, of a step or of a reset; a second time in the same row they change nothing."""
        if self._observed:
            return
        for leaf in self._observations:
            self._store(leaf, observations)
        self._stamps.append(stamp)
        self._observed = True

    def outcome(self, reward: Any, terminated: Any, truncated: Any) -> None:
        """Reward and flags of this row's step."""
        for leaf, values in zip(self._outcomes, (reward, terminated, truncated), strict=True):
            self._store(leaf, values)

    def next_row(self, stamp: int) -> None:
        """This row is complete, and what ended or began in it has been told."""
        self.row += 1
        self._observed = False
        if stamp >= self._end_ns or (self.row >= self._rows and not self._grow()):
            self._renew(stamp)

    def begin(self, recording: Recording, index: int) -> Piece:
        """An episode begins with this row's observation."""
        piece = self.pieces[index] = Piece(recording, index, self.row)
        return piece

    def skip(self, indices: Sequence[int]) -> None:
        """This row is no step of these environments: hand over what is before it, and go on after it."""
        for index in indices:
            piece = self.pieces.get(index)
            if piece is not None:
                self._hand_over(piece, self.row, self.row)
                piece.observed = piece.stepped = self.row + 1

    def end(self, index: int, *, last: Callable[[], Any] | None = None, before: bool = False) -> Piece | None:
        """An episode is over: what is left of it is handed over, and it is forgotten here.

        Args:
            index: Its environment.
            last: In place of this row's observation, which is the next episode's: a function that gives the last
                observation's row, or None where nobody knows it.
            before: This row is not its own: nobody stepped since the row before.
        """
        piece = self.pieces.pop(index, None)
        if piece is None:
            return None
        if before:
            self._hand_over(piece, self.row, self.row)
        elif last is None:
            self._hand_over(piece, self.row + 1, self.row + 1)
        else:
            self._hand_over(piece, self.row, self.row + 1, last=last)
        return piece

    def clear(self) -> None:
        """Nothing is recorded any more: let go of the slab."""
        self.pieces.clear()
        self._stamps = []
        self.row, self._observed = 0, False
        for leaf in self._all():
            leaf.dtype, leaf.array = None, _NO_ROWS

    def _leaves(self, name: str, artifact: Artifact, at: Time, value: Any, space: Any) -> list[_Leaf]:
        plan: Plan = plan_for(name, value, space)
        if plan.structure != {"leaf": name}:
            self._structures[name] = (artifact, plan.structure)
        return [_Leaf(leaf.name, leaf.keys or (), artifact, at) for leaf in plan.leaves]

    def _store(self, leaf: _Leaf, batch: Any) -> None:
        for key in leaf.keys:
            batch = batch[key]
        if type(batch) is not np.ndarray:
            batch = on_host(batch, self._rows_of)
        elif self._rows_of is not None:
            batch = batch[self._rows_of]
        if batch.dtype is not leaf.dtype or batch.shape != leaf.shape:
            self._change(leaf, batch)
        leaf.array[self.row] = batch

    def _change(self, leaf: _Leaf, values: NDArray[Any]) -> None:
        """Another dtype or shape than before; the first time, too."""
        # Asked for None first, which NumPy takes for float64.
        if leaf.dtype is not None and values.dtype == leaf.dtype and values.shape == leaf.shape:
            # Out of a pipe (SubprocVecEnv with one environment) each array brings a dtype object of its own.
            leaf.dtype = values.dtype
            return
        if values.shape[:1] != (self._count,) or values.dtype.kind not in _KINDS:
            raise ValueError(f"{leaf.name}: {values.dtype} {values.shape} is no batch of {self._count} environments")
        if len(leaf.array) and self.row:
            # Both kinds may be in this row: it goes into a slab of its own, with what is there of it already.
            self._renew(time.perf_counter_ns(), keep_row=True)
        leaf.generation += leaf.dtype is not None
        leaf.dtype, leaf.shape = values.dtype, values.shape
        if not any(len(other.array) for other in self._all()):
            self._end_ns = time.perf_counter_ns() + _BLOCK_NS
        leaf.array = np.empty((self._rows, *values.shape), values.dtype)

    def _all(self) -> list[_Leaf]:
        return [*self._observations, *self._stepped()]

    def _stepped(self) -> list[_Leaf]:
        """Those with a row for each step."""
        beside = [leaf for leaves in self._beside.values() for leaf in leaves]
        return [*(self._actions or ()), *beside, *self._outcomes]

    def _used(self) -> list[_Leaf]:
        return [leaf for leaf in self._all() if len(leaf.array)]

    def _grow(self) -> bool:
        """Make the first slab, made when nobody knew how large a row is, as long as the others: nothing is handed over.

        Returns:
            False where it is as long already.
        """
        used = self._used()
        rows = _rows_of_slab(used)
        if rows <= self._rows:
            return False
        for leaf in used:
            before = leaf.array
            leaf.array = np.empty((rows, *before.shape[1:]), before.dtype)
            leaf.array[: self.row] = before[: self.row]
        self._rows = rows
        return True

    def _renew(self, stamp: int, *, keep_row: bool = False) -> None:
        """Hand over all that is there, and begin another slab."""
        row = self.row
        for piece in self.pieces.values():
            self._hand_over(piece, row, row)
            piece.observed, piece.stepped = max(0, piece.observed - row), max(0, piece.stepped - row)
        used = self._used()
        self._rows = _rows_of_slab(used)
        for leaf in used:
            before = leaf.array
            leaf.array = np.empty((self._rows, *before.shape[1:]), before.dtype)
            if keep_row:
                leaf.array[0] = before[row]
        self._stamps = self._stamps[row:]
        self.row = 0
        self._end_ns = stamp + _BLOCK_NS

    def _hand_over(self, piece: Piece, observed: int, stepped: int, *, last: Callable[[], Any] | None = None) -> None:
        """Rows up to ``observed`` (of observations) and ``stepped`` (of steps)."""
        rows: list[Rows] = []
        if not piece.count:
            rows += [_Ready(_described(name, *what)) for name, what in self._structures.items()]
        count = max(0, observed - piece.observed)
        steps = max(0, stepped - piece.stepped)
        nbytes = 0
        for leaf in self._observations:
            nbytes += self._cut(piece, leaf, piece.observed, observed, piece.count, rows)
        done = piece.recording.steps
        for leaf in self._stepped():
            if steps:
                nbytes += self._cut(piece, leaf, piece.stepped, stepped, done, rows)
        stamps = self._stamps[piece.observed : observed]
        if last is not None:
            rows += self._last_rows(piece, last(), piece.count + count)
            stamps = [*stamps, self._stamps[self.row]]
        if not rows:
            return
        reward_sum = 0.0
        if steps:
            rewards = self._outcomes[0].array[piece.stepped : stepped, piece.index]
            # One after the other, as a single environment's are.
            reward_sum = float(np.add.accumulate(rewards, dtype=np.float64)[-1])
        piece.count += count
        piece.observed, piece.stepped = max(piece.observed, observed), max(piece.stepped, stepped)
        piece.recording.append_rows(rows, stamps, steps=steps, reward_sum=reward_sum, nbytes=nbytes)

    def _cut(self, piece: Piece, leaf: _Leaf, start: int, stop: int, done: int, rows: list[Rows]) -> int:
        if stop <= start:
            return 0
        base, first = self._segment(piece, leaf, done)
        if base is None:
            return 0
        array = leaf.array
        rows.append(_Cut(f"{base}/value", leaf.artifact, leaf.time, array, piece.index, start, stop, first))
        return (stop - start) * int(array[0, 0].nbytes)

    def _segment(self, piece: Piece, leaf: _Leaf, row: int) -> tuple[str | None, int]:
        known = piece.segments.get(leaf.name)
        if known is None or known[0] != leaf.generation:
            number = 0 if known is None else known[1] + 1
            known = piece.segments[leaf.name] = (leaf.generation, number, row)
            if number:
                piece.changes[f"{leaf.name}#{number}"] = f"from row {row}: {leaf.dtype} {leaf.shape[1:]}"
        _, number, first = known
        if number >= _MAX_SEGMENTS:
            piece.incomplete[f"{leaf.name}/value"] = (
                f"changed its dtype or shape {number} times and ends in row {first}"
            )
            return None, first
        return (f"{leaf.name}#{number}" if number else leaf.name), first

    def _last_rows(self, piece: Piece, last: Any, row: int) -> list[Rows]:
        rows: list[Rows] = []
        for leaf in self._observations:
            value = last
            try:
                for key in leaf.keys:
                    value = value[key]
                array = on_host(value, None)
            except (LookupError, TypeError):
                array = np.asarray(None)
            base, first = self._segment(piece, leaf, row)
            if array.shape != leaf.shape[1:] or array.dtype != leaf.dtype or last is MISSING:
                piece.incomplete[f"{leaf.name}/value"] = (
                    "the last observation is missing: the environment did not give it"
                )
            elif base is not None:
                descr = array.dtype.newbyteorder("<").str
                data = array.astype(descr, copy=False).tobytes()
                rows.append(
                    _Ready(Column(f"{base}/value", leaf.artifact, leaf.time, descr, array.shape, 1, data, first))
                )
        return rows


def _rows_of_slab(leaves: Sequence[_Leaf]) -> int:
    row_bytes = sum(int(leaf.array[0].nbytes) for leaf in leaves)
    return max(_MIN_ROWS, min(_MAX_ROWS, _SLAB_BYTES // max(1, row_bytes)))


def on_host_row(batch: Any, space: Any) -> Any:
    """One row of a batch, for its plan: which arrays there are in it."""
    if isinstance(batch, Mapping):
        return {key: on_host_row(value, space.spaces[key]) for key, value in batch.items()}
    if isinstance(batch, tuple) and type(space).__name__ == "Tuple":
        return tuple(map(on_host_row, batch, space.spaces))
    return on_host(batch, slice(0, 1))[0]


def _first_row(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return {key: _first_row(value) for key, value in batch.items()}
    return on_host(batch, slice(0, 1))[0]


def _as_slice(indices: Sequence[int]) -> slice | list[int]:
    """A slice where it can be one: it copies nothing."""
    listed = list(indices)
    whole = slice(listed[0], listed[0] + len(listed))
    return whole if listed == list(range(whole.start, whole.stop)) else listed


def _described(name: str, artifact: Artifact, structure: Any) -> Column:
    text = np.array([json.dumps(structure, default=str)])
    data = text.astype(text.dtype.newbyteorder("<")).tobytes()
    return Column(f"{name}/_structure", artifact, "none", f"<U{text.itemsize // 4}", (), 1, data)
