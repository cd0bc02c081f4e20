"""Reading the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel
from sqlalchemy import select

from robotrace.serve.keyset import after_cursor, cursor_of
from robotrace.serve.models import AuditEntry
from robotrace.serve.schemas import Utc
from robotrace.serve.services import ApiCaller, get_services, require_key

__all__ = ["router"]

router = APIRouter(prefix="/api/audit", dependencies=[Depends(require_key)])


class AuditEntryView(BaseModel):
    """A change: ``who`` is the beginning of a key, "portal", "command line" or "device login"."""

    audit_id: str
    created_at: Utc
    who: str
    action: str
    target: str
    details: dict[str, Any]


class AuditPage(BaseModel):
    """A page of the log, newest first; ``next`` is the cursor of the page after it."""

    entries: list[AuditEntryView]
    next: str | None


@router.get("")
def read_audit(
    request: Request,
    caller: ApiCaller,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str = "",
) -> AuditPage:
    """A page of the changes in the project, newest first."""
    query = select(AuditEntry).where(AuditEntry.project_id == caller.project_id)
    if cursor:
        query = query.where(after_cursor(AuditEntry.created_at, AuditEntry.id, cursor))
    query = query.order_by(AuditEntry.created_at.desc(), AuditEntry.id.desc()).limit(limit + 1)
    with get_services(request).database.read() as session:
        rows = list(session.scalars(query))
    page = rows[:limit]
    return AuditPage(
        entries=[
            AuditEntryView(
                audit_id=entry.id,
                created_at=entry.created_at,
                who=entry.who,
                action=entry.action,
                target=entry.target,
                details=entry.details,
            )
            for entry in page
        ],
        next=cursor_of(page[-1].created_at, page[-1].id) if len(rows) > limit else None,
    )
