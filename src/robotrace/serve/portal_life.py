"""The buttons by which an episode is archived, restored or deleted, and the page that asks before it is deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from robotrace.serve.episode_life import archive_all, delete_all, forget_work, restore_all, scenarios_of
from robotrace.serve.episodes import episode_or_404
from robotrace.serve.pages import form_fields, page
from robotrace.serve.same_origin import require_same_origin
from robotrace.serve.services import PageViewer, Viewer, get_services

__all__ = ["router"]

_EPISODES = "/portal/episodes"
_EPISODE = _EPISODES + "/{episode_id}"

router = APIRouter(include_in_schema=False)


@router.post(_EPISODE + "/archive", dependencies=[Depends(require_same_origin)])
def archive_form(episode_id: str, request: Request, viewer: PageViewer) -> RedirectResponse:
    """Take an episode out of the lists; its page stays, and says so."""
    with get_services(request).database.write() as session:
        archive_all(session, viewer, [episode_or_404(session, episode_id, viewer.project_id)])
    return RedirectResponse(f"{_EPISODES}/{episode_id}", 303)


@router.post(_EPISODE + "/restore", dependencies=[Depends(require_same_origin)])
def restore_form(episode_id: str, request: Request, viewer: PageViewer) -> RedirectResponse:
    """Bring it back."""
    with get_services(request).database.write() as session:
        restore_all(session, viewer, [episode_or_404(session, episode_id, viewer.project_id)])
    return RedirectResponse(f"{_EPISODES}/{episode_id}", 303)


@router.get(_EPISODE + "/delete")
def delete_page(episode_id: str, request: Request, viewer: PageViewer) -> HTMLResponse:
    """What goes with an episode, and the button; the episode's page asks in a dialog where scripts run."""
    return _ask(episode_id, request, viewer)


@router.post(_EPISODE + "/delete", dependencies=[Depends(require_same_origin)], response_model=None)
def delete_form(
    episode_id: str, request: Request, viewer: PageViewer, fields: Annotated[dict[str, str], Depends(form_fields)]
) -> Response:
    """Delete an episode for good; one that is a scenario's baseline only with ``force``, and the scenario with it."""
    with get_services(request).database.write() as session:
        episode = episode_or_404(session, episode_id, viewer.project_id)
        refused = bool(scenarios_of(session, [episode])) and fields.get("force") != "true"
        if not refused:
            delete_all(session, viewer, [episode])
    if refused:  # it has become one since the page was made
        return _ask(episode_id, request, viewer, status_code=409)
    forget_work(request, [episode_id])
    return RedirectResponse(_EPISODES, 303)


def _ask(episode_id: str, request: Request, viewer: Viewer, *, status_code: int = 200) -> HTMLResponse:
    with get_services(request).database.read() as session:
        try:
            episode = episode_or_404(session, episode_id, viewer.project_id)
        except HTTPException:
            missing = {"what": "episode", "id": episode_id, "home": _EPISODES, "home_label": "All episodes"}
            return page("missing.html", 404, viewer=viewer, **missing)
        return page(
            "episode_delete.html",
            status_code,
            viewer=viewer,
            episode=episode,
            files=len(episode.artifacts),
            size=sum(artifact.size for artifact in episode.artifacts),
            scenario=next(iter(scenarios_of(session, [episode])), None),
        )
