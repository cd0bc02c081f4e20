"""Verification: episodes that every candidate has to pass, what candidates have to show for them, the gate."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from robotrace.serve.audit import HasActor, audit
from robotrace.serve.episodes import episode_or_404
from robotrace.serve.eval_summary import is_claimed
from robotrace.serve.evals import refuse_unknown_candidate_episode, run_or_404
from robotrace.serve.gate import judge, outcome_status, severity_rank
from robotrace.serve.models import Episode, Scenario, ScenarioResult, utc_now
from robotrace.serve.schemas_evals import (
    CheckGate,
    Gate,
    PromotedEpisode,
    PromoteEpisode,
    PushScenarioResult,
    ScenarioInfo,
    ScenarioStanding,
    Severity,
    StoredScenarioResult,
)
from robotrace.serve.services import ApiCaller, get_services, require_key

__all__ = [
    "gates",
    "promote",
    "remove_scenario",
    "router",
    "scenario_infos",
    "scenario_or_404",
]

router = APIRouter(prefix="/api/verify", dependencies=[Depends(require_key)])


@router.post("/promote")
def promote_episode(body: PromoteEpisode, request: Request, caller: ApiCaller) -> PromotedEpisode:
    """Make an episode a scenario; of one that is one already, change what was given."""
    with get_services(request).database.write() as session:
        scenario = promote(
            session,
            caller,
            body.baseline_episode_id,
            severity=body.severity if "severity" in body.model_fields_set else None,
            name=body.name,
            description=body.description,
        )
        return PromotedEpisode(scenario_id=scenario.id)


@router.post("/check", responses={422: {"model": Gate, "description": "Blocked"}})
def check_gate(body: CheckGate, request: Request, caller: ApiCaller, response: Response) -> Gate:
    """Whether a candidate may pass: 200 when it may, 422 when a critical scenario stands in its way."""
    with get_services(request).database.read() as session:
        gate = gates(session, caller.project_id, [body.candidate_policy_version])[body.candidate_policy_version]
    if not gate.passed:
        response.status_code = 422
    return gate


@router.post("/result")
def push_scenario_result(body: PushScenarioResult, request: Request, caller: ApiCaller) -> StoredScenarioResult:
    """Store how a candidate did on a scenario; a repeat for the same eval run replaces the result and keeps its id."""
    with get_services(request).database.write() as session:
        scenario_or_404(session, body.scenario_id, caller.project_id)
        refuse_unknown_candidate_episode(session, body.candidate_episode_id, caller.project_id)
        result_id, created_at = str(uuid.uuid4()), utc_now()
        if body.eval_run_id is not None:
            run = run_or_404(session, body.eval_run_id, caller.project_id)
            if run.candidate_policy_version != body.candidate_policy_version:
                raise HTTPException(400, "candidate_policy_version: not the one of this eval run")
            earlier = session.scalar(
                select(ScenarioResult).where(
                    ScenarioResult.scenario_id == body.scenario_id, ScenarioResult.eval_run_id == run.id
                )
            )
            if earlier is not None:
                # Replaced by a new row, since the latest is the one with the highest sequence.
                result_id, created_at = earlier.id, earlier.created_at
                session.delete(earlier)
                session.flush()
        result = ScenarioResult(
            id=result_id,
            scenario_id=body.scenario_id,
            candidate_policy_version=body.candidate_policy_version,
            status=body.status or outcome_status(body.metrics),
            metrics=body.metrics,
            candidate_episode_id=body.candidate_episode_id,
            eval_run_id=body.eval_run_id,
            error=body.error,
            created_at=created_at,
            updated_at=utc_now(),
        )
        session.add(result)
        return StoredScenarioResult(
            result_id=result.id,
            scenario_id=result.scenario_id,
            candidate_policy_version=result.candidate_policy_version,
            status=result.status,
            claimed=_claimed(result),
            metrics=result.metrics,
            candidate_episode_id=result.candidate_episode_id,
            eval_run_id=result.eval_run_id,
            error=result.error,
            created_at=result.created_at,
            updated_at=result.updated_at,
        )


@router.delete("/scenarios/{scenario_id}", status_code=204, response_class=Response)
def delete_scenario(scenario_id: str, request: Request, caller: ApiCaller) -> Response:
    """Take a scenario out of the gate for good, with its results; its episode stays."""
    with get_services(request).database.write() as session:
        remove_scenario(session, caller, scenario_id)
    return Response(status_code=204)


def scenario_or_404(session: Session, scenario_id: str, project_id: int) -> Scenario:
    """The scenario of a project.

    Raises:
        HTTPException: 404 when there is none; of a scenario of another project it says the same.
    """
    scenario = session.get(Scenario, scenario_id)
    if scenario is None or scenario.project_id != project_id:
        raise HTTPException(404, "there is no such scenario")
    return scenario


def remove_scenario(session: Session, actor: HasActor, scenario_id: str) -> None:
    """Delete a scenario and its results; its episode stays.

    Raises:
        HTTPException: 404 when there is no such scenario.
    """
    scenario = scenario_or_404(session, scenario_id, actor.project_id)
    details = {"baseline_episode_id": scenario.baseline_episode_id, "severity": scenario.severity}
    audit(session, actor, "scenario.deleted", scenario.id, name=scenario.name, **details)
    session.delete(scenario)


def promote(
    session: Session,
    actor: HasActor,
    episode_id: str,
    *,
    severity: Severity | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Scenario:
    """The scenario of an episode, made if need be; None leaves what is there as it is, and a new one a warning.

    Raises:
        HTTPException: 404 when there is no such episode.
    """
    episode_or_404(session, episode_id, actor.project_id)
    now = utc_now()
    scenario = session.scalar(select(Scenario).where(Scenario.baseline_episode_id == episode_id))
    if scenario is None:
        scenario = Scenario(
            id=str(uuid.uuid4()),
            project_id=actor.project_id,
            baseline_episode_id=episode_id,
            severity="warning",
            created_at=now,
            updated_at=now,
        )
        session.add(scenario)
        audit(session, actor, "scenario.promoted", episode_id, scenario_id=scenario.id, severity=severity or "warning")
    given = {"severity": severity, "name": name, "description": description}
    changed = {name: value for name, value in given.items() if value not in (None, getattr(scenario, name))}
    for field, value in changed.items():
        setattr(scenario, field, value)
        scenario.updated_at = now
    if changed and scenario.created_at != now:
        audit(session, actor, "scenario.changed", episode_id, scenario_id=scenario.id, changed=sorted(changed))
    return scenario


def scenario_infos(session: Session, project_id: int, episode_id: str | None = None) -> list[ScenarioInfo]:
    """Every scenario of a project, or the one that an episode is: what matters most first, then the oldest."""
    query = (
        select(Scenario, Episode.name)
        .join(Episode, Episode.id == Scenario.baseline_episode_id)
        .where(Scenario.project_id == project_id)
    )
    if episode_id is not None:
        query = query.where(Scenario.baseline_episode_id == episode_id)
    rows = session.execute(query.order_by(Scenario.created_at, Scenario.id)).all()
    return [
        ScenarioInfo.model_validate(
            {
                "scenario_id": scenario.id,
                "baseline_episode_id": scenario.baseline_episode_id,
                "baseline_name": name,
                "severity": scenario.severity,
                "name": scenario.name,
                "description": scenario.description,
            }
        )
        for scenario, name in sorted(rows, key=lambda row: severity_rank(row[0].severity))
    ]


def gates(session: Session, project_id: int, candidates: Collection[str]) -> dict[str, Gate]:
    """The gate of each candidate of a project."""
    scenarios = [dict(scenario) for scenario in scenario_infos(session, project_id)]
    latest = _latest_results(session, project_id, candidates)
    return {
        candidate: judge(
            [_standing(scenario, latest.get((candidate, scenario["scenario_id"]))) for scenario in scenarios], candidate
        )
        for candidate in candidates
    }


def _standing(scenario: dict[str, Any], result: ScenarioResult | None) -> ScenarioStanding:
    # Of values that were checked when they came in: a page has 20 candidates on 200 scenarios.
    return ScenarioStanding.model_construct(
        **scenario,
        latest_status="pending" if result is None else result.status,
        claimed=result is not None and _claimed(result),
        error=None if result is None else result.error,
        candidate_episode_id=None if result is None else result.candidate_episode_id,
        updated_at=None if result is None else result.updated_at,
    )


def _claimed(result: ScenarioResult) -> bool:
    return result.status in ("pass", "fail") and is_claimed(result.metrics)


def _latest_results(
    session: Session, project_id: int, candidates: Collection[str]
) -> dict[tuple[str, str], ScenarioResult]:
    """The results that count, by ``(candidate, scenario id)``."""
    latest = (
        select(func.max(ScenarioResult.sequence))
        .join(Scenario, Scenario.id == ScenarioResult.scenario_id)
        .where(Scenario.project_id == project_id, ScenarioResult.candidate_policy_version.in_(candidates))
        .group_by(ScenarioResult.candidate_policy_version, ScenarioResult.scenario_id)
    )
    results = session.scalars(select(ScenarioResult).where(ScenarioResult.sequence.in_(latest)))
    return {(result.candidate_policy_version, result.scenario_id): result for result in results}
