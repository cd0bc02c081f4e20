"""Streams of an episode: values copied as they come, in their own dtype and shape, and handed over in blocks.

``tobytes`` is the cheapest copy there is (30 to 50 ns for a small observation) and mends strides; it happens at once,
because envs reuse their buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robotrace.deliver.blocks import Column

__all__ = ["Rows", "Stream"]

Artifact = Literal["sensors", "actions"]
Time = Literal["all", "before", "after"]

_KINDS = "biufc"
"""dtypes that are kept: bool, int, unsigned, float, complex."""
_FLOAT64 = "<f8"
_SCALARS = (bool, int, float, complex, np.generic)


class Rows:
    """The rows of one leaf since the last block, still to be joined."""

    __slots__ = ("artifact", "descr", "key", "rows", "scalars", "shape", "time")

    def __init__(
        self,
        key: str,
        artifact: Artifact,
        time: Time,
        descr: str,
        shape: tuple[int, ...],
        rows: list[Any],
        scalars: bool,
    ) -> None:
        self.key = key
        self.artifact = artifact
        self.time = time
        self.descr = descr
        self.shape = shape
        self.rows = rows
        self.scalars = scalars

    def column(self) -> Column:
        """One join (or one conversion of immutable scalars)."""
        data = np.array(self.rows, dtype=self.descr).tobytes() if self.scalars else b"".join(self.rows)
        return Column(self.key, self.artifact, self.time, self.descr, self.shape, len(self.rows), data)


class _Leaf:
    """One array-valued leaf: the dtype and shape of its first value, and the bytes of all."""

    __slots__ = ("broken", "descr", "dtype", "key", "nbytes", "rows", "scalar_type", "scalars", "shape")

    def __init__(self, key: str, value: Any, as_float: bool) -> None:
        array = _as_array(value)
        dtype = np.dtype(np.float64) if as_float and type(value) in (int, float) else array.dtype
        if dtype.kind not in _KINDS:
            raise TypeError(f"dtype {dtype}")
        self.key = key
        # Little endian on disk: an array of the other order never takes the short way in append.
        self.descr = dtype.newbyteorder("<").str
        self.dtype = dtype if dtype.str == self.descr else None
        self.shape = array.shape
        self.nbytes = array.nbytes
        self.scalars = isinstance(value, _SCALARS)
        self.scalar_type: type | None = type(value) if self.scalars else None
        self.rows: list[Any] = []
        self.broken: str | None = None

    def append(self, value: Any) -> None:
        if self.scalars:
            # Python's and NumPy's scalars are immutable: the reference is the copy.
            if type(value) is self.scalar_type:
                self.rows.append(value)
                return
        elif type(value) is np.ndarray and value.dtype is self.dtype and value.shape == self.shape:
            self.rows.append(value.tobytes())
            return
        self._append_other(value)

    def take(self, artifact: Artifact, time: Time) -> Rows:
        rows, self.rows = self.rows, []
        return Rows(self.key, artifact, time, self.descr, self.shape, rows, self.scalars)

    def _append_other(self, value: Any) -> None:
        if self.broken is not None:
            return
        array = _as_array(value)
        number = self.scalars and self.descr == _FLOAT64 and type(value) in (int, float)
        if not number and (array.dtype.newbyteorder("<").str != self.descr or array.shape != self.shape):
            self.broken = f"changed from {self.descr} {self.shape} to {array.dtype.str} {array.shape} and ends there"
            # Later values of the old kind must not be appended either: they would be at the wrong place.
            self.dtype = self.scalar_type = None
        elif self.scalars:
            self.rows.append(array[()])
        else:
            self.rows.append(array.astype(self.descr, copy=False).tobytes())


class Stream:
    """One named series: a single array, or a nest of dicts and tuples with a leaf each.

    Leaves are named ``<name>/value``, nested ones ``<name>.<key>/value`` and ``<name>.<index>/value``.

    Args:
        name: ``observation``, ``action``, …
        artifact: The file it goes to.
        time: Which stamps of the clock belong to its rows (see ``deliver.sealing``).
        as_float: Python numbers are kept as float64, whether an int comes or a float.
    """

    def __init__(self, name: str, artifact: Artifact, time: Time, *, as_float: bool = False) -> None:
        self.name = name
        self.artifact = artifact
        self.time = time
        self.skipped: dict[str, str] = {}
        self.append: Callable[[Any], None] = self._append_first
        self._as_float = as_float
        self._leaves: list[tuple[_Leaf, tuple[Any, ...]]] = []

    @property
    def row_bytes(self) -> int:
        """Size of one row over all leaves."""
        return sum(leaf.nbytes for leaf, _ in self._leaves)

    def faults(self) -> dict[str, str]:
        """Leaves that are missing or end early, and why."""
        broken = {leaf.key: leaf.broken for leaf, _ in self._leaves if leaf.broken is not None}
        return {**self.skipped, **broken}

    def take(self) -> list[Rows]:
        """Everything since the last call."""
        return [leaf.take(self.artifact, self.time) for leaf, _ in self._leaves if leaf.rows]

    def _append_first(self, value: Any) -> None:
        for name, path, leaf_value in _walk(self.name, (), value):
            try:
                self._leaves.append((_Leaf(f"{name}/value", leaf_value, self._as_float), path))
            except (TypeError, ValueError) as exc:
                self.skipped[f"{name}/value"] = f"not recorded: {exc}"
        if len(self._leaves) == 1 and not self._leaves[0][1]:
            self.append = self._leaves[0][0].append
        else:
            self.append = self._append_nested
        self.append(value)

    def _append_nested(self, value: Any) -> None:
        for leaf, path in self._leaves:
            item = value
            for key in path:
                item = item[key]
            leaf.append(item)


def _walk(name: str, path: tuple[Any, ...], value: Any) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(f"{name}.{key}", (*path, key), item)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _walk(f"{name}.{index}", (*path, index), item)
    else:
        yield name, path, value


def _as_array(value: Any) -> NDArray[Any]:
    if hasattr(value, "detach"):  # torch, on whatever device
        value = value.detach().cpu()
    return np.asarray(value)
