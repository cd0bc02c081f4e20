"""Which policies, environments and robots there are, so that nobody has to type a version."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from robotrace.serve.models import Episode

__all__ = ["FilterValues", "filter_values"]

_MOST_POLICIES = 500
# 8 ms; a day of a robot, some minutes of a training.
_NEWEST = 2000
# Of a policy the newest episode says where it ran: reached by the index, whatever came since.
_POLICIES_ASKED = 100


class FilterValues(BaseModel):
    """Values of fields; those of the newest episodes first."""

    policy_version: list[str]
    env_version: list[str]
    robot: list[str]


def filter_values(session: Session, project_id: int) -> FilterValues:
    """Every policy version up to some hundreds; environments and robots of the newest episodes and of each policy.

    Nothing here looks at all the episodes there are: that would take as long as there are many.
    """
    ours = Episode.project_id == project_id
    columns = select(Episode.policy_version, Episode.env_version, Episode.robot)
    newest = columns.where(ours).order_by(Episode.created_at.desc(), Episode.id.desc()).limit(_NEWEST)
    rows = [tuple(row) for row in session.execute(newest)]
    policies = _named([*(row[0] for row in rows), *_every_policy(session, project_id)])[:_MOST_POLICIES]
    recent = {row[0] for row in rows}
    for policy in [policy for policy in policies if policy not in recent][:_POLICIES_ASKED]:
        of_it = columns.where(ours, Episode.policy_version == policy)
        rows += [tuple(row) for row in session.execute(of_it.order_by(Episode.created_at.desc()).limit(1))]
    return FilterValues(
        policy_version=policies, env_version=_named(row[1] for row in rows), robot=_named(row[2] for row in rows)
    )


def _named(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


def _every_policy(session: Session, project_id: int) -> Iterable[str | None]:
    """From one value to the next by the index: as many steps as there are policies, not episodes."""
    smallest = select(func.min(Episode.policy_version)).where(Episode.project_id == project_id)
    steps = select(smallest.scalar_subquery().label("value")).cte("policies", recursive=True)
    after = smallest.where(Episode.policy_version > steps.c.value).correlate(steps).scalar_subquery()
    steps = steps.union_all(select(after).where(steps.c.value.is_not(None)))
    return session.scalars(select(steps.c.value).limit(_MOST_POLICIES))
