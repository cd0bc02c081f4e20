"""The stamps of an episode: kept as they come, turned into times when a block is written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robotrace.capture.clock import EnvClock
from robotrace.deliver.blocks import Column
from robotrace.deliver.columns import CLOCK_KEY

__all__ = ["Stamps"]

_INT64 = "<i8"
_WALL_CLOCK = "wall_clock/value"


class Stamps:
    """When each observation of an episode was seen: on the episode's clock, and on the wall clock.

    Args:
        clock: The env's.

    Attributes:
        start_ns: Time 0 on ``time.perf_counter_ns``.
    """

    def __init__(self, clock: EnvClock) -> None:
        self.start_ns = 0
        self.epoch_ns = 0
        """Time 0 since 1970."""
        self._clock = clock
        self._stamps: list[int] = []
        self._times: list[int] = []
        self._simulated: list[float] = []
        self._simulator_start = 0.0
        self._taken = 0
        self._latest = 0
        self._largest = 0

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def now_ns(self) -> int:
        """The time of the last observation, on the episode's clock."""
        if self._times:
            return self._times[-1]
        if self._simulated:
            return round((self._simulated[-1] - self._simulator_start) * 1e9)
        if not self._stamps:
            return self._latest
        if self._clock.step_ns is not None:
            return (self._taken + len(self._stamps) - 1) * self._clock.step_ns
        return self._stamps[-1] - self.start_ns

    @property
    def last_ns(self) -> int:
        """The largest time so far where the caller gave them, else that of the last observation."""
        return max(self._largest, self.now_ns)

    def start(self, stamp: int, epoch_ns: int, start_ns: int) -> None:
        """Time 0.

        Args:
            stamp: ``time.perf_counter_ns`` now.
            epoch_ns: ``time.time_ns`` now.
            start_ns: Time 0 on the clock of ``stamp``.
        """
        self.start_ns = start_ns
        self.epoch_ns = epoch_ns - stamp + start_ns
        if self._clock.now is not None:
            self._simulator_start = self._clock.now()

    def add(self, stamp: int, t_ns: int | None = None) -> None:
        """One observation, at a time of its own where one is given."""
        self._stamps.append(stamp)
        if t_ns is not None:
            self._times.append(t_ns)
            self._largest = max(self._largest, t_ns)
        elif self._clock.now is not None:
            self._simulated.append(self._clock.now())

    def extend(self, stamps: Sequence[int], simulated: Sequence[float] | None) -> None:
        """Several, with the simulator's own times where it has them."""
        self._stamps += stamps
        if simulated is not None:
            self._simulated += simulated

    def take(self) -> _Taken:
        """Everything since the last call, to be converted on the writer thread."""
        self._latest = self.now_ns
        taken = _Taken(self, self._stamps, self._times, self._simulated, self._taken)
        self._taken += len(self._stamps)
        self._stamps, self._times, self._simulated = [], [], []
        return taken


class _Taken:
    """The stamps of one block."""

    __slots__ = ("epoch_ns", "first", "simulated", "simulator_start", "stamps", "start_ns", "step_ns", "times")

    def __init__(self, of: Stamps, stamps: list[int], times: list[int], simulated: list[float], first: int) -> None:
        self.stamps = stamps
        self.times = times
        self.simulated = simulated
        self.first = first
        self.start_ns = of.start_ns
        self.epoch_ns = of.epoch_ns
        self.step_ns = of._clock.step_ns
        self.simulator_start = of._simulator_start

    def columns(self) -> list[Column]:
        """The clock, and the wall clock."""
        count = len(self.stamps)
        since = np.array(self.stamps, dtype=np.int64) - self.start_ns
        if self.times:
            times = np.array(self.times, dtype=np.int64)
        elif self.simulated:
            seconds = np.array(self.simulated, dtype=np.float64) - self.simulator_start
            times = np.rint(seconds * 1e9).astype(np.int64)
        elif self.step_ns is not None:
            times = np.arange(self.first, self.first + count, dtype=np.int64) * self.step_ns
        else:
            times = since
        return [
            Column(key, "sensors", "all", _INT64, (), count, values.astype(_INT64, copy=False).tobytes())
            for key, values in ((CLOCK_KEY, times), (_WALL_CLOCK, since + self.epoch_ns))
        ]
