"""When each frame of a video is shown.

A nominal frame rate says it wrongly for every second frame a browser is asked for, and for variable-rate video nearly
always; the timestamps in the file are right. They are read without decoding. Needs PyAV and NumPy alone, so that the
command line reads them without a server.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from robotrace.serve.video_container import demuxer_of

__all__ = ["FrameTimes", "VideoError", "read_frame_times"]

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
        with av.open(str(path), mode="r", format=demuxer_of(path, _MAX_FRAMES)) as container:
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
    except VideoError:
        raise
    except Exception as error:  # damaged bytes come out of a demuxer as nearly anything
        raise VideoError(str(error)) from error
    if not shown:
        raise VideoError("no frames")
    # Packets come in decoding order; a browser shows them in that of their times.
    pts = np.array(sorted(shown), dtype=np.float64)
    last = shown[int(pts[-1])] or (float(np.median(np.diff(pts))) if len(pts) > 1 else 0.0)
    # Multiplied before it is divided: both are exact below 2^53, and a frame's start is a number people link to.
    times_ms = np.append(pts, pts[-1] + last) * (1000.0 * time_base.numerator) / time_base.denominator
    return FrameTimes(width=width, height=height, times_ms=times_ms)
