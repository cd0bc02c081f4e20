"""Whether a process may begin another episode: looked up on the writer thread, asked on the training thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from robotrace.config import DeliveryLimits
from robotrace.deliver.quota import why_no_room
from robotrace.deliver.spool import Spool

__all__ = ["Room"]

_log = logging.getLogger("robotrace")

_LOOK_S = 2.0
_LOOK_SHARE = 20
"""A look at 20,000 episodes takes 0.3 s: the next one comes 20 times as long after it, 5 % of the writer thread."""
_LOOK_WHEN_FULL_S = 10.0
_FULL_DISK_S = 60.0


class Room:
    """The last look at the spool's limits.

    Args:
        spool: This host's.
        limits: The user's.
        clock: Monotonic seconds.
        why: As :func:`robotrace.deliver.quota.why_no_room`.

    Attributes:
        why: No new episode is begun, for this reason; None: there is room.
        refused: Episodes that were not begun for it.
    """

    def __init__(
        self,
        spool: Spool,
        limits: DeliveryLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        why: Callable[[Spool, DeliveryLimits], str | None] = why_no_room,
    ) -> None:
        self.why: str | None = None
        self.refused = 0
        self._spool = spool
        self._limits = limits
        self._clock = clock
        self._ask = why
        self._next_look = 0.0

    def is_due(self) -> bool:
        """Whether to have :meth:`look` called; says so once."""
        now = self._clock()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_S
        return True

    def look(self) -> bool:
        """Look at the spool and its disk; whether there is room again where there was none."""
        began = self._clock()
        try:
            why = self._ask(self._spool, self._limits)
        except OSError:  # the spool is gone: whoever writes into it finds out
            return False
        ended = self._clock()
        self._next_look = ended + max(_LOOK_S, _LOOK_SHARE * (ended - began))
        before, self.why = self.why, why
        if why is not None:
            self._next_look = self._clock() + _LOOK_WHEN_FULL_S
            if before is None:
                _log.warning(
                    "no new episode is recorded: %s. What is recorded stays, and recording goes on when there is room",
                    why,
                )
        elif before is not None:
            _log.warning("recording goes on: there is room again")
        return before is not None and why is None

    def disk_is_full(self) -> None:
        """Something could not be written: begin nothing for a minute, and give the ballast back."""
        self._next_look = self._clock() + _FULL_DISK_S
        if self._spool.free_ballast() or self.why is None:
            _log.warning(
                "the disk of %s is full: no new episode is recorded for a minute; uploads go on", self._spool.root
            )
        self.why = "the disk is full"
