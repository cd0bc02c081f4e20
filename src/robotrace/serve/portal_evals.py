"""The pages of the eval runs, and their JSON twins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from robotrace.serve.episodes import episode_filter
from robotrace.serve.eval_outcomes import ORDER, OUTCOMES, Outcome, change_of, outcome_of, pairs_of
from robotrace.serve.evals import counts_of, run_or_404, summary_of
from robotrace.serve.keyset import after_cursor, cursor_of
from robotrace.serve.models import Episode, EvalResult, EvalRun
from robotrace.serve.pages import page
from robotrace.serve.portal_rates import PairedRates, Rate, paired_rates, rate_of
from robotrace.serve.portal_tables import address, columns_of, in_order, read_leniently, read_sort
from robotrace.serve.schemas import Utc
from robotrace.serve.schemas_evals import EvalSummary
from robotrace.serve.services import PageViewer, Services, Viewer, get_services
from robotrace.serve.values import finite

__all__ = ["EvalFilter", "EvalList", "EvalResultView", "EvalRunDetail", "EvalRunView", "EvalView", "router"]

_EVALS = "/portal/evals"
_PAGE_SIZE = 50
_RESULTS_PAGE_SIZE = 200
_STATUSES = ("pending", "running", "completed", "failed", "cancelled")
_FIELDS = ("policy", "status", "created_after", "created_before")

After = Annotated[int, Query(ge=-1, lt=2**63)]

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class EvalFilter:
    """Which eval runs to list; None lets every value pass.

    Args:
        policy: A part of the candidate's or the baseline's version, in any case.
        status: The status.
        created_after: Not older.
        created_before: Older.
    """

    policy: str | None = None
    status: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class EvalRunView(BaseModel):
    """An eval run in the list; ``summary`` is None until the run is finalized.

    The rates are of the baselines of which both outcomes are known.
    """

    eval_run_id: str
    name: str | None
    status: str
    candidate_policy_version: str
    baseline_policy_version: str | None
    episode_count: int
    episodes_completed: int
    episodes_failed: int
    summary: EvalSummary | None
    baseline_rate: Rate | None
    candidate_rate: Rate | None
    created_at: Utc
    updated_at: Utc


class EvalList(BaseModel):
    """A page of the list of eval runs, newest first."""

    runs: list[EvalRunView]
    next: str | None


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


def _eval_list(services: Services, viewer: Viewer, filters: EvalFilter, *, limit: int, cursor: str) -> EvalList:
    query = select(EvalRun).where(EvalRun.project_id == viewer.project_id)
    if filters.policy is not None:
        versions = (EvalRun.candidate_policy_version, EvalRun.baseline_policy_version)
        query = query.where(or_(*(version.icontains(filters.policy, autoescape=True) for version in versions)))
    if filters.status is not None:
        query = query.where(EvalRun.status == filters.status)
    if filters.created_after is not None:
        query = query.where(EvalRun.created_at >= filters.created_after)
    if filters.created_before is not None:
        query = query.where(EvalRun.created_at < filters.created_before)
    query = query.order_by(EvalRun.created_at.desc(), EvalRun.id.desc()).limit(limit + 1)
    if cursor:
        query = query.where(after_cursor(EvalRun.created_at, EvalRun.id, cursor))
    with services.database.read() as session:
        rows = list(session.scalars(query))
        more, rows = len(rows) > limit, rows[:limit]
        runs = _run_views(session, rows)
    return EvalList(runs=runs, next=cursor_of(rows[-1].created_at, rows[-1].id) if more else None)


def _eval_view(
    services: Services, viewer: Viewer, eval_run_id: str, *, sort: str, show: str, after: int, limit: int
) -> EvalView:
    sort = read_sort(sort, _KEYS, "outcome")
    with services.database.read() as session:
        run = run_or_404(session, eval_run_id, viewer.project_id)
        (view,) = _run_views(session, [run])
        rows = _results(session, run.id)
        so_far = view.summary or summary_of(session, run.id, "completed")
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
    query = select(EvalResult).where(EvalResult.eval_run_id == eval_run_id).order_by(EvalResult.position)
    # Our own rows need no check; with it, those of 10,000 baselines would take a second more.
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
        for row in session.scalars(query)
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


def _run_views(session: Session, runs: list[EvalRun]) -> list[EvalRunView]:
    counts = counts_of(session, [run.id for run in runs])
    views = []
    for run in runs:
        summary = None if run.summary is None else EvalSummary.model_validate(run.summary)
        views.append(
            EvalRunView(
                eval_run_id=run.id,
                name=run.name,
                status=run.status,
                candidate_policy_version=run.candidate_policy_version,
                baseline_policy_version=run.baseline_policy_version,
                episode_count=counts[run.id].total(),
                episodes_completed=counts[run.id]["complete"],
                episodes_failed=counts[run.id]["failed"],
                summary=summary,
                baseline_rate=_rate(summary, "baseline"),
                candidate_rate=_rate(summary, "candidate"),
                created_at=run.created_at,
                updated_at=run.updated_at,
            )
        )
    return views


def _rate(summary: EvalSummary | None, side: str) -> Rate | None:
    if summary is None or not summary.success_rate.pairs:
        return None
    pairs = summary.success_rate.pairs
    return rate_of(round(getattr(summary.success_rate, side) * pairs), pairs)  # a mean of zeros and ones


def _read_filter(policy: str = "", status: str = "", created_after: str = "", created_before: str = "") -> EvalFilter:
    """Which eval runs to list."""
    read = episode_filter(policy_version=policy, created_after=created_after, created_before=created_before)
    return EvalFilter(
        policy=read.policy_version,
        status=status if status in _STATUSES else None,
        created_after=read.created_after,
        created_before=read.created_before,
    )


@router.get(_EVALS + ".json")
def evals_json(
    request: Request,
    viewer: PageViewer,
    filters: Annotated[EvalFilter, Depends(_read_filter)],
    limit: Annotated[int, Query(ge=1, le=200)] = _PAGE_SIZE,
    cursor: str = "",
) -> EvalList:
    """The list of eval runs."""
    return _eval_list(get_services(request), viewer, filters, limit=limit, cursor=cursor)


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


@router.get(_EVALS)
def evals_page(request: Request, viewer: PageViewer, cursor: str = "") -> Response:
    """The eval runs, newest first, filtered by what the address says."""
    typed = {name: text for name in _FIELDS if (text := request.query_params.get(name, "").strip())}
    filters, _, error = read_leniently(_read_filter, typed)
    newest_url = address(_EVALS, typed)
    try:
        found = _eval_list(get_services(request), viewer, filters, limit=_PAGE_SIZE, cursor=cursor)
    except HTTPException:
        # A cursor cut off on its way through a chat: the newest page is what comes closest.
        return RedirectResponse(newest_url)
    return page(
        "evals.html",
        viewer=viewer,
        runs=found.runs,
        filters=typed,
        filter_error=error,
        statuses=_STATUSES,
        newest_url=newest_url if cursor else None,
        next_url=address(_EVALS, {**typed, "cursor": found.next}) if found.next else None,
        json_url=address(f"{_EVALS}.json", typed),
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
