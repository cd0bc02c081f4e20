"""The page of the policy versions, and its JSON twin."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from robotrace.serve.candidates import checked_versions
from robotrace.serve.episodes import EpisodeFilter
from robotrace.serve.models import EvalRun
from robotrace.serve.pages import page
from robotrace.serve.policies import PolicySums, sums_by_policy, unnamed_episodes
from robotrace.serve.policy_scope import After, Scope, lenient_scope
from robotrace.serve.portal_rates import Difference, Rate, difference_of, rate_of
from robotrace.serve.portal_tables import address, columns_of, in_order, read_sort
from robotrace.serve.schemas import Utc
from robotrace.serve.services import PageViewer, Services, Viewer, get_services
from robotrace.serve.verify import gates

__all__ = ["PoliciesView", "PolicyView", "router"]

_POLICIES = "/portal/policies"
_PAGE_SIZE = 100
_SOURCES = ("real", "sim", "replay")
router = APIRouter(include_in_schema=False)


class GateStanding(BaseModel):
    """Where a version stands with the gate."""

    passed: bool
    critical_passed: int
    critical_total: int


class LastEval(BaseModel):
    """The newest eval run of a version that has ended."""

    eval_run_id: str
    recommend: str
    success_delta: float | None
    pairs: int
    created_at: Utc


class PolicyView(BaseModel):
    """A policy version: what its episodes come to. ``difference`` is to the reference that was asked for."""

    policy_version: str
    episodes: int
    successes: int
    failures: int
    unknown: int
    unknown_failed: int
    recording: int
    success_rate: Rate | None
    difference: Difference | None
    returns: int
    return_mean: float | None
    return_sd: float | None
    env_versions: list[str]
    git_shas: list[str]
    first_seen: Utc
    last_seen: Utc
    gate: GateStanding | None
    last_eval: LastEval | None


class PoliciesView(BaseModel):
    """A part of the policy versions; ``unnamed`` counts the episodes that name none."""

    policies: list[PolicyView]
    total: int
    next: int | None
    sort: str
    reference: PolicyView | None
    unnamed: int


def _natural(text: str) -> list[Any]:
    """A key that sorts PPO@20000 before PPO@100000."""
    parts = re.split(r"([0-9]+)", text.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


_KEYS: dict[str, Callable[[PolicyView], Any]] = {
    "policy": lambda row: _natural(row.policy_version),
    "rate": lambda row: None if row.success_rate is None else (row.success_rate.rate, row.success_rate.total),
    "episodes": lambda row: row.episodes,
    "difference": lambda row: None if row.difference is None else row.difference.delta,
    "return": lambda row: row.return_mean,
    "last_seen": lambda row: row.last_seen,
}
_FIRSTS = {name: name if name == "policy" else f"-{name}" for name in _KEYS}


def _policies_view(
    services: Services,
    viewer: Viewer,
    filters: EpisodeFilter,
    *,
    policy: str = "",
    reference: str = "",
    sort: str = "",
    after: int = 0,
) -> PoliciesView:
    sort = read_sort(sort, _KEYS, "-last_seen")
    with services.database.read() as session:
        sums = sums_by_policy(session, viewer.project_id, filters)
        compared = sums.get(reference)
        rate = None if compared is None else rate_of(compared.successes, compared.known)
        rows = [
            _policy_view(found, None if found is compared else rate)
            for version, found in sums.items()
            if policy.lower() in version.lower()
        ]
        rows = in_order(sorted(rows, key=lambda row: row.policy_version), sort, _KEYS)
        shown = rows[after : after + _PAGE_SIZE]
        _add_verdicts(session, viewer.project_id, {row.policy_version: row for row in shown})
        unnamed = unnamed_episodes(session, viewer.project_id, filters)
    return PoliciesView(
        policies=shown,
        total=len(rows),
        next=after + _PAGE_SIZE if len(rows) > after + _PAGE_SIZE else None,
        sort=sort,
        reference=None if compared is None else _policy_view(compared, None),
        unnamed=unnamed,
    )


def _policy_view(sums: PolicySums, reference: Rate | None) -> PolicyView:
    rate = rate_of(sums.successes, sums.known)
    return PolicyView(
        policy_version=sums.policy_version,
        episodes=sums.episodes,
        successes=sums.successes,
        failures=sums.failures,
        unknown=sums.unknown,
        unknown_failed=sums.unknown_failed,
        recording=sums.recording,
        success_rate=rate,
        difference=difference_of(rate, reference),
        returns=sums.returns,
        return_mean=sums.mean_return,
        return_sd=sums.return_sd,
        env_versions=sums.env_versions,
        git_shas=sums.git_shas,
        first_seen=sums.first_seen,
        last_seen=sums.last_seen,
        gate=None,
        last_eval=None,
    )


def _add_verdicts(session: Session, project_id: int, rows: Mapping[str, PolicyView]) -> None:
    for version, gate in gates(session, project_id, checked_versions(session, project_id, rows)).items():
        rows[version].gate = GateStanding(
            passed=gate.passed, critical_passed=gate.critical_passed, critical_total=gate.critical_total
        )
    ended = (EvalRun.project_id == project_id, EvalRun.candidate_policy_version.in_(rows), EvalRun.summary.is_not(None))
    newest = (
        select(EvalRun.candidate_policy_version.label("version"), func.max(EvalRun.created_at).label("moment"))
        .where(*ended)
        .group_by(EvalRun.candidate_policy_version)
        .subquery()
    )
    query = select(EvalRun).where(
        *ended, EvalRun.candidate_policy_version == newest.c.version, EvalRun.created_at == newest.c.moment
    )
    for run in session.scalars(query):
        assert run.summary is not None  # the query says so
        rows[run.candidate_policy_version].last_eval = LastEval(
            eval_run_id=run.id,
            recommend=run.summary["recommend"],
            success_delta=run.summary["success_rate"]["delta"],
            pairs=run.summary["success_rate"]["pairs"],
            created_at=run.created_at,
        )


@router.get(_POLICIES + ".json")
def policies_json(
    request: Request,
    viewer: PageViewer,
    filters: Scope,
    policy: str = "",
    reference: str = "",
    sort: str = "",
    after: After = 0,
) -> PoliciesView:
    """The policy versions."""
    asked = {"policy": policy.strip(), "reference": reference.strip(), "sort": sort}
    return _policies_view(get_services(request), viewer, filters, **asked, after=after)


@router.get(_POLICIES)
def policies_page(
    request: Request, viewer: PageViewer, policy: str = "", reference: str = "", sort: str = "", after: After = 0
) -> HTMLResponse:
    """The same to look at, on one axis."""
    typed, filters, kept, error = lenient_scope(request)
    asked = {"policy": policy.strip(), "reference": reference.strip()}
    view = _policies_view(get_services(request), viewer, filters, **asked, sort=sort, after=after)
    given = {**kept, **asked}
    here = {**given, "sort": view.sort}
    return page(
        "policies.html",
        viewer=viewer,
        view=view,
        filters={name: text for name, text in {**typed, **asked}.items() if text},
        filter_error=error,
        reference_missing=bool(asked["reference"]) and view.reference is None,
        sources=_SOURCES,
        columns=columns_of(_POLICIES, given, view.sort, _FIRSTS),
        reference_url=lambda version: address(_POLICIES, {**here, "reference": version}),
        episodes_url=lambda version: address("/portal/episodes", {**kept, "policy_version": version}),
        pairs_url=lambda version: address(f"{_POLICIES}/pairs", {"a": asked["reference"], "b": version, **kept}),
        first_url=address(_POLICIES, here) if after else None,
        next_url=address(_POLICIES, {**here, "after": str(view.next)}) if view.next else None,
        json_url=address(f"{_POLICIES}.json", here),
    )
