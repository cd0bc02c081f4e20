"""What tidies a deployment up, on a thread of its own: what it does is in other modules, when it does it is here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from robotrace.serve.audit import trim_audit
from robotrace.serve.collector import collect_late
from robotrace.serve.lifecycle import reap, sweep
from robotrace.serve.models import utc_now
from robotrace.serve.quotas import expire
from robotrace.serve.services import Services
from robotrace.serve.store import LocalStore

__all__ = ["Janitor"]

_logger = logging.getLogger(__name__)

_ROUND_S = 60.0
"""A round without work is four queries on indexes."""

_TRIM_S = 3600.0
"""The audit log is long, and its oldest entries are of more than a year."""

_DEAD_AFTER_S = 24 * 3600.0
"""A connection that sends nothing is cut much sooner."""


class Janitor:
    """Writes down when keys were used, gives late files their slots, gives up on episodes that nothing comes for,
    deletes what is too old, and the objects of what was deleted.

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
        self._trimmed_at: datetime | None = None
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
        services, settings, now = self._services, self._services.settings, self._now()
        self._step("note the uses of keys", self._write_uses)
        if services.store.origin:
            self._step("collect late files", lambda: collect_late(services))
        reap_after = settings.reap_after
        if reap_after is not None:
            self._step("give up on episodes", lambda: reap(services, now, reap_after))
        self._step("delete what is too old", lambda: expire(services, now))
        store = services.store
        if isinstance(store, LocalStore):
            self._step("delete unfinished uploads", lambda: store.discard_incoming(_DEAD_AFTER_S))
        self._step("delete objects", lambda: sweep(services, now))
        if self._trimmed_at is None or now - self._trimmed_at >= timedelta(seconds=_TRIM_S):
            self._trimmed_at = now
            before = now - timedelta(days=settings.audit_days)
            self._step("shorten the audit log", lambda: trim_audit(services.database, before))

    def _write_uses(self) -> int:
        self._services.key_uses.write(self._services.database)
        return 0  # every round has some: nothing to log

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
        try:
            self._write_uses()
        except Exception:
            _logger.exception("the last uses of keys are not written")
