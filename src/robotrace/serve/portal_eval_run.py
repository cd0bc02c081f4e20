"""The page of an eval run, and its JSON twin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from robotrace.serve.eval_outcomes import ORDER, OUTCOMES, Outcome, change_of, outcome_of, pairs_of
from robotrace.serve.eval_summary import ResultValues, summarize
from robotrace.serve.evals import run_or_404
from robotrace.serve.models import Episode, EvalResult
from robotrace.serve.pages import page
from robotrace.serve.portal_evals import EvalRunView, run_views
from robotrace.serve.portal_rates import PairedRates, paired_rates
from robotrace.serve.portal_tables import address, columns_of, in_order, read_sort
from robotrace.serve.schemas import Utc
from robotrace.serve.schemas_evals import EvalSummary
from robotrace.serve.services import PageViewer, Services, Viewer, get_services
from robotrace.serve.values import finite

__all__ = ["EvalResultView", "EvalRunDetail", "EvalView", "router"]

_EVALS = "/portal/evals"
_RESULTS_PAGE_SIZE = 200

After = Annotated[int, Query(ge=-1, lt=2**63)]

router = APIRouter(include_in_schema=False)


class EvalRunDetail(EvalRunView):
    """An eval run as its page shows it; ``so_far`` sums up the results there are, finalized or not.

    ``paired`` has the baselines first and the candidate second; ``outcomes`` counts the baselines by their outcome.
    """

    metadata: dict[str, Any]
    so_far: EvalSummary
    paired: PairedRates
    outcomes: dict[str, int]


class EvalResultView(BaseModel):
    """A baseline of a run; ``baseline_exists`` says whether the project holds that episode."""

    eval_result_id: str
    position: int
    baseline_episode_id: str
    baseline_exists: bool
    baseline_name: str | None
    baseline_failure_time_s: float | None
    status: str
    outcome: Outcome
    metrics: dict[str, Any]
    candidate_episode_id: str | None
    error: str | None
    updated_at: Utc


class EvalView(BaseModel):
    """An eval run and a part of its results; ``next`` is where the part after it begins."""

    run: EvalRunDetail
    results: list[EvalResultView]
    sort: str
    show: str | None
    next: int | None


_KEYS: dict[str, Callable[[EvalResultView], Any]] = {
    "outcome": lambda row: ORDER[row.outcome],
    "position": lambda row: row.position,
    "return": lambda row: change_of(row.metrics, "reward_total"),
    "collisions": lambda row: change_of(row.metrics, "collision_count"),
    "time": lambda row: change_of(row.metrics, "time_to_goal_s"),
    "distance": lambda row: finite(row.metrics.get("action_l2_distance")),
    "ood": lambda row: finite(row.metrics.get("ood_action_share")),
}
# The first click shows where the candidate does worst.
_FIRSTS = {"outcome": "outcome", "position": "position", "return": "return"} | {
    name: f"-{name}" for name in ("collisions", "time", "distance", "ood")
}


def _eval_view(
    services: Services, viewer: Viewer, eval_run_id: str, *, sort: str, show: str, after: int, limit: int
) -> EvalView:
    sort = read_sort(sort, _KEYS, "outcome")
    with services.database.read() as session:
        run = run_or_404(session, eval_run_id, viewer.project_id)
        (view,) = run_views(session, [run])
        rows = _results(session, run.id)
        so_far = view.summary or summarize([ResultValues(row.status, row.metrics) for row in rows])
        counts = Counter(row.outcome for row in rows)
        wanted = [row for row in rows if show not in OUTCOMES or row.outcome == show]
        shown = in_order(wanted, sort, _KEYS)[after + 1 :][:limit]
        _add_baselines(session, viewer.project_id, shown)
    end = after + len(shown)
    return EvalView(
        run=EvalRunDetail(
            **dict(view),
            metadata=run.meta,
            so_far=so_far,
            paired=paired_rates(pairs_of(row.outcome for row in rows)),
            outcomes={outcome: counts[outcome] for outcome in OUTCOMES},
        ),
        results=shown,
        sort=sort,
        show=show if show in OUTCOMES else None,
        next=end if shown and end + 1 < len(wanted) else None,
    )


def _results(session: Session, eval_run_id: str) -> list[EvalResultView]:
    """All of them, as the client listed the baselines: whatever the order, the page is cut out of the whole."""
    query = (
        select(
            EvalResult.id,
            EvalResult.position,
            EvalResult.baseline_episode_id,
            EvalResult.status,
            EvalResult.metrics,
            EvalResult.candidate_episode_id,
            EvalResult.error,
            EvalResult.updated_at,
        )
        .where(EvalResult.eval_run_id == eval_run_id)
        .order_by(EvalResult.position)
    )
    # Unchecked: they are our own rows, and a run may have 10,000.
    return [
        EvalResultView.model_construct(
            eval_result_id=row.id,
            position=row.position,
            baseline_episode_id=row.baseline_episode_id,
            baseline_exists=False,
            baseline_name=None,
            baseline_failure_time_s=None,
            status=row.status,
            outcome=outcome_of(row.status, row.metrics),
            metrics=row.metrics,
            candidate_episode_id=row.candidate_episode_id,
            error=row.error,
            updated_at=row.updated_at,
        )
        for row in session.execute(query)
    ]


def _add_baselines(session: Session, project_id: int, results: list[EvalResultView]) -> None:
    query = select(Episode.id, Episode.name, Episode.failure_time_s).where(
        Episode.project_id == project_id, Episode.id.in_([result.baseline_episode_id for result in results])
    )
    episodes = {episode_id: (name, at_s) for episode_id, name, at_s in session.execute(query)}
    for result in results:
        if result.baseline_episode_id in episodes:
            result.baseline_exists = True
            result.baseline_name, result.baseline_failure_time_s = episodes[result.baseline_episode_id]


@router.get(_EVALS + "/{eval_run_id}.json")
def eval_json(
    eval_run_id: str,
    request: Request,
    viewer: PageViewer,
    after: After = -1,
    sort: str = "",
    show: str = "",
    limit: Annotated[int, Query(ge=0, le=200)] = 200,
) -> EvalView:
    """One eval run, with the results after a place in their order."""
    asked = {"sort": sort, "show": show}
    return _eval_view(
        get_services(request), viewer, eval_run_id, **asked, after=after, limit=min(limit, _RESULTS_PAGE_SIZE)
    )


@router.get(_EVALS + "/{eval_run_id}")
def eval_page(
    eval_run_id: str, request: Request, viewer: PageViewer, after: After = -1, sort: str = "", show: str = ""
) -> HTMLResponse:
    """One eval run: what it comes to, and what became of each baseline."""
    asked = {"sort": sort, "show": show}
    try:
        view = _eval_view(get_services(request), viewer, eval_run_id, **asked, after=after, limit=_RESULTS_PAGE_SIZE)
    except HTTPException:
        missing = {"what": "eval run", "id": eval_run_id, "home": _EVALS, "home_label": "All eval runs"}
        return page("missing.html", 404, viewer=viewer, **missing)
    url = f"{_EVALS}/{eval_run_id}"
    given = {"show": view.show or "", "sort": view.sort if sort else ""}
    return page(
        "eval.html",
        viewer=viewer,
        run=view.run,
        view=view,
        results=view.results,
        columns=columns_of(url, {"show": given["show"]}, view.sort, _FIRSTS),
        cells=[
            (outcome, count, address(url, {**given, "show": outcome}), outcome == view.show)
            for outcome, count in view.run.outcomes.items()
            if count or outcome in ("broke", "fixed", "both", "neither")
        ],
        all_url=address(url, {**given, "show": ""}),
        first_url=address(url, given) if after >= 0 else None,
        next_url=None if view.next is None else address(url, {**given, "after": str(view.next)}) + "#results",
        json_url=address(f"{url}.json", given),
    )
