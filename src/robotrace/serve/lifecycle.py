"""How an episode leaves: archived and brought back, deleted, or given up on when nothing comes any more.

A deletion takes the rows and notes the objects (``doomed_objects``) in one transaction; the objects go afterwards, by
:func:`sweep`. Killed in between, the next start finds the notes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, exists, select, update
from sqlalchemy.orm import Session

from robotrace.serve.artifacts import UPLOAD_LIFETIME, artifact_key, split_artifact_key
from robotrace.serve.episodes import artifact_of
from robotrace.serve.models import Artifact, DeletedEpisode, DoomedObject, Episode, Scenario
from robotrace.serve.schemas import KINDS, iso
from robotrace.serve.services import Services

__all__ = ["BASELINE", "archive", "delete_episodes", "reap", "restore", "sweep", "unreap"]

_logger = logging.getLogger(__name__)

BASELINE = exists().where(Scenario.baseline_episode_id == Episode.id)
"""A condition of a query of episodes: a scenario is checked against it."""
_BATCH = 200
# A PUT that began while its URL was good may take longer; by then it has nowhere to go.
_LAST_UPLOAD = UPLOAD_LIFETIME + timedelta(hours=1)
_REAPED = "reaped"
_NO_FINALIZE = "no finalize came"


def archive(episode: Episode, now: datetime) -> bool:
    """Take an episode out of the lists; returns whether it was in them."""
    if episode.status == "archived":
        return False
    episode.archived_from, episode.archived_at = episode.status, now
    episode.status = "archived"
    episode.updated_at = now
    return True


def restore(episode: Episode, now: datetime) -> bool:
    """Give an archived episode its status back; returns whether it was archived."""
    if episode.status != "archived":
        return False
    # One from before this was noted ended in some way.
    episode.status = episode.archived_from or "ready"
    episode.archived_from = episode.archived_at = None
    episode.updated_at = now
    return True


def delete_episodes(session: Session, episodes: Iterable[Episode], now: datetime) -> None:
    """Delete rows, and note which objects are to follow; scenarios and verdicts of these episodes go, too.

    Args:
        session: One that writes.
        episodes: Of this session.
        now: The time.
    """
    for episode in episodes:
        keys = {artifact.object_key for artifact in episode.artifacts}
        kinds = {*KINDS, *episode.requested_uploads, *(artifact.kind for artifact in episode.artifacts)}
        keys.update(artifact_key(episode.id, kind) for kind in kinds)
        session.add_all(DoomedObject(object_key=key, since=now) for key in sorted(keys))
        if episode.idempotency_key is not None:
            session.add(
                DeletedEpisode(
                    project_id=episode.project_id,
                    idempotency_key=episode.idempotency_key,
                    episode_id=episode.id,
                    deleted_at=now,
                )
            )
        session.delete(episode)
    session.flush()


def sweep(services: Services, now: datetime) -> int:
    """Delete the objects of deleted episodes, and those that a signed URL has brought back.

    Args:
        services: The deployment's.
        now: The time.

    Returns:
        How many objects went.

    Raises:
        Exception: What the store raises; the rest is for the next time.
    """
    swept = 0
    while True:
        with services.database.read() as session:
            query = (
                select(DoomedObject.object_key).where(_FRESH | _over(now)).order_by(DoomedObject.since).limit(_BATCH)
            )
            keys = list(session.scalars(query))
            named = set(session.scalars(select(Artifact.object_key).where(Artifact.object_key.in_(keys))))
            slots = {key: slot for key in keys if (slot := split_artifact_key(key)) is not None}
            named.update(key for key, slot in slots.items() if artifact_of(session, *slot) is not None)
        if not keys:
            return swept
        done = list(named)
        try:
            for key in keys:
                if key not in named:
                    (services.store.empty if key in slots else services.store.delete)(key)
                    services.cameras.forget(key)
                    services.thumbnails.forget(key)
                    done.append(key)
                    swept += 1
        finally:
            _note_swept(services, done, named, now)


_FRESH = DoomedObject.swept_at.is_(None)


def _over(now: datetime) -> ColumnElement[bool]:
    """No URL is left that could bring the object back again."""
    return ~_FRESH & (DoomedObject.since < now - _LAST_UPLOAD)


def _note_swept(services: Services, keys: Iterable[str], named: Iterable[str], now: datetime) -> None:
    these = DoomedObject.object_key.in_(list(keys))
    with services.database.write() as session:
        session.execute(delete(DoomedObject).where(these, _over(now) | DoomedObject.object_key.in_(list(named))))
        session.execute(update(DoomedObject).where(these, _FRESH).values(swept_at=now))


def reap(services: Services, now: datetime, after: timedelta) -> int:
    """Count as failed what is "recording" and has had nothing arrive for a long time; returns how many.

    Args:
        services: The deployment's.
        now: The time.
        after: How long.
    """
    reaped = 0
    limit = now - after
    arriving = exists().where(Artifact.episode_id == Episode.id, Artifact.stored_at >= limit)
    query = (
        select(Episode)
        .where(Episode.status == "recording", Episode.created_at < limit, Episode.updated_at < limit, ~arriving)
        .limit(_BATCH)
    )
    while True:
        # Nearly always there is none, and nobody has to wait for a write lock to learn that.
        with services.database.read() as session:
            if session.scalars(query.limit(1)).first() is None:
                return reaped
        with services.database.write() as session:
            episodes = list(session.scalars(query))
            for episode in episodes:
                _give_up(episode, now, after)
        reaped += len(episodes)


def _give_up(episode: Episode, now: datetime, after: timedelta) -> None:
    episode.status = "failed"
    episode.reaped_at = episode.updated_at = now
    reason = f"{_NO_FINALIZE} for {_in_words(after)}: the recording or its upload has ended without one"
    note = {"at": iso(now), "after_s": after.total_seconds()}
    episode.meta = {"failure_reason": reason, **episode.meta, _REAPED: note}
    if episode.failure_reason is None:
        episode.failure_reason = reason


def unreap(episode: Episode) -> None:
    """A finalize has come after all: forget what :func:`reap` said about it."""
    if episode.reaped_at is None:
        return
    episode.reaped_at = None
    meta = {name: value for name, value in episode.meta.items() if name != _REAPED}
    if str(meta.get("failure_reason", "")).startswith(_NO_FINALIZE):
        del meta["failure_reason"]
        episode.failure_reason = None
    episode.meta = meta


def _in_words(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
