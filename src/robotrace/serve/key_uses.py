"""When each API key was used last: noted in memory, so that no request waits for a write."""

from __future__ import annotations

import threading
from datetime import datetime

from sqlalchemy import update

from robotrace.serve.database import Database
from robotrace.serve.models import ApiKey, utc_now

__all__ = ["KeyUses"]


class KeyUses:
    """The uses that are not in the database yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: dict[int, datetime] = {}

    def note(self, key_id: int) -> None:
        """It is used now."""
        with self._lock:
            self._uses[key_id] = utc_now()

    def write(self, database: Database) -> int:
        """Write them down; returns of how many keys."""
        with self._lock:
            uses, self._uses = self._uses, {}
        if uses:
            with database.write() as session:
                for key_id, used_at in uses.items():
                    session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=used_at))
        return len(uses)
