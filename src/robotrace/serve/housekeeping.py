"""What a deployment writes down beside its requests: when keys were last used; and what it forgets of the audit log."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta

from sqlalchemy import update

from robotrace.serve.audit import trim_audit
from robotrace.serve.database import Database
from robotrace.serve.models import ApiKey, utc_now

__all__ = ["Housekeeping", "KeyUses"]

_logger = logging.getLogger(__name__)

_EVERY_S = 60.0
_TRIM_EVERY = 60  # rounds: once an hour


class KeyUses:
    """When each key was used last, in memory: a request does not wait for the write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: dict[int, datetime] = {}

    def note(self, key_id: int) -> None:
        """It is used now."""
        with self._lock:
            self._uses[key_id] = utc_now()

    def take(self) -> dict[int, datetime]:
        """The uses since this was called last."""
        with self._lock:
            uses, self._uses = self._uses, {}
        return uses


class Housekeeping:
    """A thread that writes once a minute, in one transaction.

    Args:
        database: Is migrated.
        uses: Of the keys.
        audit_days: How long the audit log goes back.
    """

    def __init__(self, database: Database, uses: KeyUses, *, audit_days: int) -> None:
        self._database = database
        self._uses = uses
        self._audit_days = audit_days
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="robotrace-housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write what there is, and end: soon, see :meth:`join`."""
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread after :meth:`stop`; harmless before the start."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def round(self, *, trim: bool) -> None:
        """Write the uses, and forget what is old."""
        uses = self._uses.take()
        if not (uses or trim):
            return
        with self._database.write() as session:
            for key_id, used_at in uses.items():
                session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=used_at))
            if trim:
                trim_audit(session, utc_now() - timedelta(days=self._audit_days))

    def _work(self) -> None:
        number = 0
        while True:
            stopping = self._stopping.wait(_EVERY_S if number else 0.0)
            try:
                self.round(trim=number % _TRIM_EVERY == 0)
            except Exception:
                _logger.exception("the last uses of keys are not written, or the audit log is not trimmed")
            if stopping:
                return
            number += 1
