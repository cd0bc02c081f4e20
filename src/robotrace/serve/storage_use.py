"""What a project's files come to: by slot, by status, by day."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from pydantic import BaseModel
from sqlalchemy import Date, cast, func, select
from sqlalchemy.orm import Session

from robotrace.serve.models import Artifact, Episode

__all__ = ["DayUse", "KindUse", "StatusUse", "use_by_day", "use_by_kind", "use_by_status"]


class KindUse(BaseModel):
    """The files of a slot; ``kind`` is "cameras" for all further cameras together."""

    kind: str
    files: int
    bytes: int


class StatusUse(BaseModel):
    """The episodes of a status, and what their files come to."""

    status: str
    episodes: int
    bytes: int


class DayUse(BaseModel):
    """The episodes that were created on a day (UTC) and are still there, and what their files come to."""

    day: str
    episodes: int
    bytes: int


def use_by_kind(session: Session, project_id: int) -> list[KindUse]:
    """The largest first."""
    query = (
        select(Artifact.kind, func.count(), func.sum(Artifact.size))
        .join(Episode, Episode.id == Artifact.episode_id)
        .where(Episode.project_id == project_id)
        .group_by(Artifact.kind)
    )
    found: dict[str, KindUse] = {}
    for kind, files, size in session.execute(query):
        name = "cameras" if kind.startswith("video.") else kind
        entry = found.setdefault(name, KindUse(kind=name, files=0, bytes=0))
        entry.files += files
        entry.bytes += int(size)
    return sorted(found.values(), key=lambda entry: -entry.bytes)


def use_by_status(session: Session, project_id: int) -> list[StatusUse]:
    """The largest first."""
    of_project = Episode.project_id == project_id
    counts = select(Episode.status, func.count()).where(of_project).group_by(Episode.status)
    sizes = (
        select(Episode.status, func.sum(Artifact.size))
        .join(Artifact, Artifact.episode_id == Episode.id)
        .where(of_project)
        .group_by(Episode.status)
    )
    bytes_of = {status: int(size) for status, size in session.execute(sizes)}
    found = [
        StatusUse(status=status, episodes=count, bytes=bytes_of.get(status, 0))
        for status, count in session.execute(counts)
    ]
    return sorted(found, key=lambda entry: (-entry.bytes, entry.status))


def use_by_day(session: Session, project_id: int, now: datetime, days: int) -> list[DayUse]:
    """The last days, the oldest first, those without an episode too.

    Args:
        session: One that reads.
        project_id: The project.
        now: The time.
        days: How many, today among them.
    """
    today = now.astimezone(timezone.utc).date()
    dates = [today - timedelta(days=back) for back in reversed(range(days))]
    since = datetime(dates[0].year, dates[0].month, dates[0].day, tzinfo=timezone.utc)
    recent = (Episode.project_id == project_id, Episode.created_at >= since)
    # SQLite keeps UTC as text; PostgreSQL would take the day of the server's own zone.
    sqlite = session.get_bind().dialect.name == "sqlite"
    day = func.date(Episode.created_at) if sqlite else cast(func.timezone("UTC", Episode.created_at), Date)
    counts = {str(key): count for key, count in session.execute(select(day, func.count()).where(*recent).group_by(day))}
    sizes = (
        select(day, func.sum(Artifact.size))
        .join(Artifact, Artifact.episode_id == Episode.id)
        .where(*recent)
        .group_by(day)
    )
    bytes_of = {str(key): int(size) for key, size in session.execute(sizes)}
    return [
        DayUse(day=key, episodes=counts.get(key, 0), bytes=bytes_of.get(key, 0))
        for key in (date.isoformat() for date in dates)
    ]
