"""One MP4 with an H.264 track per camera, written so that it plays however the process ends.

The container is a fragmented MP4 flushed after each packet, which a clean close turns into an ordinary one
(``hybrid_fragmented``, FFmpeg 7.1). After a kill 262 of 300 frames are readable with no repair; of an ordinary MP4,
none. Time stamps are the episode's own, in microseconds: a dropped frame is a gap, never a shift.

The packets of the first second are held back until the tracks are known; the first fragment would not be on disk any
earlier. With a window only the packets of the last seconds are kept, and the file is written at the end.
"""

from __future__ import annotations

import collections
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from robotrace.remux import TIME_BASE, merge_tracks

__all__ = ["Mp4Writer", "count_frames"]

_KEYFRAME_US = 1_000_000
"""A keyframe a second: a scrub decodes 50 frames at the most; x264's default of 250 takes 4 times as long."""
_KEYFRAME_FRAMES = 250
"""At the most, however short the steps are: a fragment stays in memory until the next keyframe."""
_WINDOW_KEYFRAMES = 8
"""A window is cut at a keyframe: an eighth of it may be lost."""
_HELD_US = 1_000_000
_HELD_BYTES = 4 * 1024 * 1024
_LEAST_GAP_US = 4
"""A link to an instant is read with 2 µs of tolerance: frames nearer to each other could not be told apart."""
_FRAGMENTS = "frag_keyframe+default_base_moof"
_HYBRID = "frag_keyframe+hybrid_fragmented"
# Without it a track that begins late would begin at 0.
_LATE = "+delay_moov"
_HYBRID_SINCE = (61, 7, 100)
_HYBRID_LATE_SINCE = (62, 12, 100)
"""FFmpeg 8.1; before, a close with both flags leaves an index of one fragment."""
_SMPTE170M = 6
"""BT.601 primaries, transfer and matrix in the numbering of ITU-T H.273."""
_ENCODER = {
    # No B-frames and no lookahead: a frame is on disk as soon as it is encoded, and a cut file seeks exactly.
    "tune": "zerolatency",
    "crf": "23",
    "forced-idr": "1",
    "sc_threshold": "0",  # veryfast would make a keyframe of each change of scene
}
_MUXER = {
    "flush_packets": "1",
    # An edit list counts in these; with the default of 1,000 a track that begins late would be moved by up to 0.5 ms.
    "movie_timescale": str(TIME_BASE.denominator),
    # A track that has ended, or a slow camera, would keep 10 s of the others in memory.
    "max_interleave_delta": "100000",
}


class Mp4Writer:
    """Encodes frames into ``path``, one track a camera.

    Args:
        path: The file; its folder must exist.
        frame_duration_ns: How long the last frame is shown.
        preset: Of libx264. superfast costs 1.04 ms and 2.3 KB a frame at 480x640; ultrafast 0.71 ms and 3.7 KB,
            veryfast 1.65 ms and 1.0 KB.
        max_edge: The longer edge of a track at the most, in pixels; None leaves the size.
        window_ns: Keep only so much before the end; None keeps everything.
    """

    def __init__(
        self,
        path: Path,
        frame_duration_ns: int,
        *,
        preset: str = "superfast",
        max_edge: int | None = None,
        window_ns: int | None = None,
    ) -> None:
        self.preset = preset
        self.tracks: list[_Track] = []
        self._path = path
        self._duration_us = max(1, round(frame_duration_ns / 1000))
        self._max_edge = max_edge
        self._window_us = None if window_ns is None else window_ns // 1000
        self._keyframe_us = _KEYFRAME_US
        if self._window_us is not None:
            self._keyframe_us = max(1, min(_KEYFRAME_US, self._window_us // _WINDOW_KEYFRAMES))
        self._container = av.open(os.fspath(path), "w", format="mp4", options=dict(_MUXER))
        self._started = False
        self._first_us: int | None = None
        self._newest_us = 0
        self._held: list[Any] = []
        self._held_bytes = 0

    def add_camera(self, name: str, width: int, height: int) -> int:
        """Declare a camera.

        Args:
            name: The track's title.
            width: Of the frames that will be given, in pixels; the track's is even, the last column repeated where it
                has to be.
            height: Likewise.

        Returns:
            The number of its track.

        Raises:
            ValueError: The tracks of the file are written: there can be no further one.
        """
        if self._started:
            raise ValueError("the camera came more than a second after the first one")
        self.tracks.append(
            _Track(self._container, name, (width, height), self._max_edge, self._duration_us, self.preset)
        )
        return len(self.tracks) - 1

    def add(self, frame: NDArray[np.uint8], t_ns: int, track: int = 0) -> None:
        """Encode one (H, W, 3) uint8 RGB frame shown from ``t_ns``; one less than 4 µs after the last is moved."""
        t_us = round(t_ns / 1000)
        packets = self.tracks[track].encode(frame, t_us, self._keyframe_us)
        self._newest_us = max(self._newest_us, t_us)
        if self._first_us is None:
            self._first_us = t_us
        if self._window_us is not None:
            self._keep_window(track, packets, self._window_us)
        elif self._started:
            self._container.mux(packets)
        else:
            self._held += packets
            self._held_bytes += sum(packet.size for packet in packets)
            if t_us - self._first_us >= _HELD_US or self._held_bytes > _HELD_BYTES:
                self._start(self._held)

    def close(self, cut_ns: int | None = None) -> int:
        """Finish the file.

        Args:
            cut_ns: With a window: leave out what is before this time, which becomes the file's 0. None cuts where the
                window begins.

        Returns:
            The time of the episode that is the file's 0, in ns.
        """
        offset_ns = 0
        try:
            if self._window_us is not None:
                offset_ns = self._write_window(cut_ns)
            elif not self._started and self._held:
                self._start(self._held)
            if self._started:  # zerolatency keeps no frame back, but nobody promises
                for track in self.tracks:
                    if track.frames:
                        self._container.mux(track.flush())
        finally:
            self._container.close()
        if self._container.options.get("movflags", "").startswith(_FRAGMENTS):
            _remux(self._path)
        return offset_ns

    def _start(self, packets: list[Any]) -> None:
        self._started = True
        if self._window_us is None:
            # Read when the header is written, with the first packet.
            self._container.options["movflags"] = _fragment_flags(any(track.is_late for track in self.tracks))
        self._held = []
        self._container.mux(sorted(packets, key=operator.attrgetter("dts")))

    def _keep_window(self, track: int, packets: Iterable[Any], window_us: int) -> None:
        groups = self.tracks[track].groups
        for packet in packets:
            if packet.is_keyframe:
                groups.append([])
            groups[-1].append(packet)
        oldest_us = self._newest_us - window_us
        while len(groups) > 1 and groups[1][0].pts <= oldest_us:
            groups.popleft()

    def _write_window(self, cut_ns: int | None) -> int:
        cut_us = self._window_start() if cut_ns is None else max(0, round(cut_ns / 1000))
        kept = []
        for track in self.tracks:
            packets = [packet for group in track.groups if group[0].pts >= cut_us for packet in group]
            track.frames = len(packets)
            kept += packets
        for packet in kept:
            packet.pts -= cut_us
            packet.dts -= cut_us
        if kept:
            self._start(kept)
        return cut_us * 1000 if cut_ns is None else max(0, cut_ns)

    def _window_start(self) -> int:
        assert self._window_us is not None
        oldest_us = self._newest_us - self._window_us
        if self._first_us is None or oldest_us <= self._first_us or not self.tracks:
            return 0
        starts = [group[0].pts for group in self.tracks[0].groups if group[0].pts >= oldest_us]
        return int(starts[0]) if starts else max(0, oldest_us)


class _Track:
    """One camera's encoder.

    Attributes:
        name: Of the camera.
        width: Of the encoded pictures.
        height: Of the encoded pictures.
        frames: How many are in the file.
        groups: The packets of the window, by keyframe.
    """

    def __init__(
        self, container: Any, name: str, size: tuple[int, int], max_edge: int | None, duration_us: int, preset: str
    ) -> None:
        width, height = size
        self.name = name
        self.frames = 0
        self.groups: collections.deque[list[Any]] = collections.deque()
        self.width, self.height = _encoded_size(width, height, max_edge)
        self._scaled = (self.width, self.height) != (width + width % 2, height + height % 2)
        padded = (width % 2 or height % 2) and not self._scaled
        self._padded = np.empty((self.height, self.width, 3), np.uint8) if padded else None
        self._duration_us = duration_us
        self._first_us: int | None = None
        self._last_us: int | None = None
        self._next_keyframe_us = 0
        self._since_keyframe = 0
        rate = max(1, min(1000, round(1_000_000 / duration_us)))
        stream = container.add_stream("libx264", rate=rate, options={**_ENCODER, "preset": preset})
        stream.width, stream.height = self.width, self.height
        stream.pix_fmt = "yuv420p"
        stream.time_base = TIME_BASE
        stream.metadata["handler_name"] = name
        codec = stream.codec_context
        codec.time_base = TIME_BASE
        codec.thread_count = 1
        codec.max_b_frames = 0
        codec.gop_size = 1_000_000  # keyframes are set by time, below
        codec.color_range = ColorRange.MPEG
        codec.colorspace = _SMPTE170M
        codec.color_primaries = _SMPTE170M
        codec.color_trc = _SMPTE170M
        self._stream = stream
        self._reformatter = VideoReformatter()

    @property
    def is_late(self) -> bool:
        """Whether its first picture is not at 0."""
        return self._first_us != 0

    def encode(self, frame: NDArray[np.uint8], t_us: int, keyframe_us: int) -> list[Any]:
        stamp = t_us if self._last_us is None else max(t_us, self._last_us + _LEAST_GAP_US)
        picture = self._reformat(frame)
        picture.pts = stamp
        picture.time_base = TIME_BASE
        if self._last_us is None or stamp >= self._next_keyframe_us or self._since_keyframe >= _KEYFRAME_FRAMES:
            picture.pict_type = PictureType.I
            self._next_keyframe_us = stamp + keyframe_us
            self._since_keyframe = 0
        else:
            picture.pict_type = PictureType.NONE
        if self._first_us is None:
            self._first_us = stamp
        self._last_us = stamp
        self._since_keyframe += 1
        packets = self._packets(picture)
        self.frames += 1
        return packets

    def flush(self) -> list[Any]:
        return self._packets(None)

    def _packets(self, picture: Any) -> list[Any]:
        packets = list(self._stream.encode(picture))
        for packet in packets:
            packet.duration = self._duration_us
        return packets

    def _reformat(self, frame: NDArray[np.uint8]) -> Any:
        if self._padded is not None:
            height, width, _ = frame.shape
            self._padded[:height, :width] = frame
            self._padded[height:, :width] = frame[-1:]
            self._padded[:, width:] = self._padded[:, width - 1 : width]
            frame = self._padded
        # No copy: the picture is converted before the slot of the ring is given back.
        return self._reformatter.reformat(
            av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(frame), format="rgb24"),
            width=self.width,
            height=self.height,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            # Of equal cost as the default and never the worse picture; POINT is 100 µs cheaper at 480x640, and worse.
            interpolation=Interpolation.AREA,
        )


def count_frames(path: Path) -> list[int]:
    """How many frames can be read of each track of a file, whoever left it in whatever state."""
    frames: list[int] = []
    try:
        with av.open(os.fspath(path)) as container:
            frames = [0] * len(container.streams.video)
            for packet in container.demux(video=tuple(range(len(frames)))):
                frames[packet.stream.index] += packet.pts is not None
    except (av.FFmpegError, IndexError, OSError):  # the end of a cut file may be no end; what came before counts
        pass
    return frames


def _fragment_flags(late: bool) -> str:
    version = av.library_versions["libavformat"]
    if version >= _HYBRID_LATE_SINCE:
        return _HYBRID + _LATE
    if version >= _HYBRID_SINCE and not late:
        return _HYBRID
    return _FRAGMENTS + _LATE


def _encoded_size(width: int, height: int, max_edge: int | None) -> tuple[int, int]:
    """The even (width, height) of a track."""
    if max_edge is None or max(width, height) <= max_edge:
        return width + width % 2, height + height % 2
    scale = max_edge / max(width, height)
    return max(2, int(width * scale + 1e-6) // 2 * 2), max(2, int(height * scale + 1e-6) // 2 * 2)


def _remux(path: Path) -> None:
    # Where FFmpeg cannot turn the fragments into one index at the end: copy the packets into an ordinary MP4.
    whole = path.with_suffix(".remux.mp4")
    merge_tracks(whole, [path])
    whole.replace(path)
