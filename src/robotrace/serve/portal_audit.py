"""The page of the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from robotrace.serve.audit_log import ACTIONS, AuditEntryView, AuditFilter, AuditPage, audit_filter, list_audit
from robotrace.serve.pages import page
from robotrace.serve.portal_tables import address, read_leniently, typed_fields
from robotrace.serve.services import PageViewer, get_services

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_AUDIT = "/portal/audit"
_PAGE_SIZE = 50


@router.get(_AUDIT + ".json")
def audit_json(
    request: Request,
    viewer: PageViewer,
    filters: Annotated[AuditFilter, Depends(audit_filter)],
    limit: Annotated[int, Query(ge=1, le=200)] = _PAGE_SIZE,
    cursor: str = "",
) -> AuditPage:
    """A page of the changes in the project, newest first."""
    with get_services(request).database.read() as session:
        return list_audit(session, viewer.project_id, filters, limit=limit, cursor=cursor)


@router.get(_AUDIT)
def audit_page(request: Request, viewer: PageViewer) -> Response:
    """The same to look at; a filter that is none is said to be, and left out."""
    typed = typed_fields(request, ("who", "action", "after", "before"))
    filters, _, error = read_leniently(audit_filter, typed)
    cursor = request.query_params.get("cursor", "")
    newest_url = address(_AUDIT, typed)
    try:
        with get_services(request).database.read() as session:
            found = list_audit(session, viewer.project_id, filters, limit=_PAGE_SIZE, cursor=cursor)
    except HTTPException:
        return RedirectResponse(newest_url)  # a cursor that was cut off in a chat
    return _page(viewer, found, typed, error, newest_url, cursor)


def _page(
    viewer: PageViewer, found: AuditPage, typed: dict[str, str], error: str | None, newest_url: str, cursor: str
) -> HTMLResponse:
    following = address(_AUDIT, {**typed, "cursor": found.next}) if found.next else None
    return page(
        "audit.html",
        viewer=viewer,
        entries=[(entry, _link(entry), _details(entry.details)) for entry in found.entries],
        filters=typed,
        error=error,
        actions=ACTIONS,
        newest_url=newest_url if cursor else None,
        next_url=following,
    )


def _link(entry: AuditEntryView) -> str | None:
    """The page of what was changed, where it has one; what was deleted later is missing there."""
    of_episode = entry.action.startswith(("episode.", "scenario.", "render.", "finding."))
    gone = entry.action in ("episode.deleted", "scenario.deleted")
    return f"/portal/episodes/{entry.target}" if of_episode and not gone else None


def _details(details: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for name, value in details.items()
    ]
