"""When each frame of a video is shown, by camera.

A nominal frame rate says it wrongly for every second frame a browser is asked for, and for variable-rate video nearly
always; the timestamps in the file are right. They are read without decoding. Needs PyAV and NumPy alone, so that the
command line reads them without a server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from robotrace.serve.video_container import demuxer_of

__all__ = ["MAX_FRAMES", "FrameTimes", "VideoError", "read_frame_times", "read_tracks"]

# Five hours at 100 frames/s, or 16 MB: more is no episode, and must not fill the memory.
MAX_FRAMES = 2_000_000
"""Of a file, all tracks together."""
_MAX_TRACKS = 32
_NAME_LENGTH = 100
# What muxers write where nobody gave a name: "VideoHandler", "GPAC ISO Video Handler", "Core Media Video", …
_NOBODYS_NAME = re.compile(r"video\s*handle|core media|iso media|mainconcept|^vide$", re.IGNORECASE)


class VideoError(Exception):
    """A file in which no frame times can be found."""


@dataclass(frozen=True)
class FrameTimes:
    """The frames of a camera.

    Args:
        track: Its place among the video tracks of the file.
        name: What the file calls the track; empty where it does not.
        width: In pixels.
        height: In pixels.
        times_ms: ``(frames + 1,) float64``: the presentation time of each frame, ascending, then the end of the last.
    """

    track: int
    name: str
    width: int
    height: int
    times_ms: NDArray[np.float64]


def read_frame_times(path: Path) -> FrameTimes:
    """The presentation times of the first camera of a video.

    Raises:
        VideoError: It cannot be read, has no frames, or more than we take.
    """
    return read_tracks(path)[0]


def read_tracks(path: Path) -> list[FrameTimes]:
    """Demux a video for the presentation times of each of its cameras; tracks without a frame are left out.

    Raises:
        VideoError: It cannot be read, has no frames, or more than we take.
    """
    try:
        with av.open(str(path), mode="r", format=demuxer_of(path, MAX_FRAMES)) as container:
            streams = container.streams.video
            if not streams:
                raise VideoError("no video stream")
            if len(streams) > _MAX_TRACKS:
                raise VideoError(f"more than {_MAX_TRACKS} video streams")
            tracks = [_times(stream, shown) for stream, shown in zip(streams, _shown(container), strict=True)]
    except VideoError:
        raise
    except Exception as error:  # damaged bytes come out of a demuxer as nearly anything
        raise VideoError(str(error)) from error
    found = [track for track in tracks if track is not None]
    if not found:
        raise VideoError("no frames")
    return found


def _shown(container: Any) -> list[dict[int, int]]:
    """By video stream: the time stamp and the duration of each frame, in the stream's time base."""
    shown: list[dict[int, int]] = [{} for _ in container.streams.video]
    places = {stream.index: frames for stream, frames in zip(container.streams.video, shown, strict=True)}
    count = 0
    for packet in container.demux(video=tuple(range(len(shown)))):
        # The last, empty packet flushes a decoder; discarded ones lie before an edit list's start.
        if packet.pts is None or packet.is_discard:
            continue
        places[packet.stream.index][packet.pts] = packet.duration or 0
        count += 1
        if count > MAX_FRAMES:
            raise VideoError(f"more than {MAX_FRAMES} frames")
    return shown


def _times(stream: Any, shown: dict[int, int]) -> FrameTimes | None:
    if not shown:
        return None
    time_base = stream.time_base
    if time_base is None:
        raise VideoError("no time base")
    # Packets come in decoding order; a browser shows them in that of their times.
    pts = np.array(sorted(shown), dtype=np.float64)
    last = shown[int(pts[-1])] or (float(np.median(np.diff(pts))) if len(pts) > 1 else 0.0)
    # Multiplied before it is divided: both are exact below 2^53, and a frame's start is a number people link to.
    times_ms = np.append(pts, pts[-1] + last) * (1000.0 * time_base.numerator) / time_base.denominator
    codec = stream.codec_context
    return FrameTimes(_place(stream), _name(stream), codec.width, codec.height, times_ms)


def _place(stream: Any) -> int:
    return [other.index for other in stream.container.streams.video].index(stream.index)


def _name(stream: Any) -> str:
    name = stream.metadata.get("title") or stream.metadata.get("handler_name") or ""
    name = "".join(letter for letter in name if letter.isprintable()).strip()[:_NAME_LENGTH]
    return "" if _NOBODYS_NAME.search(name) else name
