"""Which candidates were verified, and in which order."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from robotrace.serve.models import Scenario, ScenarioResult

__all__ = ["candidate_before", "checked_versions", "recent_candidates"]


def recent_candidates(session: Session, project_id: int, limit: int) -> list[str]:
    """The candidates that were verified last, the latest first."""
    return list(session.scalars(_by_latest_result(project_id).limit(limit)))


def candidate_before(session: Session, project_id: int, candidate: str) -> str | None:
    """The candidate that was verified before this one; of one without a result, the latest there is."""
    latest = session.scalar(
        select(func.max(ScenarioResult.sequence))
        .join(Scenario, Scenario.id == ScenarioResult.scenario_id)
        .where(Scenario.project_id == project_id, ScenarioResult.candidate_policy_version == candidate)
    )
    query = _by_latest_result(project_id)
    if latest is not None:
        query = query.having(func.max(ScenarioResult.sequence) < latest)
    return session.scalar(query.limit(1))


def _by_latest_result(project_id: int) -> Select[str]:
    return (
        select(ScenarioResult.candidate_policy_version)
        .join(Scenario, Scenario.id == ScenarioResult.scenario_id)
        .where(Scenario.project_id == project_id)
        .group_by(ScenarioResult.candidate_policy_version)
        .order_by(func.max(ScenarioResult.sequence).desc())
    )


def checked_versions(session: Session, project_id: int, versions: Collection[str]) -> list[str]:
    """Which of these versions have a result of a scenario of the project."""
    query = (
        select(ScenarioResult.candidate_policy_version)
        .join(Scenario, Scenario.id == ScenarioResult.scenario_id)
        .where(Scenario.project_id == project_id, ScenarioResult.candidate_policy_version.in_(versions))
        .distinct()
    )
    return list(session.scalars(query))
