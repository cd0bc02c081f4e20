"""The list of the eval runs, and its JSON twin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from robotrace.serve.episodes import episode_filter
from robotrace.serve.evals import counts_of
from robotrace.serve.keyset import after_cursor, cursor_of
from robotrace.serve.models import EvalRun
from robotrace.serve.pages import page
from robotrace.serve.portal_rates import Rate, rate_of
from robotrace.serve.portal_tables import address, read_leniently, typed_fields
from robotrace.serve.schemas import Utc
from robotrace.serve.schemas_evals import EvalSummary
from robotrace.serve.services import PageViewer, Services, Viewer, get_services

__all__ = ["EvalFilter", "EvalList", "EvalRunView", "router", "run_views"]

_EVALS = "/portal/evals"
_PAGE_SIZE = 50
_STATUSES = ("pending", "running", "completed", "failed", "cancelled")
_FIELDS = ("policy", "status", "created_after", "created_before")

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
        runs = run_views(session, rows)
    return EvalList(runs=runs, next=cursor_of(rows[-1].created_at, rows[-1].id) if more else None)


def run_views(session: Session, runs: list[EvalRun]) -> list[EvalRunView]:
    """Runs as the list has them."""
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
    if "\0" in policy:  # PostgreSQL has no such text
        raise HTTPException(400, "policy: no NUL")
    read = episode_filter(created_after=created_after, created_before=created_before)
    return EvalFilter(
        policy=policy.strip() or None,
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


@router.get(_EVALS)
def evals_page(request: Request, viewer: PageViewer, cursor: str = "") -> Response:
    """The eval runs, newest first, filtered by what the address says."""
    typed = typed_fields(request, _FIELDS)
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
