"""The episodes before and after one: of the same policy version, in the order of the list."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy import literal, select, tuple_
from sqlalchemy.orm import Session

from robotrace.serve.models import Episode, UtcDateTime

__all__ = ["Neighbour", "Neighbours", "neighbours"]


class Neighbour(BaseModel):
    """Another episode."""

    id: str
    name: str | None


class Neighbours(BaseModel):
    """None where there is none; those that are archived are passed over."""

    older: Neighbour | None
    newer: Neighbour | None


def neighbours(session: Session, episode: Episode) -> Neighbours:
    """Those of an episode.

    Two steps along the index by policy version and time; episodes of no policy version are among themselves.
    """
    place = tuple_(Episode.created_at, Episode.id)
    here = tuple_(literal(episode.created_at, UtcDateTime), literal(episode.id))
    query = (
        select(Episode.id, Episode.name)
        .where(
            Episode.project_id == episode.project_id,
            Episode.policy_version == episode.policy_version
            if episode.policy_version is not None
            else Episode.policy_version.is_(None),
            Episode.status != "archived",
        )
        .limit(1)
    )
    older = session.execute(
        query.where(place < here).order_by(Episode.created_at.desc(), Episode.id.desc())
    ).one_or_none()
    newer = session.execute(query.where(place > here).order_by(Episode.created_at, Episode.id)).one_or_none()
    return Neighbours(
        older=None if older is None else Neighbour(id=older.id, name=older.name),
        newer=None if newer is None else Neighbour(id=newer.id, name=newer.name),
    )
