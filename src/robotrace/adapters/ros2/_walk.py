"""Messages into leaves: a plan a message type, made once from its definition."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from robotrace.adapters.ros2._leaves import Columns, Leaf, Level, NumberLeaf, TextLeaf

__all__ = ["Plan"]

_VECTORS = {
    "geometry_msgs/msg/Point": "xyz",
    "geometry_msgs/msg/Point32": "xyz",
    "geometry_msgs/msg/Quaternion": "xyzw",
    "geometry_msgs/msg/Vector3": "xyz",
}
"""Whose fields are one value: ``orientation`` is (N, 4), not four columns."""
_TIMES = dict.fromkeys(("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration"), ("sec", "nanosec"))
_BYTES = {"byte": "uint8", "char": "uint8"}

Step = Callable[[Sequence[Any]], None]
"""Takes messages of one type, and appends what they hold."""


class Plan:
    """The leaves of a message type.

    Args:
        store: Knows the type (a ``Typestore`` of rosbags).
        msgtype: ``package/msg/Name``.
        columns: Where the rows wait.
        without: Top-level fields to leave out.

    Attributes:
        leaves: In the order of the definition.
        unkept: Fields that no array can hold, by path, and why.
    """

    def __init__(self, store: Any, msgtype: str, columns: Columns, *, without: Sequence[str] = ()) -> None:
        self.leaves: list[Leaf] = []
        self.unkept: dict[str, str] = {}
        self._store = store
        self._columns = columns
        self._steps: list[Step] = [
            step
            for name, described in store.get_msgdef(msgtype).fields
            if name not in without
            for step in self._field(name, described, "", (), stamped=True)
        ]

    def add(self, message: Any) -> None:
        """The next message."""
        row = (message,)
        for step in self._steps:
            step(row)

    def _field(
        self, name: str, described: Any, prefix: str, levels: tuple[Level, ...], *, stamped: bool = False
    ) -> list[Step]:
        from rosbags.interfaces import Nodetype

        kind, content = described
        path = f"{prefix}{name.rstrip('_')}"  # rosbags appends it to Python's keywords
        get = operator.attrgetter(name)
        if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            return self._sequence(path, content[0], get, levels)
        if kind == Nodetype.BASE:
            return self._base(path, content[0], get, levels)
        if self._has(content, _VECTORS):
            return [self._vector(path, content, get, levels)]
        if self._has(content, _TIMES):
            return [self._time(path, get, levels)]
        # The stamp of a message is on its clock; it is no value.
        header = stamped and name == "header" and content == "std_msgs/msg/Header"
        return self._message(path, content, get, levels, without=("stamp",) if header else ())

    def _message(
        self,
        path: str,
        msgtype: str,
        get: Callable[[Any], Any],
        levels: tuple[Level, ...],
        *,
        without: Sequence[str] = (),
    ) -> list[Step]:
        steps = [
            step
            for name, described in self._store.get_msgdef(msgtype).fields
            if name not in without
            for step in self._field(name, described, f"{path}.", levels)
        ]

        def walk(messages: Sequence[Any]) -> None:
            inner = [get(message) for message in messages]
            for step in steps:
                step(inner)

        return [walk] if steps else []

    def _base(self, path: str, base: str, get: Callable[[Any], Any], levels: tuple[Level, ...]) -> list[Step]:
        if base in ("string", "wstring"):
            text = TextLeaf(path, levels, self._columns)
            self.leaves.append(text)
            return [lambda messages: text.add([get(message) for message in messages])]
        dtype = self._dtype(path, base)
        if dtype is None:
            return []
        leaf = self._number(path, levels, dtype)
        # An octet comes as an int8: 255 as -1, which NumPy 2 does not take for an uint8.
        read = np.dtype(np.int8) if base == "byte" else dtype
        return [lambda messages: leaf.add(np.array([get(message) for message in messages], read).view(dtype))]

    def _vector(self, path: str, msgtype: str, get: Callable[[Any], Any], levels: tuple[Level, ...]) -> Step:
        names = _VECTORS[msgtype]
        base = dict(self._store.get_msgdef(msgtype).fields)[names[0]][1][0]
        leaf = self._number(path, levels, np.dtype(base), (len(names),))
        parts = operator.attrgetter(*names)

        def take(messages: Sequence[Any]) -> None:
            rows = [parts(get(message)) for message in messages]
            leaf.add(np.array(rows, leaf.dtype).reshape(len(rows), len(names)))

        return take

    def _time(self, path: str, get: Callable[[Any], Any], levels: tuple[Level, ...]) -> Step:
        leaf = self._number(path, levels, np.dtype(np.int64))

        def take(messages: Sequence[Any]) -> None:
            times = [get(message) for message in messages]
            leaf.add(np.array([time.sec * 1_000_000_000 + time.nanosec for time in times], np.int64))

        return take

    def _sequence(self, path: str, item: Any, get: Callable[[Any], Any], levels: tuple[Level, ...]) -> list[Step]:
        from rosbags.interfaces import Nodetype

        level = Level(self._columns)
        inner = (*levels, level)
        kind, content = item
        if kind == Nodetype.BASE and content[0] not in ("string", "wstring"):
            dtype = self._dtype(path, content[0])
            if dtype is None:
                return []
            leaf = self._number(path, inner, dtype)

            def take(messages: Sequence[Any]) -> None:
                rows = [np.asarray(get(message)).astype(dtype, copy=False) for message in messages]
                level.add([len(row) for row in rows])
                for row in rows:
                    leaf.add(row)

            return [take]
        steps = self._items(path, item, inner)

        def walk(messages: Sequence[Any]) -> None:
            rows = [get(message) for message in messages]
            level.add([len(row) for row in rows])
            flat = [one for row in rows for one in row]
            for step in steps:
                step(flat)

        return [walk] if steps else []

    def _items(self, path: str, item: Any, levels: tuple[Level, ...]) -> list[Step]:
        """What takes the items of a sequence, each as it is."""
        from rosbags.interfaces import Nodetype

        kind, content = item
        if kind == Nodetype.BASE:
            return self._base(path, content[0], _itself, levels)
        if self._has(content, _VECTORS):
            return [self._vector(path, content, _itself, levels)]
        if self._has(content, _TIMES):
            return [self._time(path, _itself, levels)]
        return self._message(path, content, _itself, levels)

    def _has(self, msgtype: str, kinds: Mapping[str, Sequence[str]]) -> bool:
        """Whether a type is one of these, and its definition in the bag says so too."""
        return msgtype in kinds and [name for name, _ in self._store.get_msgdef(msgtype).fields] == list(kinds[msgtype])

    def _number(
        self, path: str, levels: tuple[Level, ...], dtype: np.dtype[Any], shape: tuple[int, ...] = ()
    ) -> NumberLeaf:
        leaf = NumberLeaf(path, levels, self._columns, dtype, shape)
        self.leaves.append(leaf)
        return leaf

    def _dtype(self, path: str, base: str) -> np.dtype[Any] | None:
        if base == "float128":
            self.unkept[path] = "a float128 has another layout on each machine"
            return None
        return np.dtype(_BYTES.get(base, base))


def _itself(message: Any) -> Any:
    return message
