"""Work that nobody waits for, done one piece after another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

__all__ = ["Later"]

_logger = logging.getLogger(__name__)

_MOST_WAITING = 10_000
_STOP_TIMEOUT_S = 5.0


class Later:
    """A queue with one thread, which is there while there is something to do.

    Not a background task of the answer: that holds the client's connection, and one of the threads that answer, until
    it is done.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, Callable[[], object]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, key: str, work: Callable[[], object]) -> None:
        """Do something soon; what waits under the same key already is not done twice. What it raises is logged.

        Beyond 10,000 that wait it is forgotten.
        """
        with self._changed:
            if self._closed or len(self._waiting) >= _MOST_WAITING:
                return
            self._waiting.setdefault(key, work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="robotrace-later", daemon=True)
                self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait until there is nothing to do; returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout_s)

    def close(self) -> None:
        """Forget what waits, and wait up to 5 s for what is being done."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
        self.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                key = next(iter(self._waiting))
                work = self._waiting.pop(key)
            try:
                work()
            except Exception:
                _logger.exception("%s failed", key)
