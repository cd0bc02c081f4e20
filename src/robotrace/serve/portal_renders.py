"""The buttons of an episode's page that have its video rendered, and how that stands."""

from __future__ import annotations

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse

from robotrace.serve.audit import audit
from robotrace.serve.episodes import episode_or_404
from robotrace.serve.renders import get_renders
from robotrace.serve.same_origin import require_same_origin
from robotrace.serve.schemas_reroll import RenderView
from robotrace.serve.services import PageViewer, Viewer, get_services

__all__ = ["router"]

router = APIRouter(prefix="/portal/episodes/{episode_id}", include_in_schema=False)


@router.post("/render", dependencies=[Depends(require_same_origin)])
def render_form(episode_id: str, request: Request, viewer: PageViewer) -> RedirectResponse:
    """Have the video of an episode rendered, soon."""
    if get_renders(request).ask(episode_id, viewer.project_id):
        with get_services(request).database.write() as session:
            audit(session, viewer, "render.asked", episode_id)
    return _back(episode_id)


@router.post("/render/cancel", dependencies=[Depends(require_same_origin)])
def cancel_form(episode_id: str, request: Request, viewer: PageViewer) -> RedirectResponse:
    """Have it no more."""
    _require_episode(request, viewer, episode_id)
    get_renders(request).cancel(episode_id)
    return _back(episode_id)


@router.get("/render.json")
def render_json(episode_id: str, request: Request, viewer: PageViewer) -> RenderView:
    """How it stands."""
    _require_episode(request, viewer, episode_id)
    view = get_renders(request).view(episode_id)
    if view is None:
        raise HTTPException(404, "the video of this episode is not being rendered")
    return view


def _require_episode(request: Request, viewer: Viewer, episode_id: str) -> None:
    with get_services(request).database.read() as session:
        episode_or_404(session, episode_id, viewer.project_id)


def _back(episode_id: str) -> RedirectResponse:
    return RedirectResponse(f"/portal/episodes/{episode_id}#reproduce", 303)
