"""How an eval run comes in: create, a result for each baseline, finalize."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence

from fastapi import APIRouter, Depends, HTTPException, Request
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from robotrace.serve.eval_summary import ResultValues, summarize
from robotrace.serve.models import Episode, EvalResult, EvalRun, utc_now
from robotrace.serve.schemas_evals import (
    CreatedEvalRun,
    CreateEvalRun,
    EvalSummary,
    FinalizedEvalRun,
    FinalizeEvalRun,
    PushedEvalResult,
    PushEvalResult,
)
from robotrace.serve.services import ApiCaller, get_services, require_key

__all__ = ["counts_of", "refuse_unknown_candidate_episode", "router", "run_or_404", "summary_of"]

router = APIRouter(prefix="/api/ingest/eval-run", dependencies=[Depends(require_key)])


@router.post("", status_code=201)
def create_eval_run(body: CreateEvalRun, request: Request, caller: ApiCaller) -> CreatedEvalRun:
    """Open a run over baselines; one that does not exist is not refused here, its result will be a failed one."""
    baseline_ids = list(dict.fromkeys(body.baseline_episode_ids))
    now = utc_now()
    run = EvalRun(
        id=str(uuid.uuid4()),
        project_id=caller.project_id,
        status="pending",
        candidate_policy_version=body.candidate_policy_version,
        baseline_policy_version=body.baseline_policy_version,
        name=body.name,
        meta=body.metadata or {},
        created_at=now,
        updated_at=now,
    )
    results = [
        EvalResult(
            id=str(uuid.uuid4()),
            eval_run_id=run.id,
            position=position,
            baseline_episode_id=baseline_id,
            status="pending",
            metrics={},
            updated_at=now,
        )
        for position, baseline_id in enumerate(baseline_ids)
    ]
    with get_services(request).database.write() as session:
        session.add(run)
        session.flush()  # the results refer to it
        session.add_all(results)
        return CreatedEvalRun(eval_run_id=run.id, status=run.status, episode_count=len(results))


@router.post("/{eval_run_id}/result")
def push_eval_result(eval_run_id: str, body: PushEvalResult, request: Request, caller: ApiCaller) -> PushedEvalResult:
    """Store what became of a baseline; a repeat replaces it and keeps its id."""
    with get_services(request).database.write() as session:
        run = run_or_404(session, eval_run_id, caller.project_id)
        refuse_unknown_candidate_episode(session, body.candidate_episode_id, caller.project_id)
        result = session.scalar(
            select(EvalResult).where(
                EvalResult.eval_run_id == run.id, EvalResult.baseline_episode_id == body.baseline_episode_id
            )
        )
        if result is None:
            raise HTTPException(400, "baseline_episode_id: not one of this run's baselines")
        result.status = body.status
        result.metrics = body.metrics
        result.candidate_episode_id = body.candidate_episode_id
        result.error = body.error
        result.updated_at = run.updated_at = utc_now()
        if run.status == "pending":
            run.status = "running"
        if run.summary is not None:  # a result that comes late, or again: the summary is of what is stored
            run.summary = summary_of(session, run.id, run.status).model_dump()
        counts = counts_of(session, [run.id])[run.id]
        return PushedEvalResult(
            eval_result_id=result.id,
            run_status=run.status,
            episodes_completed=counts["complete"],
            episodes_failed=counts["failed"],
        )


@router.post("/{eval_run_id}/finalize")
def finalize_eval_run(eval_run_id: str, body: FinalizeEvalRun, request: Request, caller: ApiCaller) -> FinalizedEvalRun:
    """End a run and roll up its results; may be repeated, the last status counts."""
    with get_services(request).database.write() as session:
        run = run_or_404(session, eval_run_id, caller.project_id)
        summary = summary_of(session, run.id, body.status)
        run.status = body.status
        run.summary = summary.model_dump()
        if body.metadata:
            run.meta = {**run.meta, **body.metadata}
        run.updated_at = utc_now()
        return FinalizedEvalRun(eval_run_id=run.id, status=run.status, summary=summary)


def run_or_404(session: Session, eval_run_id: str, project_id: int) -> EvalRun:
    """The run of a project.

    Raises:
        HTTPException: 404 when there is none; of a run of another project it says the same.
    """
    run = session.get(EvalRun, eval_run_id)
    if run is None or run.project_id != project_id:
        raise HTTPException(404, "there is no such eval run")
    return run


def counts_of(session: Session, eval_run_ids: Sequence[str]) -> dict[str, Counter[str]]:
    """How many baselines of each run are "pending", "complete" and "failed"."""
    query = (
        select(EvalResult.eval_run_id, EvalResult.status, func.count())
        .where(EvalResult.eval_run_id.in_(eval_run_ids))
        .group_by(EvalResult.eval_run_id, EvalResult.status)
    )
    counts: dict[str, Counter[str]] = {run_id: Counter() for run_id in eval_run_ids}
    for run_id, status, count in session.execute(query):
        counts[run_id][status] = count
    return counts


def refuse_unknown_candidate_episode(session: Session, episode_id: str | None, project_id: int) -> None:
    """Refuse a link that leads nowhere, or out of the project; no link is fine.

    Raises:
        HTTPException: 404 when there is no such episode.
    """
    if episode_id is None:
        return
    episode = session.get(Episode, episode_id)
    if episode is None or episode.project_id != project_id:
        raise HTTPException(404, "candidate_episode_id: there is no such episode")


def summary_of(session: Session, eval_run_id: str, run_status: str) -> EvalSummary:
    """What the stored results of a run come to; see :func:`robotrace.serve.eval_summary.summarize`."""
    results = session.scalars(select(EvalResult).where(EvalResult.eval_run_id == eval_run_id))
    return summarize([ResultValues(row.status, row.metrics) for row in results], run_status=run_status)
