"""One H.264 file, written so that it plays however the process ends.

The container is a fragmented MP4 flushed after each packet, which a clean close turns into an ordinary one
(``hybrid_fragmented``, FFmpeg 7.1). After a kill 262 of 300 frames are readable with no repair; of an ordinary MP4,
none. Time stamps are the episode's own, in microseconds: a dropped frame is a gap, never a shift.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

__all__ = ["Mp4Writer", "count_frames"]

_TIME_BASE = Fraction(1, 1_000_000)
_KEYFRAME_US = 1_000_000
"""A keyframe a second: a scrub decodes 50 frames at the most; x264's default of 250 takes 4 times as long."""
_LEAST_GAP_US = 4
"""A link to an instant is read with 2 µs of tolerance: frames nearer to each other could not be told apart."""
_HYBRID = av.library_versions["libavformat"] >= (61, 7, 100)
_SMPTE170M = 6
"""BT.601 primaries, transfer and matrix in the numbering of ITU-T H.273."""
_ENCODER = {
    # superfast costs 1.04 ms and 2.3 KB a frame at 480x640; ultrafast 0.71 ms and 3.7 KB, veryfast 1.65 and 1.0.
    "preset": "superfast",
    # No B-frames and no lookahead: a frame is on disk as soon as it is encoded, and a cut file seeks exactly.
    "tune": "zerolatency",
    "crf": "23",
    "forced-idr": "1",
}


class Mp4Writer:
    """Encodes frames of one size into ``path``.

    Args:
        path: The file; its folder must exist.
        width: Of the frames given, in pixels; the file's is even, the last column repeated where it has to be.
        height: Likewise.
        frame_duration_ns: How long the last frame is shown.
    """

    def __init__(self, path: Path, width: int, height: int, frame_duration_ns: int) -> None:
        self.frames = 0
        self._path = path
        self._pad = (height % 2, width % 2)
        self._duration_us = max(1, round(frame_duration_ns / 1000))
        self._last_us = -_LEAST_GAP_US
        self._next_keyframe_us = 0
        flags = "hybrid_fragmented+frag_keyframe" if _HYBRID else "frag_keyframe+empty_moov+default_base_moof"
        self._container = av.open(os.fspath(path), "w", format="mp4", options={"movflags": flags, "flush_packets": "1"})
        rate = max(1, min(1000, round(1_000_000 / self._duration_us)))
        self._stream: Any = self._container.add_stream("libx264", rate=rate, options=_ENCODER)
        self._stream.width = width + width % 2
        self._stream.height = height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = _TIME_BASE
        codec = self._stream.codec_context
        codec.time_base = _TIME_BASE
        codec.thread_count = 1
        codec.max_b_frames = 0
        codec.gop_size = 1_000_000  # keyframes are set by time, below
        codec.color_range = ColorRange.MPEG
        codec.colorspace = _SMPTE170M
        codec.color_primaries = _SMPTE170M
        codec.color_trc = _SMPTE170M
        self._reformatter = VideoReformatter()

    def add(self, frame: NDArray[np.uint8], t_ns: int) -> None:
        """Encode one (H, W, 3) uint8 RGB frame shown from ``t_ns``; one less than 4 µs after the last is moved."""
        if any(self._pad):
            frame = np.pad(frame, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        stamp = max(round(t_ns / 1000), self._last_us + _LEAST_GAP_US)
        self._last_us = stamp
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts = stamp
        picture.time_base = _TIME_BASE
        if stamp >= self._next_keyframe_us:
            picture.pict_type = PictureType.I
            self._next_keyframe_us = stamp + _KEYFRAME_US
        else:
            picture.pict_type = PictureType.NONE
        self._mux(picture)
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self.frames:
            self._mux(None)
        self._container.close()
        if not _HYBRID and self.frames:
            _remux(self._path)

    def _mux(self, picture: Any) -> None:
        for packet in self._stream.encode(picture):
            packet.duration = self._duration_us
            self._container.mux(packet)


def count_frames(path: Path) -> int:
    """How many frames can be read from a file, whoever left it in whatever state."""
    frames = 0
    try:
        with av.open(os.fspath(path)) as container:
            for packet in container.demux(video=0):
                frames += packet.pts is not None
    except (av.FFmpegError, IndexError, OSError):  # the end of a cut file may be no end; what came before counts
        pass
    return frames


def _remux(path: Path) -> None:
    # FFmpeg before 7.1 cannot turn the fragments into one index at the end: copy the packets into an ordinary MP4.
    whole = path.with_suffix(".remux.mp4")
    options = {"video_track_timescale": str(_TIME_BASE.denominator)}
    with av.open(os.fspath(path)) as source, av.open(os.fspath(whole), "w", format="mp4", options=options) as target:
        stream = source.streams.video[0]
        copy: Any = target.add_stream(template=stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    whole.replace(path)
