"""The routes that explain an episode, and take what people say of a finding."""

from __future__ import annotations

from typing import Annotated, get_args

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse

from robotrace.explain import CODES
from robotrace.serve.analyses import Busy, analysis_view, explain_episode, explain_when_outdated
from robotrace.serve.audit import audit
from robotrace.serve.episodes import episode_or_404
from robotrace.serve.models import FindingLabel, utc_now
from robotrace.serve.pages import form_fields
from robotrace.serve.same_origin import require_same_origin
from robotrace.serve.schemas import FindingFeedback
from robotrace.serve.schemas_explain import AnalysisView
from robotrace.serve.services import ApiCaller, PageViewer, Services, get_services, require_key
from robotrace.serve.video_index import ensure_video_index

__all__ = ["router"]

router = APIRouter()

_PATIENCE_S = 30
_EPISODE = "/portal/episodes/{episode_id}"


@router.post("/api/episodes/{episode_id}/explain", dependencies=[Depends(require_key)])
def explain(episode_id: str, request: Request, caller: ApiCaller) -> AnalysisView:
    """Look again at why an episode failed, also at one that did not; answers with what was found."""
    return _explain(get_services(request), episode_id, caller.project_id)


@router.post(_EPISODE + "/explain", include_in_schema=False, dependencies=[Depends(require_same_origin)])
def explain_form(episode_id: str, request: Request, viewer: PageViewer) -> RedirectResponse:
    """The same, from the episode's page."""
    _explain(get_services(request), episode_id, viewer.project_id)
    return _back(episode_id)


@router.get(_EPISODE + "/findings.json", include_in_schema=False)
def findings_json(episode_id: str, request: Request, viewer: PageViewer) -> dict[str, AnalysisView | bool | None]:
    """What is kept, and whether it is being looked at again (``pending``)."""
    services = get_services(request)
    with services.database.read() as session:
        episode = episode_or_404(session, episode_id, viewer.project_id)
        pending = explain_when_outdated(services, session, episode)
        return {"analysis": analysis_view(session, episode_id), "pending": pending}


@router.post(
    _EPISODE + "/findings/{code}/feedback", include_in_schema=False, dependencies=[Depends(require_same_origin)]
)
def feedback_form(
    episode_id: str,
    code: str,
    request: Request,
    viewer: PageViewer,
    fields: Annotated[dict[str, str], Depends(form_fields)],
) -> RedirectResponse:
    """Say that a finding is ``right`` or ``wrong``; an empty ``label`` takes that back."""
    label = fields.get("label", "")
    if label not in ("", *get_args(FindingFeedback)):
        raise HTTPException(400, f"label: one of {', '.join(get_args(FindingFeedback))}, or empty")
    with get_services(request).database.write() as session:
        episode_or_404(session, episode_id, viewer.project_id)
        if code not in CODES:
            raise HTTPException(404, "there is no such finding")
        known = session.get(FindingLabel, (episode_id, code))
        audit(session, viewer, "finding.labelled", episode_id, code=code, label=label)
        if label:
            session.merge(FindingLabel(episode_id=episode_id, code=code, label=label, created_at=utc_now()))
        elif known is not None:
            session.delete(known)
    return _back(episode_id)


def _explain(services: Services, episode_id: str, project_id: int) -> AnalysisView:
    with services.database.read() as session:
        if episode_or_404(session, episode_id, project_id).status == "recording":
            raise HTTPException(409, "the episode is still being recorded")
    ensure_video_index(services, episode_id)
    try:
        explain_episode(services, episode_id, timeout_s=_PATIENCE_S)
    except Busy:
        raise HTTPException(503, "other episodes are being explained; try again later") from None
    with services.database.read() as session:
        found = analysis_view(session, episode_id)
    if found is None:
        raise HTTPException(404, "there is no such episode")
    return found


def _back(episode_id: str) -> RedirectResponse:
    return RedirectResponse(f"/portal/episodes/{episode_id}#findings", 303)
