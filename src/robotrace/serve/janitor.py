"""What tidies a deployment up, on a thread of its own: what it does is in other modules, when it does it is here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from robotrace.serve.lifecycle import reap, sweep
from robotrace.serve.models import utc_now
from robotrace.serve.quotas import expire
from robotrace.serve.services import Services
from robotrace.serve.store import LocalStore

__all__ = ["Janitor"]

_logger = logging.getLogger(__name__)

_ROUND_S = 60.0
"""A round without work is four queries on indexes."""

_DEAD_AFTER_S = 24 * 3600.0
"""A connection that sends nothing is cut much sooner."""


class Janitor:
    """Gives up on episodes that nothing comes for, deletes what is too old, and the objects of what was deleted.

    Several deployments on one database may each have one: every step can be repeated, and by two at once.

    Args:
        services: The deployment's parts.
        now: The time.
        round_s: Seconds from one round to the next.
    """

    def __init__(self, services: Services, *, now: Callable[[], datetime] = utc_now, round_s: float = _ROUND_S) -> None:
        self._services = services
        self._now = now
        self._round_s = round_s
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the first round is at once."""
        self._thread = threading.Thread(target=self._run, name="robotrace-janitor", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Begin a round now: something was deleted."""
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing more; returns at once."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread after :meth:`stop`."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def tidy(self) -> None:
        """One round; a step that fails is logged, and the others are done."""
        reap_after = self._services.settings.reap_after
        if reap_after is not None:
            self._step("give up on episodes", lambda: reap(self._services, self._now(), reap_after))
        self._step("delete what is too old", lambda: expire(self._services, self._now()))
        store = self._services.store
        if isinstance(store, LocalStore):
            self._step("delete unfinished uploads", lambda: store.discard_incoming(_DEAD_AFTER_S))
        self._step("delete objects", lambda: sweep(self._services, self._now()))

    def _step(self, name: str, work: Callable[[], int]) -> None:
        if self._stopping:
            return
        try:
            done = work()
        except Exception:
            _logger.exception("the janitor could not %s; it tries again", name)
        else:
            if done:
                _logger.info("janitor: %s: %d", name, done)

    def _run(self) -> None:
        while not self._stopping:
            self.tidy()
            self._wake.wait(self._round_s)
            self._wake.clear()
