"""The cameras of an episode: when each of their frames is shown, read once and kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, defer, undefer

from robotrace.serve.artifacts import is_video, slot_order
from robotrace.serve.frame_times import FrameTimes, VideoError, read_tracks
from robotrace.serve.models import Artifact, Episode, VideoIndex
from robotrace.serve.services import Services
from robotrace.serve.store import StoreError

__all__ = ["camera_key", "camera_names", "ensure_video_index", "ensure_video_indexes", "find_camera"]

_logger = logging.getLogger(__name__)


def ensure_video_indexes(services: Services, episode_id: str) -> list[VideoIndex]:
    """The stored cameras of an episode, read from the files where they are missing or of an older file.

    Returns:
        In the order of the slots, then of the tracks, without their ``times_ms``. What cannot be read is missing;
        never an exception for a file's sake.
    """
    with services.database.read() as session:
        videos = [artifact for artifact in _artifacts(session, episode_id) if is_video(artifact.kind)]
        stored = _indexes(session, episode_id)
        session.expunge_all()
    # All tracks of a file are written at once: where one is there, all are.
    known = {(index.kind, index.sha256) for index in stored}
    missing = [artifact for artifact in videos if (artifact.kind, artifact.sha256) not in known]
    if missing:
        read = {artifact: _read(services, artifact) for artifact in missing}
        with services.database.write() as session:
            for artifact, tracks in read.items():
                _store(session, artifact, tracks)
        with services.database.read() as session:
            stored = _indexes(session, episode_id)
            session.expunge_all()
    current = {artifact.kind: artifact.sha256 for artifact in videos}
    return [index for index in stored if current.get(index.kind) == index.sha256]


def ensure_video_index(services: Services, episode_id: str) -> VideoIndex | None:
    """The first camera of the slot ``video``; None when it has none, or none that can be read."""
    return next((index for index in ensure_video_indexes(services, episode_id) if index.kind == "video"), None)


def find_camera(services: Services, episode_id: str, key: str) -> VideoIndex | None:
    """One camera with its ``times_ms``; the first one for an empty key, None when there is none of it."""
    indexes = ensure_video_indexes(services, episode_id)
    found = next((index for index in indexes if key in ("", camera_key(index))), None)
    if found is None:
        return None
    with services.database.read() as session:
        whole = session.get(VideoIndex, (episode_id, found.kind, found.track), options=[undefer(VideoIndex.times_ms)])
        session.expunge_all()
        return whole


def camera_key(index: VideoIndex) -> str:
    """What an address calls a camera: its slot, with the track where it is not the first."""
    return index.kind if index.track == 0 else f"{index.kind}:{index.track}"


def camera_names(indexes: Sequence[VideoIndex]) -> list[str]:
    """What people call the cameras: the slot's camera, or the track's own name; each one once."""
    names: list[str] = []
    for index in indexes:
        slot = index.kind.partition(".")[2]
        several = sum(other.kind == index.kind for other in indexes) > 1
        name = slot or index.name or ("video" if not several else f"camera {index.track + 1}")
        if slot and several:
            name = f"{slot} {index.name or index.track + 1}"
        names.append(name if name not in names else f"{name} ({camera_key(index)})")
    return names


def _artifacts(session: Session, episode_id: str) -> Sequence[Artifact]:
    return session.scalars(select(Artifact).where(Artifact.episode_id == episode_id)).all()


def _indexes(session: Session, episode_id: str) -> list[VideoIndex]:
    # An hour of six cameras has 5 MB of times, and those who list cameras need none of them.
    query = select(VideoIndex).where(VideoIndex.episode_id == episode_id).options(defer(VideoIndex.times_ms))
    return sorted(session.scalars(query), key=lambda index: (slot_order(index.kind), index.track))


def _read(services: Services, artifact: Artifact) -> list[FrameTimes]:
    try:
        with services.store.local_file(artifact.object_key) as path:
            return read_tracks(path)
    except (VideoError, StoreError) as error:
        _logger.warning("%s of episode %s has no frame times: %s", artifact.kind, artifact.episode_id, error)
        return []


def _store(session: Session, artifact: Artifact, tracks: Sequence[FrameTimes]) -> None:
    if session.get(Episode, artifact.episode_id) is None:  # deleted meanwhile
        return
    slot = VideoIndex.episode_id == artifact.episode_id, VideoIndex.kind == artifact.kind
    session.execute(delete(VideoIndex).where(*slot))
    session.add_all(
        VideoIndex(
            episode_id=artifact.episode_id,
            kind=artifact.kind,
            track=frames.track,
            name=frames.name,
            sha256=artifact.sha256,
            width=frames.width,
            height=frames.height,
            frame_count=len(frames.times_ms) - 1,
            end_ms=float(frames.times_ms[-1]),
            times_ms=frames.times_ms.astype("<f8").tobytes(),
        )
        for frames in tracks
    )
