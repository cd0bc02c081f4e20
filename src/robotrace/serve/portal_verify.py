"""The verification page, its JSON twin, and the form that makes an episode a scenario."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from robotrace.serve.models import Scenario, ScenarioResult
from robotrace.serve.pages import form_fields, page
from robotrace.serve.same_origin import require_same_origin
from robotrace.serve.schemas import Utc
from robotrace.serve.schemas_evals import Gate, PromoteEpisode, ScenarioInfo
from robotrace.serve.services import PageViewer, Services, Viewer, get_services
from robotrace.serve.verify import gates, promote, scenario_infos

__all__ = ["CandidateStanding", "VerifyView", "router"]

_VERIFY = "/portal/verify"
_MAX_CANDIDATES = 20  # the most recent ones; any other can be asked for by name

router = APIRouter(include_in_schema=False)


class CandidateStanding(BaseModel):
    """A candidate that was verified lately; ``updated_at`` is of its latest result."""

    candidate_policy_version: str
    gate: Gate
    updated_at: Utc


class VerifyView(BaseModel):
    """The scenarios, the gate of the candidate that was asked for, if one was, and candidates verified lately."""

    scenarios: list[ScenarioInfo]
    candidate: str | None
    gate: Gate | None
    recent: list[CandidateStanding]


def _verify_view(services: Services, viewer: Viewer, candidate: str) -> VerifyView:
    with services.database.read() as session:
        scenarios = scenario_infos(session, viewer.project_id)
        recent = _recent_candidates(session, viewer.project_id)
        judged = gates(session, viewer.project_id, [*([candidate] if candidate else []), *recent])
    return VerifyView(
        scenarios=scenarios,
        candidate=candidate or None,
        gate=judged.get(candidate),
        recent=[
            CandidateStanding(
                candidate_policy_version=version,
                gate=judged[version],
                updated_at=max(entry.updated_at for entry in judged[version].scenarios if entry.updated_at is not None),
            )
            for version in recent
        ],
    )


def _recent_candidates(session: Session, project_id: int) -> list[str]:
    query = (
        select(ScenarioResult.candidate_policy_version)
        .join(Scenario, Scenario.id == ScenarioResult.scenario_id)
        .where(Scenario.project_id == project_id)
        .group_by(ScenarioResult.candidate_policy_version)
        .order_by(func.max(ScenarioResult.sequence).desc())
        .limit(_MAX_CANDIDATES)
    )
    return list(session.scalars(query))


@router.get(_VERIFY + ".json")
def verify_json(request: Request, viewer: PageViewer, candidate: str = "") -> VerifyView:
    """The gate of a candidate, and where those verified lately stand."""
    return _verify_view(get_services(request), viewer, candidate.strip())


@router.get(_VERIFY)
def verify_page(request: Request, viewer: PageViewer, candidate: str = "") -> HTMLResponse:
    """The same to look at."""
    return page("verify.html", viewer=viewer, view=_verify_view(get_services(request), viewer, candidate.strip()))


@router.post("/portal/episodes/{episode_id}/promote", dependencies=[Depends(require_same_origin)])
def promote_form(
    episode_id: str, request: Request, viewer: PageViewer, fields: Annotated[dict[str, str], Depends(form_fields)]
) -> RedirectResponse:
    """Make an episode a scenario, or change what it is; a name left empty leaves it as it is."""
    given = {name: text for name in ("severity", "name") if (text := fields.get(name, "").strip())}
    try:
        body = PromoteEpisode.model_validate({"baseline_episode_id": episode_id, **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise HTTPException(400, f"{first['loc'][0]}: {first['msg']}") from None
    with get_services(request).database.write() as session:
        severity = body.severity if "severity" in given else None
        promote(session, viewer, episode_id, severity=severity, name=body.name)
    return RedirectResponse(f"/portal/episodes/{episode_id}#scenario", 303)
