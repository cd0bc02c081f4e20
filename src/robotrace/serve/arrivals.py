"""Giving a file its place in a slot of an episode, whoever brings it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session

from robotrace.serve.artifacts import artifact_key, file_name
from robotrace.serve.episodes import artifact_of
from robotrace.serve.models import Artifact, Episode, utc_now
from robotrace.serve.schemas import ArtifactKind
from robotrace.serve.services import Services
from robotrace.serve.store import ObjectWriter, StoreError, sync_folder

__all__ = ["keep_artifact", "with_space"]

_T = TypeVar("_T")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


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
    key = artifact_key(episode_id, kind)
    path = services.store.path(key)
    # The slow part first: nobody else can write to the database inside the transaction.
    with_space(writer.flush)
    with services.database.write() as session:
        episode = session.get(Episode, episode_id)
        if episode is None:
            raise StoreError(404, "there is no such episode")
        if episode.status == "archived":
            raise StoreError(409, "the episode is archived")
        artifact = artifact_of(session, episode_id, kind)
        if artifact is not None and not episode.is_open and path.is_file():
            if artifact.sha256 != writer.sha256:
                raise StoreError(409, f"the episode is {episode.status}: its {kind} cannot be replaced")
            return
        if artifact is None:
            artifact = Artifact(episode_id=episode_id, kind=kind, object_key=key)
            session.add(artifact)
        artifact.file_name = file_name(kind, writer.head)
        artifact.content_type = content_type
        artifact.size = writer.size
        artifact.sha256 = writer.sha256
        artifact.stored_at = utc_now()
        if also is not None:
            also(session, episode)
        session.flush()
        with_space(lambda: writer.commit(path))
    sync_folder(path.parent)


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
