"""When each frame of a video is shown.

A nominal frame rate says it wrongly for every second frame a browser is asked for, and for variable-rate video nearly
always; the timestamps in the file are right. They are read once, without decoding.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from robotrace.serve.episodes import artifact_of
from robotrace.serve.models import VideoIndex
from robotrace.serve.services import Services
from robotrace.serve.store import StoreError

__all__ = ["FrameTimes", "VideoError", "ensure_video_index", "read_frame_times"]

_logger = logging.getLogger(__name__)

# Five hours at 100 frames/s, or 16 MB: more is no episode, and must not fill the memory.
_MAX_FRAMES = 2_000_000


class VideoError(Exception):
    """A file in which no frame times can be found."""


@dataclass(frozen=True)
class FrameTimes:
    """The frames of a video.

    Args:
        width: In pixels.
        height: In pixels.
        times_ms: ``(frames + 1,) float64``: the presentation time of each frame, ascending, then the end of the last.
    """

    width: int
    height: int
    times_ms: NDArray[np.float64]


def read_frame_times(path: Path) -> FrameTimes:
    """Demux a video for its presentation times.

    Raises:
        VideoError: It cannot be read, has no frames, or more than we take.
    """
    try:
        with av.open(str(path), mode="r") as container:
            if not container.streams.video:
                raise VideoError("no video stream")
            stream = container.streams.video[0]
            time_base = stream.time_base
            if time_base is None:
                raise VideoError("no time base")
            shown: dict[int, int] = {}
            for packet in container.demux(stream):
                # The last, empty packet flushes a decoder; discarded ones lie before an edit list's start.
                if packet.pts is None or packet.is_discard:
                    continue
                shown[packet.pts] = packet.duration or 0
                if len(shown) > _MAX_FRAMES:
                    raise VideoError(f"more than {_MAX_FRAMES} frames")
            width, height = stream.codec_context.width, stream.codec_context.height
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(str(error)) from error
    if not shown:
        raise VideoError("no frames")
    # Packets come in decoding order; a browser shows them in that of their times.
    pts = np.array(sorted(shown), dtype=np.float64)
    last = shown[int(pts[-1])] or (float(np.median(np.diff(pts))) if len(pts) > 1 else 0.0)
    # Multiplied before it is divided: both are exact below 2^53, and a frame's start is a number people link to.
    times_ms = np.append(pts, pts[-1] + last) * (1000.0 * time_base.numerator) / time_base.denominator
    return FrameTimes(width=width, height=height, times_ms=times_ms)


def ensure_video_index(services: Services, episode_id: str) -> VideoIndex | None:
    """The stored frame times of an episode's video, read from the file when they are missing or of an older file.

    Returns:
        None when the episode has no video, or one that cannot be read; never an exception for the file's sake.
    """
    with services.database.read() as session:
        artifact = artifact_of(session, episode_id, "video")
        if artifact is None:
            return None
        index = session.get(VideoIndex, episode_id)
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
