"""The frame times of an episode's video, read once and kept."""

from __future__ import annotations

import logging

from robotrace.serve.episodes import artifact_of
from robotrace.serve.frame_times import VideoError, read_frame_times
from robotrace.serve.models import VideoIndex
from robotrace.serve.services import Services
from robotrace.serve.store import StoreError

__all__ = ["ensure_video_index"]

_logger = logging.getLogger(__name__)


def ensure_video_index(services: Services, episode_id: str) -> VideoIndex | None:
    """The stored frame times of an episode's video, read from the file when they are missing or of an older file.

    Returns:
        None when the episode has no video, or one that cannot be read; never an exception for the file's sake.
    """
    with services.database.read() as session:
        artifact = artifact_of(session, episode_id, "video")
        if artifact is None:
            return None
        index = session.get(VideoIndex, (episode_id, "video", 0))
        if index is not None and index.sha256 == artifact.sha256:
            session.expunge(index)
            return index
        key, sha256 = artifact.object_key, artifact.sha256
    try:
        with services.store.local_file(key) as path:
            frames = read_frame_times(path)
    except (VideoError, StoreError) as error:
        _logger.warning("the video of episode %s has no frame times: %s", episode_id, error)
        return None
    index = VideoIndex(
        episode_id=episode_id,
        kind="video",
        track=0,
        name="",
        sha256=sha256,
        width=frames.width,
        height=frames.height,
        frame_count=len(frames.times_ms) - 1,
        end_ms=float(frames.times_ms[-1]),
        times_ms=frames.times_ms.astype("<f8").tobytes(),
    )
    with services.database.write() as session:
        stored = session.merge(index)
        session.flush()
        session.expunge(stored)
        return stored
