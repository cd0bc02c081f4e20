"""The audit log: who changed what, and when; kept for a while, never with a secret in it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import delete
from sqlalchemy.orm import Session

from robotrace.serve.database import Database
from robotrace.serve.models import AuditEntry, utc_now

__all__ = ["Actor", "HasActor", "audit", "trim_audit"]

_MAX_TEXT = 200


class HasActor(Protocol):
    """Who does something: a caller of the API, a viewer of the pages, or an :class:`Actor`."""

    @property
    def project_id(self) -> int:
        """The project it is done in."""
        ...

    @property
    def who(self) -> str:
        """As the log names them."""
        ...


@dataclass(frozen=True)
class Actor:
    """Somebody who is neither a caller nor a viewer."""

    project_id: int
    who: str


def audit(session: Session, actor: HasActor, action: str, target: str, **details: Any) -> None:
    """Note a change, within the transaction that makes it.

    Args:
        session: Of that transaction.
        actor: Who makes it, and in which project.
        action: What is done, ``<thing>.<done>``: "key.created".
        target: To which thing.
        details: More of it, as JSON; no secrets.
    """
    session.add(
        AuditEntry(
            id=str(uuid.uuid4()),
            project_id=actor.project_id,
            who=actor.who[:_MAX_TEXT],
            action=action,
            target=target[:_MAX_TEXT],
            details={name: value for name, value in details.items() if value is not None},
            created_at=utc_now(),
        )
    )


def trim_audit(database: Database, before: datetime) -> int:
    """Forget what is older; returns how many entries that were."""
    with database.write() as session:
        return len(
            session.scalars(delete(AuditEntry).where(AuditEntry.created_at < before).returning(AuditEntry.id)).all()
        )
