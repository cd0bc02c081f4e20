"""Giving a file its place in a slot of an episode, whoever brings it and however it comes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from sqlalchemy.orm import Session

from robotrace.serve.artifacts import (
    MAX_SIZE,
    artifact_key,
    content_type,
    episode_folder,
    file_name,
    slot_order,
    split_artifact_key,
)
from robotrace.serve.episodes import artifact_of
from robotrace.serve.models import Artifact, Episode, utc_now
from robotrace.serve.schemas import ArtifactKind
from robotrace.serve.services import Services, get_services
from robotrace.serve.store import ObjectWriter, Staged, StoreError

__all__ = ["collect_arrivals", "collect_first", "keep_artifact", "with_space"]

_T = TypeVar("_T")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# Each reads a whole file; more at once would not be faster, and all together may not take the threads of the requests.
_MAX_COLLECTING = 8


def keep_artifact(
    services: Services,
    episode_id: str,
    kind: ArtifactKind,
    writer: ObjectWriter,
    *,
    content_type: str,
    also: Callable[[Session, Episode], None] | None = None,
) -> None:
    """Put a file that has been written into a slot, and note it in the episode.

    Args:
        services: The deployment's.
        episode_id: The episode.
        kind: The slot.
        writer: Everything was written to it.
        content_type: What reading it is answered with.
        also: Changes the episode in the same transaction; not called when this very file was there already.

    Raises:
        StoreError: 404 when there is no such episode, 409 when it is archived, or finalized with another file in this
            slot, 507 when the disk is full.
    """
    # The slow part first: nobody else can write to the database inside the transaction.
    with_space(writer.flush)
    staged = services.store.stage(artifact_key(episode_id, kind), writer, content_type)
    _keep(services, episode_id, kind, staged, content_type=content_type, also=also)


async def collect_first(episode_id: str, request: Request) -> None:
    """A dependency of routes that work with what has arrived: first collects what was PUT into the bucket.

    A client that hangs up meanwhile stops nothing: its next try finds the work done.
    """
    services, state = get_services(request), request.app.state
    if not services.store.origin:
        return
    if not hasattr(state, "collecting"):  # made here, on the loop it belongs to
        state.collecting = CapacityLimiter(_MAX_COLLECTING)
    project_id = request.state.caller.project_id  # its key was checked before
    await to_thread.run_sync(collect_arrivals, services, episode_id, project_id, limiter=state.collecting)


def collect_arrivals(services: Services, episode_id: str, project_id: int | None = None) -> None:
    """Give the files that were PUT past this deployment their slots; none are taken by an episode that is archived.

    Args:
        services: The deployment's.
        episode_id: The episode.
        project_id: What it has to be of; None: of any.

    Raises:
        StoreError: 413 for a file that is too large, 503 when the bucket does not answer.
    """
    folder = episode_folder(episode_id)
    with services.database.read() as session:
        episode = session.get(Episode, episode_id)
        if episode is None or episode.status == "archived" or project_id not in (None, episode.project_id):
            return
    if not services.store.waiting(folder):
        return
    with services.database.exclusive(folder):
        # Again, since who held the lock may have done it; in the order of slots: video, sensors, actions.
        waiting = ((key, split_artifact_key(key)) for key in services.store.waiting(folder))
        slots = [(key, *slot) for key, slot in waiting if slot is not None]
        for key, _, kind in sorted(slots, key=lambda each: slot_order(each[2])):
            _collect(services, key, episode_id, kind)


def _collect(services: Services, key: str, episode_id: str, kind: ArtifactKind) -> None:
    with services.database.read() as session:
        episode, artifact = session.get(Episode, episode_id), artifact_of(session, episode_id, kind)
        closed = episode is None or not episode.is_open
        kept = artifact.object_key if artifact is not None and closed else None
    if kept is None or services.store.size(kept) is None:
        staged = services.store.collect(key, MAX_SIZE)
        if staged is None:
            return
        try:
            kept = _keep(services, episode_id, kind, staged, content_type=content_type(kind))
        except StoreError as error:
            if error.status_code != 409:
                raise
            return  # it was closed meanwhile; what the client claims decides
    services.store.collected(key, kept)


def _lost(services: Services, episode_id: str, kind: ArtifactKind) -> str | None:
    """The key of the file that a slot should have and the store has not; None when it has it, or the slot is empty."""
    with services.database.read() as session:
        artifact = artifact_of(session, episode_id, kind)
        key = None if artifact is None else artifact.object_key
    return key if key is not None and services.store.size(key) is None else None


def _keep(
    services: Services,
    episode_id: str,
    kind: ArtifactKind,
    staged: Staged,
    *,
    content_type: str,
    also: Callable[[Session, Episode], None] | None = None,
) -> str:
    """See :func:`keep_artifact`; returns the key of the file that is in the slot then."""
    replaced = None
    try:
        lost = _lost(services, episode_id, kind)
        with services.database.write() as session:
            episode = session.get(Episode, episode_id)
            if episode is None:
                raise StoreError(404, "there is no such episode")
            if episode.status == "archived":
                raise StoreError(409, "the episode is archived")
            artifact = artifact_of(session, episode_id, kind)
            if artifact is not None and artifact.object_key != lost and not episode.is_open:
                if artifact.sha256 != staged.sha256:
                    raise StoreError(409, f"the episode is {episode.status}: its {kind} cannot be replaced")
                staged.discard()
                return artifact.object_key
            if artifact is None:
                artifact = Artifact(episode_id=episode_id, kind=kind)
                session.add(artifact)
            elif artifact.object_key != staged.key:
                replaced = artifact.object_key
            artifact.object_key = staged.key
            artifact.file_name = file_name(kind, staged.head)
            artifact.content_type = content_type
            artifact.size = staged.size
            artifact.sha256 = staged.sha256
            artifact.stored_at = utc_now()
            if also is not None:
                also(session, episode)
            session.flush()
            with_space(staged.commit)
    except BaseException:
        staged.discard()
        raise
    staged.settle()
    if replaced is not None:
        services.store.delete(replaced)
    return staged.key


def with_space(action: Callable[[], _T]) -> _T:
    """Do something that writes to the disk of the store.

    Raises:
        StoreError: 507 when that is full.
    """
    try:
        return action()
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StoreError(507, "the disk of the deployment is full") from error
        raise
