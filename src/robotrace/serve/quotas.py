"""What a project may hold and for how long; and what it holds."""

from __future__ import annotations

from datetime import datetime, timedelta

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from robotrace.errors import ConfigurationError
from robotrace.serve.audit import Actor, audit
from robotrace.serve.lifecycle import BASELINE, delete_episodes
from robotrace.serve.models import Episode, Project
from robotrace.serve.services import ApiCaller, Services, get_services, require_key
from robotrace.serve.usage import read_usage

__all__ = ["Storage", "expire", "over_quota", "read_limits", "router", "set_limits", "storage_of"]

router = APIRouter(prefix="/api", dependencies=[Depends(require_key)])

_RETRY_AFTER_S = 10
"""A synchronous client tries four times, then tells its user; an uploader keeps the episode and goes on asking."""
_BATCH = 100


def over_quota(services: Services, project_id: int) -> HTTPException | None:
    """What refuses one more episode where the project is full.

    Returns:
        A 429 with ``Retry-After``: an uploader keeps what it has, and asks again.
    """
    with services.database.read() as session:
        project = session.get_one(Project, project_id)
        slug, most, largest = project.slug, project.quota_episodes, project.quota_bytes
    if most is None and largest is None:
        return None
    usage = services.usage.usage(services.database, project_id)
    for name, held, quota in (("episodes", usage.episodes, most), ("bytes", usage.bytes, largest)):
        if quota is not None and held >= quota:
            text = f"project {slug} is full: it holds {held} {name} of {quota}; delete some, or raise its quota"
            return HTTPException(429, text, headers={"Retry-After": str(_RETRY_AFTER_S)})
    return None


def expire(services: Services, now: datetime) -> int:
    """Delete what is older than its project keeps things, but no baseline of a scenario; returns how many episodes.

    Args:
        services: The deployment's.
        now: The time.
    """
    kept_for = (Project.retain_ready_days, Project.retain_failed_days, Project.retain_archived_days)
    with services.database.read() as session:
        query = select(Project).where(or_(*(days.is_not(None) for days in kept_for)))
        rules = [
            (project.id, status, age, days)
            for project in session.scalars(query)
            for status, age, days in (
                ("ready", Episode.created_at, project.retain_ready_days),
                ("failed", Episode.created_at, project.retain_failed_days),
                ("archived", Episode.archived_at, project.retain_archived_days),
            )
            if days is not None
        ]
    expired = 0
    for project_id, status, age, days in rules:
        query_old = (
            select(Episode)
            .where(
                Episode.project_id == project_id, Episode.status == status, age < now - timedelta(days=days), ~BASELINE
            )
            .order_by(Episode.created_at)
            .limit(_BATCH)
        )
        while True:
            with services.database.read() as session:
                if session.scalars(query_old.limit(1)).first() is None:
                    break
            with services.database.write() as session:
                episodes = list(session.scalars(query_old))
                for episode in episodes:
                    audit(session, Actor(project_id, "retention"), "episode.deleted", episode.id, after_days=days)
                delete_episodes(session, episodes, now)
            expired += len(episodes)
    return expired


_LIMITS = ("quota_bytes", "quota_episodes", "retain_ready_days", "retain_failed_days", "retain_archived_days")


def read_limits(session: Session, slug: str) -> dict[str, int | None]:
    """The limits of a project, by the names of their columns.

    Raises:
        ConfigurationError: There is no such project.
    """
    project = session.scalar(select(Project).where(Project.slug == slug))
    if project is None:
        raise ConfigurationError(f"there is no project {slug}")
    return {name: getattr(project, name) for name in _LIMITS}


def set_limits(session: Session, slug: str, limits: dict[str, int | None]) -> dict[str, int | None]:
    """Change some limits of a project; returns all of them.

    Raises:
        ConfigurationError: There is no such project.
    """
    read_limits(session, slug)
    project = session.scalars(select(Project).where(Project.slug == slug)).one()
    for name, value in limits.items():
        setattr(project, name, value)
    # None is a change, too, which the log would leave out.
    audit(session, Actor(project.id, "command line"), "project.limited", slug, limits=limits)
    return read_limits(session, slug)


class Retention(BaseModel):
    """For how many days episodes of a status are kept; null: for ever."""

    ready_days: int | None
    failed_days: int | None
    archived_days: int | None


class Storage(BaseModel):
    """``GET /api/storage``: what the project of the key holds, and may hold."""

    project: str
    episodes: int
    episodes_by_status: dict[str, int]
    bytes: int
    quota_episodes: int | None
    quota_bytes: int | None
    retention: Retention


def storage_of(session: Session, project_id: int) -> Storage:
    """What a project holds now, its quotas and how long things are kept."""
    project = session.get_one(Project, project_id)
    counts = select(Episode.status, func.count()).where(Episode.project_id == project.id).group_by(Episode.status)
    usage = read_usage(session, project.id)
    return Storage(
        project=project.slug,
        episodes=usage.episodes,
        episodes_by_status={row[0]: row[1] for row in session.execute(counts)},
        bytes=usage.bytes,
        quota_episodes=project.quota_episodes,
        quota_bytes=project.quota_bytes,
        retention=Retention(
            ready_days=project.retain_ready_days,
            failed_days=project.retain_failed_days,
            archived_days=project.retain_archived_days,
        ),
    )


@router.get("/storage")
def read_storage(request: Request, caller: ApiCaller) -> Storage:
    """What the project of the key holds now, its quotas and how long things are kept."""
    with get_services(request).database.read() as session:
        return storage_of(session, caller.project_id)
