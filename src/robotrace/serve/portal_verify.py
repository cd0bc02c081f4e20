"""The verification page, its JSON twin, and the forms that make, change and remove scenarios."""

from __future__ import annotations

from itertools import zip_longest
from typing import Annotated, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ValidationError

from robotrace.serve.candidates import candidate_before, recent_candidates
from robotrace.serve.gate import SEVERITIES
from robotrace.serve.pages import form_fields, page
from robotrace.serve.portal_scenarios import ScenarioView, scenario_views
from robotrace.serve.portal_tables import address
from robotrace.serve.same_origin import require_same_origin
from robotrace.serve.schemas import Utc
from robotrace.serve.schemas_evals import Gate, PromoteEpisode
from robotrace.serve.services import PageViewer, Services, Viewer, get_services
from robotrace.serve.verify import gates, promote, remove_scenario, scenario_or_404

__all__ = ["CandidateStanding", "Flip", "VerifyView", "router"]

_VERIFY = "/portal/verify"
_MAX_CANDIDATES = 20  # the most recent ones; any other can be asked for by name
_STATES = ("pass", "fail", "error", "unknown", "pending", "broke", "fixed")
_FIELDS = ("candidate", "against", "severity", "state")

router = APIRouter(include_in_schema=False)


class Flip(BaseModel):
    """A scenario that one candidate passes and the other fails: it "broke" with the later one, or was "fixed"."""

    scenario_id: str
    kind: Literal["broke", "fixed"]
    before: str
    after: str


class CandidateStanding(BaseModel):
    """A candidate that was verified lately; ``updated_at`` is of its latest result.

    ``against`` is the candidate that was verified before it, ``flips`` what has changed since.
    """

    candidate_policy_version: str
    gate: Gate
    updated_at: Utc
    against: str | None
    flips: list[Flip]


class VerifyView(BaseModel):
    """The scenarios, the gate of the candidate that was asked for, if one was, and candidates verified lately.

    ``shown`` are the ids of the scenarios that the filters of the address let pass, in the order of ``scenarios``.
    """

    scenarios: list[ScenarioView]
    shown: list[str]
    candidate: str | None
    gate: Gate | None
    against: str | None
    against_gate: Gate | None
    flips: list[Flip]
    recent: list[CandidateStanding]


def _verify_view(
    services: Services, viewer: Viewer, candidate: str, *, against: str = "", severity: str = "", state: str = ""
) -> VerifyView:
    project = viewer.project_id
    with services.database.read() as session:
        scenarios = scenario_views(services, session, project)
        # One more: it is what the last one that is shown is held against.
        versions = recent_candidates(session, project, _MAX_CANDIDATES + 1)
        if candidate and not against:
            against = candidate_before(session, project, candidate) or ""
        judged = gates(session, project, {*versions, candidate, against} - {""})
    flips = _flips(judged[candidate], judged.get(against)) if candidate else []
    recent = []
    for version, before in zip_longest(versions, versions[1:]):
        recent.append(_candidate(version, judged[version], before, judged.get(before or "")))
    recent = recent[:_MAX_CANDIDATES]
    # Without a candidate, the states are those of the one that was verified last.
    gate = judged[candidate] if candidate else recent[0].gate if recent else None
    changed = flips if candidate else recent[0].flips if recent else []
    return VerifyView(
        scenarios=scenarios,
        shown=_shown(scenarios, gate, changed, severity, state),
        candidate=candidate or None,
        gate=judged.get(candidate),
        against=against or None,
        against_gate=judged.get(against) if candidate else None,
        flips=flips,
        recent=recent,
    )


def _candidate(version: str, gate: Gate, before: str | None, gate_before: Gate | None) -> CandidateStanding:
    return CandidateStanding(
        candidate_policy_version=version,
        gate=gate,
        updated_at=max(entry.updated_at for entry in gate.scenarios if entry.updated_at is not None),
        against=before,
        flips=_flips(gate, gate_before),
    )


def _flips(gate: Gate, before: Gate | None) -> list[Flip]:
    """What has changed for the worse, then what has for the better; what is not known has not."""
    if before is None:
        return []
    flips = []
    for then, now in zip(before.scenarios, gate.scenarios, strict=True):
        was, is_now = then.latest_status, now.latest_status
        if was == "pass" and is_now in ("fail", "error"):
            flips.append(Flip(scenario_id=now.scenario_id, kind="broke", before=was, after=is_now))
        elif was in ("fail", "error") and is_now == "pass":
            flips.append(Flip(scenario_id=now.scenario_id, kind="fixed", before=was, after=is_now))
    return sorted(flips, key=lambda flip: flip.kind)


def _shown(scenarios: list[ScenarioView], gate: Gate | None, flips: list[Flip], severity: str, state: str) -> list[str]:
    states = {entry.scenario_id: entry.latest_status for entry in gate.scenarios} if gate else {}
    kinds = {flip.scenario_id: flip.kind for flip in flips}
    return [
        scenario.scenario_id
        for scenario in scenarios
        if severity in ("", scenario.severity)
        and state in ("", states.get(scenario.scenario_id, "pending"), kinds.get(scenario.scenario_id))
    ]


def _asked(query: dict[str, str]) -> dict[str, str]:
    """The fields of the address; values that are none of a choice choose nothing."""
    asked = {name: query.get(name, "").strip() for name in _FIELDS}
    choices = {"severity": [str(severity) for severity in SEVERITIES], "state": list(_STATES)}
    return {name: "" if name in choices and text not in choices[name] else text for name, text in asked.items()}


@router.get(_VERIFY + ".json")
def verify_json(request: Request, viewer: PageViewer) -> VerifyView:
    """The gate of a candidate, and where those verified lately stand."""
    return _verify_view(get_services(request), viewer, **_asked(dict(request.query_params)))


@router.get(_VERIFY)
def verify_page(request: Request, viewer: PageViewer) -> HTMLResponse:
    """The same to look at."""
    asked = _asked(dict(request.query_params))
    view = _verify_view(get_services(request), viewer, **asked)
    shown = set(view.shown)
    return page(
        "verify.html",
        viewer=viewer,
        view=view,
        asked=asked,
        scenarios={scenario.scenario_id: scenario for scenario in view.scenarios},
        rows=[index for index, scenario in enumerate(view.scenarios) if scenario.scenario_id in shown],
        flips_of=[{flip.scenario_id: flip.kind for flip in entry.flips} for entry in view.recent],
        severities=SEVERITIES,
        states=_STATES,
        clear_url=address(_VERIFY, {"candidate": asked["candidate"], "against": asked["against"]}),
        back=address("", asked).removeprefix("?"),
        json_url=address(f"{_VERIFY}.json", asked),
    )


@router.post("/portal/episodes/{episode_id}/promote", dependencies=[Depends(require_same_origin)])
def promote_form(
    episode_id: str, request: Request, viewer: PageViewer, fields: Annotated[dict[str, str], Depends(form_fields)]
) -> RedirectResponse:
    """Make an episode a scenario, or change what it is; a name left empty leaves it as it is."""
    _promote(request, viewer, episode_id, fields)
    return RedirectResponse(f"/portal/episodes/{episode_id}#scenario", 303)


@router.post(_VERIFY + "/{scenario_id}", dependencies=[Depends(require_same_origin)])
def change_form(
    scenario_id: str, request: Request, viewer: PageViewer, fields: Annotated[dict[str, str], Depends(form_fields)]
) -> RedirectResponse:
    """Change the severity or the name of a scenario; what is left empty stays as it is."""
    with get_services(request).database.read() as session:
        episode_id = scenario_or_404(session, scenario_id, viewer.project_id).baseline_episode_id
    _promote(request, viewer, episode_id, fields)
    return _back(fields)


@router.post(_VERIFY + "/{scenario_id}/remove", dependencies=[Depends(require_same_origin)])
def remove_form(
    scenario_id: str, request: Request, viewer: PageViewer, fields: Annotated[dict[str, str], Depends(form_fields)]
) -> RedirectResponse:
    """Take a scenario out of the gate, with its results; its episode stays."""
    with get_services(request).database.write() as session:
        remove_scenario(session, viewer, scenario_id)
    return _back(fields)


def _promote(request: Request, viewer: Viewer, episode_id: str, fields: dict[str, str]) -> None:
    given = {name: text for name in ("severity", "name") if (text := fields.get(name, "").strip())}
    try:
        body = PromoteEpisode.model_validate({"baseline_episode_id": episode_id, **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise HTTPException(400, f"{first['loc'][0]}: {first['msg']}") from None
    with get_services(request).database.write() as session:
        severity = body.severity if "severity" in given else None
        promote(session, viewer, episode_id, severity=severity, name=body.name)


def _back(fields: dict[str, str]) -> RedirectResponse:
    """To the page as it was: only what its own address knows is taken over."""
    return RedirectResponse(address(_VERIFY, _asked(dict(parse_qsl(fields.get("back", ""))))), 303)
