"""One picture of a video, small: decoded when somebody looks, kept on disk.

The file comes from a robot: :func:`robotrace.serve.video_container.demuxer_of` says what is opened, only decoders of
formats that recorders write are asked, and none of them for more frames or pixels than a picture is worth.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from robotrace.serve.frame_times import VideoError
from robotrace.serve.video_container import demuxer_of

__all__ = ["HEIGHT", "WIDTH", "thumbnail"]

WIDTH, HEIGHT = 192, 144
"""The most that a picture measures, in pixels: three times what the list shows, for screens of that density."""

_MAX_FRAMES = 2_000_000
# Ours have a keyframe a second. x264 left alone has one every 250 frames.
_MAX_DECODED = 320
_MAX_DECODING_S = 5.0
# An 8K frame; as RGB 100 MB.
_MAX_PIXELS = 7680 * 4320
_DECODERS = frozenset({"h264", "hevc", "mpeg4", "mjpeg", "vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d"})
# Levels that a picture spans at least, but for its outermost hundredths; before a scene has appeared there are less.
_BLANK_SPAN = 8


def thumbnail(path: Path, at_s: float | None = None) -> bytes:
    """A JPEG image of at most 192 × 144 pixels, in the proportions of the video.

    Args:
        path: The video.
        at_s: The time on the video's clock; None takes the middle, or where there is nothing to see, another part.

    Raises:
        VideoError: No frame of it can be decoded within bounds.
    """
    try:
        with av.open(str(path), mode="r", format=demuxer_of(path, _MAX_FRAMES)) as container:
            return _jpeg(_picture(container, at_s))
    except VideoError:
        raise
    except Exception as error:  # damaged bytes come out of a decoder as nearly anything
        raise VideoError(str(error) or type(error).__name__) from error


def _picture(container: av.container.InputContainer, at_s: float | None) -> av.VideoFrame:
    if not container.streams.video:
        raise VideoError("no video stream")
    stream = container.streams.video[0]
    if stream.codec_context.name not in _DECODERS:
        raise VideoError(f"{stream.codec_context.name} is not decoded here")
    if not 0 < stream.codec_context.width * stream.codec_context.height <= _MAX_PIXELS:
        raise VideoError(f"frames of {stream.codec_context.width} × {stream.codec_context.height}")
    stream.thread_count = 1
    # What the frames themselves say may be another size than the container's.
    stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
    ends = time.monotonic() + _MAX_DECODING_S
    first: av.VideoFrame | None = None
    for wanted_s in _parts_s(container, stream) if at_s is None else [at_s]:
        frame = _frame_at(container, stream, wanted_s, ends)
        if frame is None:
            continue
        small = _small(frame)
        if at_s is not None or not _is_blank(small):
            return small
        first = first or small
    if first is None:
        raise VideoError("no frame can be decoded")
    return first


def _parts_s(container: av.container.InputContainer, stream: av.VideoStream) -> list[float]:
    """Where to look for something to see, on the clock of the frames: first in the middle."""
    base = stream.time_base or Fraction(0)
    begin_s = float((stream.start_time or 0) * base)
    # A file that was cut off knows no length.
    length_s = (container.duration or 0) / av.time_base if stream.duration is None else float(stream.duration * base)
    return [begin_s + share * length_s for share in (0.5, 0.25, 0.75, 0.0)]


def _frame_at(
    container: av.container.InputContainer, stream: av.VideoStream, at_s: float, ends: float
) -> av.VideoFrame | None:
    """The frame that is shown then; the last one before the bounds are reached, None when there is none."""
    wanted = round(at_s / (stream.time_base or Fraction(1, 1000)))
    try:
        container.seek(wanted, stream=stream)
    except av.error.FFmpegError:
        container.seek(0)
    shown = None
    for count, frame in enumerate(_decoded(container, stream, ends)):
        if frame.pts is not None and frame.pts > wanted and shown is not None:
            break
        shown = frame
        if count >= _MAX_DECODED:
            break
    return shown


def _decoded(container: av.container.InputContainer, stream: av.VideoStream, ends: float) -> Iterator[av.VideoFrame]:
    """Frames until the file ends or breaks off, or the time is over; of damaged ones there may be millions."""
    for packet in container.demux(stream):
        if time.monotonic() > ends:
            return
        try:
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.error.InvalidDataError:  # one damaged frame; the next may be whole
            continue


def _small(frame: av.VideoFrame) -> av.VideoFrame:
    scale = min(WIDTH / frame.width, HEIGHT / frame.height, 1.0)
    # Colours are kept at half the resolution, so both are even.
    width, height = (max(2, round(size * scale / 2) * 2) for size in (frame.width, frame.height))
    return frame.reformat(width, height, "rgb24", interpolation="AREA")


def _is_blank(picture: av.VideoFrame) -> bool:
    low, high = np.percentile(picture.to_ndarray().max(axis=2), [1, 99])
    return bool(high - low < _BLANK_SPAN)


def _jpeg(picture: av.VideoFrame) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuvj420p"
    encoder.time_base = Fraction(1, 1)
    encoder.options = {"qmin": "4", "qmax": "4"}
    image = picture.reformat(format="yuvj420p")
    image.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(image), *encoder.encode(None)])
