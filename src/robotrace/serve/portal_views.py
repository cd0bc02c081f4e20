"""The forms by which filters of the list are kept, and their JSON twin."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from robotrace.serve.list_filters import EPISODES, list_url, query_of, read_filters, typed_filters
from robotrace.serve.pages import form_fields
from robotrace.serve.portal_list import list_page
from robotrace.serve.same_origin import require_same_origin
from robotrace.serve.saved_views import delete_view, list_views, rename_view, save_view, view_or_404
from robotrace.serve.schemas import Utc
from robotrace.serve.services import PageViewer, get_services

__all__ = ["router"]

router = APIRouter(prefix="/portal/views", include_in_schema=False)

_Fields = Annotated[dict[str, str], Depends(form_fields)]
_ViewId = Annotated[int, Path(ge=1, lt=2**31)]
_SAME_ORIGIN = [Depends(require_same_origin)]


class ViewInfo(BaseModel):
    """Filters that are kept."""

    id: int
    name: str
    query: str
    url: str
    created_at: Utc


class ViewList(BaseModel):
    """The views of the project, by name."""

    views: list[ViewInfo]


@router.get(".json")
def views_json(request: Request, viewer: PageViewer) -> ViewList:
    """The views that the list of episodes shows."""
    with get_services(request).database.read() as session:
        return ViewList(
            views=[
                ViewInfo(
                    id=view.id,
                    name=view.name,
                    query=view.query,
                    url=f"{EPISODES}?{view.query}",
                    created_at=view.created_at,
                )
                for view in list_views(session, viewer.project_id)
            ]
        )


@router.post("", dependencies=_SAME_ORIGIN)
def save_form(request: Request, viewer: PageViewer, fields: _Fields) -> Response:
    """Keep the filters of ``query`` as ``name``; what filters nothing is left out of them."""
    typed = read_filters(typed_filters(dict(parse_qsl(fields.get("query", "")))))[1]
    try:
        with get_services(request).database.write() as session:
            save_view(session, viewer, fields.get("name", ""), query_of(typed))
    except HTTPException as refused:
        return list_page(request, viewer, typed, status_code=refused.status_code, error=str(refused.detail))
    return RedirectResponse(list_url(typed), 303)


@router.post("/{view_id}/rename", dependencies=_SAME_ORIGIN)
def rename_form(view_id: _ViewId, request: Request, viewer: PageViewer, fields: _Fields) -> Response:
    """Give a view another name."""
    with get_services(request).database.read() as session:
        query = view_or_404(session, view_id, viewer.project_id).query
    try:
        with get_services(request).database.write() as session:
            rename_view(session, viewer, view_or_404(session, view_id, viewer.project_id), fields.get("name", ""))
    except HTTPException as refused:
        if refused.status_code == 404:
            raise
        typed = typed_filters(dict(parse_qsl(query)))
        return list_page(request, viewer, typed, status_code=refused.status_code, error=str(refused.detail))
    return RedirectResponse(f"{EPISODES}?{query}", 303)


@router.post("/{view_id}/delete", dependencies=_SAME_ORIGIN)
def delete_form(view_id: _ViewId, request: Request, viewer: PageViewer) -> Response:
    """Forget a view; the list stays filtered as it was."""
    with get_services(request).database.write() as session:
        view = view_or_404(session, view_id, viewer.project_id)
        query = view.query
        delete_view(session, viewer, view)
    return RedirectResponse(f"{EPISODES}?{query}", 303)
