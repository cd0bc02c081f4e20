"""The pages of the eval runs, and their JSON twins."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel
from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from robotrace.serve.evals import counts_of, run_or_404, summary_of
from robotrace.serve.keyset import after_cursor, cursor_of
from robotrace.serve.models import Episode, EvalResult, EvalRun
from robotrace.serve.pages import page
from robotrace.serve.schemas import Utc
from robotrace.serve.schemas_evals import EvalSummary
from robotrace.serve.services import PageViewer, Services, Viewer, get_services

__all__ = ["EvalList", "EvalResultView", "EvalRunDetail", "EvalRunView", "EvalView", "router"]

_EVALS = "/portal/evals"
_PAGE_SIZE = 50
_RESULTS_PAGE_SIZE = 200

After = Annotated[int, Query(ge=-1, lt=2**63)]  # what the database can compare with

router = APIRouter(include_in_schema=False)


class EvalRunView(BaseModel):
    """An eval run in the list; ``summary`` is None until the run is finalized."""

    eval_run_id: str
    name: str | None
    status: str
    candidate_policy_version: str
    baseline_policy_version: str | None
    episode_count: int
    episodes_completed: int
    episodes_failed: int
    summary: EvalSummary | None
    created_at: Utc
    updated_at: Utc


class EvalList(BaseModel):
    """A page of the list of eval runs, newest first."""

    runs: list[EvalRunView]
    next: str | None


class EvalRunDetail(EvalRunView):
    """An eval run as its page shows it; ``so_far`` sums up the results there are, finalized or not."""

    metadata: dict[str, Any]
    so_far: EvalSummary


class EvalResultView(BaseModel):
    """A baseline of a run; ``baseline_exists`` says whether the project holds that episode."""

    eval_result_id: str
    position: int
    baseline_episode_id: str
    baseline_exists: bool
    baseline_name: str | None
    status: str
    metrics: dict[str, Any]
    candidate_episode_id: str | None
    error: str | None
    updated_at: Utc


class EvalView(BaseModel):
    """An eval run and a page of its results, in the order in which the baselines were listed."""

    run: EvalRunDetail
    results: list[EvalResultView]
    next: int | None


def _eval_list(services: Services, viewer: Viewer, *, limit: int, cursor: str) -> EvalList:
    query = select(EvalRun).where(EvalRun.project_id == viewer.project_id)
    query = query.order_by(EvalRun.created_at.desc(), EvalRun.id.desc()).limit(limit + 1)
    if cursor:
        query = query.where(after_cursor(EvalRun.created_at, EvalRun.id, cursor))
    with services.database.read() as session:
        rows = list(session.scalars(query))
        more, rows = len(rows) > limit, rows[:limit]
        runs = _run_views(session, rows)
    return EvalList(runs=runs, next=cursor_of(rows[-1].created_at, rows[-1].id) if more else None)


def _eval_view(services: Services, viewer: Viewer, eval_run_id: str, *, after: int) -> EvalView:
    with services.database.read() as session:
        run = run_or_404(session, eval_run_id, viewer.project_id)
        (view,) = _run_views(session, [run])
        query = (
            select(EvalResult, Episode.id, Episode.name)
            .outerjoin(
                Episode,
                and_(Episode.id == EvalResult.baseline_episode_id, Episode.project_id == viewer.project_id),
            )
            .where(EvalResult.eval_run_id == run.id, EvalResult.position > after)
            .order_by(EvalResult.position)
            .limit(_RESULTS_PAGE_SIZE + 1)
        )
        rows = session.execute(query).all()
        results = [
            EvalResultView(
                eval_result_id=result.id,
                position=result.position,
                baseline_episode_id=result.baseline_episode_id,
                baseline_exists=episode_id is not None,
                baseline_name=name,
                status=result.status,
                metrics=result.metrics,
                candidate_episode_id=result.candidate_episode_id,
                error=result.error,
                updated_at=result.updated_at,
            )
            for result, episode_id, name in rows[:_RESULTS_PAGE_SIZE]
        ]
        so_far = view.summary or summary_of(session, run.id, "completed")
    return EvalView(
        run=EvalRunDetail(**dict(view), metadata=run.meta, so_far=so_far),
        results=results,
        next=results[-1].position if len(rows) > _RESULTS_PAGE_SIZE else None,
    )


def _run_views(session: Session, runs: list[EvalRun]) -> list[EvalRunView]:
    counts = counts_of(session, [run.id for run in runs])
    return [
        EvalRunView(
            eval_run_id=run.id,
            name=run.name,
            status=run.status,
            candidate_policy_version=run.candidate_policy_version,
            baseline_policy_version=run.baseline_policy_version,
            episode_count=counts[run.id].total(),
            episodes_completed=counts[run.id]["complete"],
            episodes_failed=counts[run.id]["failed"],
            summary=None if run.summary is None else EvalSummary.model_validate(run.summary),
            created_at=run.created_at,
            updated_at=run.updated_at,
        )
        for run in runs
    ]


@router.get(_EVALS + ".json")
def evals_json(
    request: Request,
    viewer: PageViewer,
    limit: Annotated[int, Query(ge=1, le=200)] = _PAGE_SIZE,
    cursor: str = "",
) -> EvalList:
    """The list of eval runs."""
    return _eval_list(get_services(request), viewer, limit=limit, cursor=cursor)


@router.get(_EVALS + "/{eval_run_id}.json")
def eval_json(eval_run_id: str, request: Request, viewer: PageViewer, after: After = -1) -> EvalView:
    """One eval run, with the results after a position."""
    return _eval_view(get_services(request), viewer, eval_run_id, after=after)


@router.get(_EVALS)
def evals_page(request: Request, viewer: PageViewer, cursor: str = "") -> Response:
    """The eval runs, newest first."""
    try:
        found = _eval_list(get_services(request), viewer, limit=_PAGE_SIZE, cursor=cursor)
    except HTTPException:
        # A cursor cut off on its way through a chat: the newest page is what comes closest.
        return RedirectResponse(_EVALS)
    return page(
        "evals.html",
        viewer=viewer,
        runs=found.runs,
        newest_url=_EVALS if cursor else None,
        next_url=f"{_EVALS}?cursor={found.next}" if found.next else None,
    )


@router.get(_EVALS + "/{eval_run_id}")
def eval_page(eval_run_id: str, request: Request, viewer: PageViewer, after: After = -1) -> HTMLResponse:
    """One eval run: what it comes to, and what became of each baseline."""
    try:
        view = _eval_view(get_services(request), viewer, eval_run_id, after=after)
    except HTTPException:
        missing = {"what": "eval run", "id": eval_run_id, "home": _EVALS, "home_label": "All eval runs"}
        return page("missing.html", 404, viewer=viewer, **missing)
    url = f"{_EVALS}/{eval_run_id}"
    return page(
        "eval.html",
        viewer=viewer,
        run=view.run,
        results=view.results,
        first_url=url if after >= 0 else None,
        next_url=f"{url}?after={view.next}#results" if view.next is not None else None,
    )
