"""How fast files go out while a training runs: unlimited, an upload takes half of a pure-Python loop's speed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Pace"]

_BURST_S = 0.1
"""What may be sent at once after a pause, in seconds of the rate."""


class Pace:
    """Bytes a second, shared by all connections of an uploader.

    Args:
        bytes_per_s: None: as fast as it goes.
        clock: Monotonic seconds.
        wait: Waits so many seconds, or until the event is set.
    """

    def __init__(
        self,
        bytes_per_s: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self._rate = bytes_per_s
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._lifted = threading.Event()
        if bytes_per_s is None:
            self._lifted.set()

    def spend(self, nbytes: int) -> None:
        """Wait until so many bytes may have been sent."""
        if self._rate is None or self._lifted.is_set():
            return
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now - _BURST_S) + nbytes / self._rate
            wait_s = self._free_at - now
        if wait_s > 0:
            self._wait(self._lifted, wait_s)

    def lift(self) -> None:
        """As fast as it goes, from now on; who waits goes on at once."""
        self._lifted.set()

    def restore(self) -> None:
        """Back to the rate."""
        if self._rate is not None:
            self._lifted.clear()
