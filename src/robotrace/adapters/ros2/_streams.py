"""The messages of one topic as a stream: its leaves, its clock, and what is to be known of it."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.adapters._arrays import ArraysWriter
from robotrace.adapters.ros2._leaves import Leaf, NumberLeaf, leaf_members
from robotrace.adapters.ros2._stamps import on_clock
from robotrace.adapters.ros2._walk import Plan
from robotrace.deliver.columns import CLOCK_KEY
from robotrace.deliver.npz import Member

__all__ = ["Moment", "Stream", "layout_of"]

_INT64 = "<i8"
_NAMED = ("name", "names", "joint_names")
"""Fields that say whose the numbers beside them are."""


class Moment:
    """When a message was, in ns from the episode's start.

    Args:
        stamp_ns: Of its header, ns since 1970; None where it has none.
        receive_ns: Of its receipt, likewise.
        start_ns: The episode's start, likewise.

    Attributes:
        t_ns: By the clock of the episode.
        receive_ns: Of its receipt.
        stamp_ns: Of its header, None where it has none.
        by_stamp: Whether ``t_ns`` is that of the header.
    """

    __slots__ = ("by_stamp", "receive_ns", "stamp_ns", "t_ns")

    def __init__(self, stamp_ns: int | None, receive_ns: int, start_ns: int) -> None:
        self.by_stamp = on_clock(stamp_ns, receive_ns)
        self.receive_ns = receive_ns - start_ns
        self.stamp_ns = None if stamp_ns is None else stamp_ns - start_ns
        self.t_ns = self.stamp_ns if self.by_stamp and self.stamp_ns is not None else self.receive_ns


class Stream:
    """What becomes ``<name>/<field>`` for each field, with ``<name>/_t_ns`` beside them.

    Args:
        name: The topic, with ``#1`` and so on where its messages changed what they are of.
        columns: Where the rows wait.
        plan: Of its type.
        slot: Where it goes.
        taken: The names of all streams, further ones too as they come.
    """

    def __init__(self, name: str, columns: ArraysWriter, plan: Plan, slot: str, taken: Container[str]) -> None:
        self.name = name
        self._taken = taken
        self.slot = slot
        self.rows = 0
        self._columns = columns
        self._plan = plan
        self._array: NumberLeaf | None = None
        self._clock = columns.column(_INT64)
        self._received = columns.column(_INT64)
        self._stamps = columns.column(_INT64)
        self._by_stamp = 0
        self._off_clock = 0

    def add(self, message: Any, moment: Moment) -> None:
        """The next message."""
        self._plan.add(message)
        self._add_moment(moment)

    def add_array(self, array: NDArray[Any]) -> None:
        """The image of the next message, as values; all are of one shape and dtype."""
        if self._array is None:
            self._array = NumberLeaf("image", (), self._columns, array.dtype, array.shape)
        self._array.add(array[np.newaxis])

    def members(self) -> Iterator[Member]:
        """Its arrays."""
        for leaf in self._leaves:
            if not leaf.empty and leaf.constant is None:
                yield from leaf_members(self.name, self.rows, leaf, self._clock, self._taken)
        yield Member(f"{self.name}/{CLOCK_KEY}", _INT64, (self.rows,), self._clock.chunks())
        if self._by_stamp:
            yield Member(f"{self.name}/_receive/{CLOCK_KEY}", _INT64, (self.rows,), self._received.chunks())
        if self._off_clock:
            yield Member(f"{self.name}/_header/{CLOCK_KEY}", _INT64, (self.rows,), self._stamps.chunks())

    def facts(self) -> dict[str, Any]:
        """For the metadata: what never changed, what was never there, and by which clock its rows are."""
        facts: dict[str, Any] = {"slot": self.slot, "messages": self.rows, "clock": "receive"}
        if self._by_stamp:
            facts["clock"] = "header"
            if self._by_stamp < self.rows:
                facts["by_receipt"] = self.rows - self._by_stamp
        constant = {leaf.path: leaf.constant for leaf in self._leaves if not leaf.empty and leaf.constant is not None}
        names = next((constant.pop(name) for name in _NAMED if isinstance(constant.get(name), list)), None)
        if names is not None:
            facts["names"] = names
        if constant:
            facts["constant"] = constant
        empty = [leaf.path for leaf in self._leaves if leaf.empty]
        if empty:
            facts["empty"] = empty
        if self._plan.unkept:
            facts["unkept"] = dict(self._plan.unkept)
        return facts

    @property
    def _leaves(self) -> list[Leaf]:
        return self._plan.leaves if self._array is None else [self._array, *self._plan.leaves]

    def _add_moment(self, moment: Moment) -> None:
        self.rows += 1
        self._columns.last_ns = max(self._columns.last_ns, moment.t_ns)
        self._clock.extend(np.array([moment.t_ns], np.int64))
        self._received.extend(np.array([moment.receive_ns], np.int64))
        self._by_stamp += moment.by_stamp
        self._off_clock += moment.stamp_ns is not None and not moment.by_stamp
        # Without a stamp there is nothing to say; where others have one, the row's own time stands in.
        self._stamps.extend(np.array([moment.t_ns if moment.stamp_ns is None else moment.stamp_ns], np.int64))


def layout_of(message: Any) -> tuple[Any, ...]:
    """What the numbers of a message are of: its joint names, and of a JointState how many values each field has.

    Messages of another layout (a second publisher, a gripper beside the arm) are another stream, not rows of this one.
    """
    for name in _NAMED:
        names = getattr(message, name, None)
        if isinstance(names, list) and all(isinstance(each, str) for each in names):
            lengths = (
                len(value)
                for field in ("position", "velocity", "effort")
                if isinstance(value := getattr(message, field, None), np.ndarray)
            )
            return (*names, *lengths)
    return ()
