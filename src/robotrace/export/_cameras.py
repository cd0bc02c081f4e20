"""The cameras of an episode, packet by packet, as they were encoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from robotrace.export._episode import ExportedEpisode, ExportError
from robotrace.serve.video_container import ContainerError, demuxer_of

__all__ = ["Camera", "find_cameras"]

_MOST_FRAMES = 20_000_000
_FORMATS = {
    "h264": ("h264", "h264_mp4toannexb"),
    "hevc": ("h265", "hevc_mp4toannexb"),
    "av1": ("av1", None),
    "libdav1d": ("av1", None),
    "vp9": ("vp9", None),
}
"""By FFmpeg's decoder: the name that foxglove.CompressedVideo has, and what makes a stream out of a file's packets."""
_UNNAMED = ("", "VideoHandler", "GPAC ISO Video Handler")


@dataclass(frozen=True)
class Camera:
    """A track of a video.

    Attributes:
        name: Its own, else that of its slot.
        path: The file.
        track: Among its video tracks.
        format: As foxglove.CompressedVideo names it.
        frames: How many.
    """

    name: str
    path: Path
    track: int
    format: str
    frames: int
    _filter: str | None
    _times: NDArray[np.int64] | None

    def packets(self) -> Iterator[tuple[int, bytes]]:
        """Time in ns on the episode's clock, and what decodes to one frame: H.264 and H.265 as Annex B.

        Raises:
            ExportError: The file is broken.
        """
        try:
            with _opened(self.path) as container:
                stream = container.streams.video[self.track]
                annex_b = None if self._filter is None else av.bitstream.BitStreamFilterContext(self._filter, stream)
                for number, packet in enumerate(_shown(container, stream)):
                    t_ns = _t_ns(packet, stream) if self._times is None else int(self._times[number])
                    yield t_ns, bytes(packet) if annex_b is None else b"".join(map(bytes, annex_b.filter(packet)))
        except (av.FFmpegError, OSError, ContainerError) as error:
            raise ExportError(f"the video of {self.name} cannot be read: {error}") from error


def find_cameras(episode: ExportedEpisode, times: dict[str, NDArray[np.int64]]) -> tuple[list[Camera], dict[str, str]]:
    """The cameras of an episode, and why others cannot be shown frame by frame, by name.

    Args:
        episode: The episode.
        times: Exact times by camera, where they were kept; a video's own are in whole µs.
    """
    found: dict[str, Camera] = {}
    left_out: dict[str, str] = {}
    slots = [kind for kind in episode.files if kind == "video" or kind.startswith("video.")]
    for slot in sorted(slots):
        try:
            with _opened(episode.files[slot]) as container:
                tracks = len(container.streams.video)
            for track in range(tracks):
                name, camera = _look(slot, episode.files[slot], track, times, taken=found)
                if isinstance(camera, str):
                    left_out[name] = camera
                else:
                    found[name] = camera
        except (av.FFmpegError, OSError, ContainerError) as error:
            left_out[slot] = f"the video cannot be read: {error}"
    return list(found.values()), left_out


def _look(
    slot: str, path: Path, track: int, times: dict[str, NDArray[np.int64]], *, taken: dict[str, Camera]
) -> tuple[str, Camera | str]:
    with _opened(path) as container:
        stream = container.streams.video[track]
        name = stream.metadata.get("handler_name", "")
        if name in _UNNAMED:
            name = slot.partition(".")[2] or slot
        name = name if name not in taken else f"{name} {len(taken) + 1}"
        codec = stream.codec_context.name
        if codec not in _FORMATS:
            return name, f"its codec {codec} is none that is played frame by frame"
        count, last = 0, None
        for packet in _shown(container, stream):
            if last is None and not packet.is_keyframe:
                return name, "it does not begin with a keyframe"
            if last is not None and packet.pts <= last:
                return name, "it has B-frames: its frames are decoded in another order than shown"
            count, last = count + 1, packet.pts
        if not count:
            return name, "it has no frames"
        format_name, bitstream_filter = _FORMATS[codec]
        own = times.get(name)
        exact = own if own is not None and len(own) == count else None
        return name, Camera(name, path, track, format_name, count, bitstream_filter, exact)


def _opened(path: Path) -> Any:
    return av.open(str(path), format=demuxer_of(path, _MOST_FRAMES))


def _shown(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of frames; one that a killed writer has cut off ends them."""
    for packet in container.demux(stream):
        if packet.is_corrupt:
            return
        # The last, empty packet flushes a decoder; discarded ones lie before an edit list's start.
        if packet.pts is not None and not packet.is_discard:
            yield packet


def _t_ns(packet: Any, stream: Any) -> int:
    t_ns: int = round(packet.pts * stream.time_base * 1_000_000_000)
    return t_ns
