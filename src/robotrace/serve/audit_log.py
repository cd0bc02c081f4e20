"""Reading the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from robotrace.serve.keyset import after_cursor, cursor_of
from robotrace.serve.models import AuditEntry
from robotrace.serve.schemas import Utc
from robotrace.serve.services import ApiCaller, get_services, require_key

__all__ = ["ACTIONS", "AuditEntryView", "AuditFilter", "AuditPage", "audit_filter", "list_audit", "router"]

ACTIONS = ("episode", "scenario", "finding", "render", "view", "key", "login", "portal", "project")
"""What the names of changes begin with."""

router = APIRouter(prefix="/api/audit", dependencies=[Depends(require_key)])


class AuditEntryView(BaseModel):
    """A change: ``who`` is the beginning of a key, "portal", "command line", "device login" or "retention"."""

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


@dataclass(frozen=True)
class AuditFilter:
    """Which entries: of whom, of changes whose name is or begins with ``action``, in ``[after, before)``."""

    who: str = ""
    action: str = ""
    after: datetime | None = None
    before: datetime | None = None


def audit_filter(
    who: Annotated[str, Query(description="The whole of it, or the beginning of a key.")] = "",
    action: Annotated[str, Query(description='A change, "key.created", or all of a kind, "key".')] = "",
    after: Annotated[str, Query(description="ISO 8601; a day is the beginning of it in UTC.")] = "",
    before: Annotated[str, Query(description="Likewise; a day is the end of it.")] = "",
) -> AuditFilter:
    """The filters of a query, as a dependency.

    Raises:
        HTTPException: 400 for a time that is none.
    """
    since, until = _moment("after", after), _moment("before", before)
    if until is not None and len(before.strip()) == len("2026-01-31"):
        try:
            until += timedelta(days=1)
        except OverflowError:
            until = None  # the last day there is: nothing is after it
    return AuditFilter(who.strip(), action.strip(), since, until)


def _moment(name: str, text: str) -> datetime | None:
    if not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise HTTPException(400, f"{name}: a day or a time as ISO 8601, such as 2026-01-31") from None


def list_audit(session: Session, project_id: int, filters: AuditFilter, *, limit: int, cursor: str) -> AuditPage:
    """A page of a project's changes, newest first.

    Args:
        session: One that reads.
        project_id: The project.
        filters: Which of them.
        limit: How many at the most.
        cursor: ``next`` of the page before; empty for the first.

    Raises:
        HTTPException: 400 for a cursor that is none.
    """
    query = select(AuditEntry).where(AuditEntry.project_id == project_id)
    if filters.who:
        query = query.where(AuditEntry.who.startswith(filters.who, autoescape=True))
    if filters.action:
        kind = AuditEntry.action.startswith(f"{filters.action}.", autoescape=True)
        query = query.where((AuditEntry.action == filters.action) | kind)
    if filters.after is not None:
        query = query.where(AuditEntry.created_at >= filters.after)
    if filters.before is not None:
        query = query.where(AuditEntry.created_at < filters.before)
    if cursor:
        query = query.where(after_cursor(AuditEntry.created_at, AuditEntry.id, cursor))
    rows = list(session.scalars(query.order_by(AuditEntry.created_at.desc(), AuditEntry.id.desc()).limit(limit + 1)))
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


@router.get("")
def read_audit(
    request: Request,
    caller: ApiCaller,
    filters: Annotated[AuditFilter, Depends(audit_filter)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str = "",
) -> AuditPage:
    """A page of the changes in the project, newest first."""
    with get_services(request).database.read() as session:
        return list_audit(session, caller.project_id, filters, limit=limit, cursor=cursor)
