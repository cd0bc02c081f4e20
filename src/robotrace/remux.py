"""Packets of MP4 files into others, without encoding anything again."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

__all__ = ["TIME_BASE", "copy_span", "copy_track", "merge_tracks", "packets_between"]

TIME_BASE = Fraction(1, 1_000_000)
"""Of every video of ours."""

_COPIED_CODECS = ("h264", "av1", "libdav1d", "libaom-av1")
"""H.264 and AV1, which browsers play, by the names of their decoders."""
_COPIED_FORMATS = ("yuv420p", "yuvj420p")
_OPTIONS = {
    "video_track_timescale": str(TIME_BASE.denominator),
    # An edit list counts in these; with the default of 1,000 a track that begins late would be moved by up to 0.5 ms.
    "movie_timescale": str(TIME_BASE.denominator),
}


def merge_tracks(target: Path, sources: Sequence[Path]) -> None:
    """Copy every video track into one ordinary MP4, in the order of the files.

    Args:
        target: Is written, or replaced.
        sources: Video files on one timeline; a track keeps its name and its stamps.

    Raises:
        OSError, av.FFmpegError: Something cannot be read or written.
    """
    with contextlib.ExitStack() as stack:
        merged = stack.enter_context(av.open(os.fspath(target), "w", format="mp4", options=dict(_OPTIONS)))
        tracks = []
        for path in sources:
            source = stack.enter_context(av.open(os.fspath(path)))
            copies = [_add_copy(merged, stream) for stream in source.streams.video]
            tracks.append(_packets(source, copies))
        for packet, copy in heapq.merge(*tracks, key=lambda item: item[0].dts * item[0].time_base):
            packet.stream = copy
            merged.mux(packet)


def copy_track(source: Path, target: Path, track: int, *, demuxer: str) -> None:
    """Copy one video track into an MP4 of its own that plays while it is still loading.

    Every frame keeps its time exactly: the copy counts in the track's own time base.

    Args:
        source: A video file.
        target: Is written, or replaced.
        track: Its place among the video tracks.
        demuxer: FFmpeg's name of what reads the source.

    Raises:
        OSError, av.FFmpegError: Something cannot be read or written.
        ValueError: No MP4 can hold it.
    """
    with av.open(os.fspath(source), format=demuxer) as container:
        stream = container.streams.video[track]
        timescale = str(stream.time_base.denominator)
        options = {"video_track_timescale": timescale, "movie_timescale": timescale, "movflags": "+faststart"}
        with av.open(os.fspath(target), "w", format="mp4", options=options) as alone:
            copy = _add_copy(alone, stream)
            for packet in _decodable(packet for packet in container.demux(stream) if not packet.is_discard):
                packet.stream = copy
                alone.mux(packet)


def _decodable(packets: Iterator[Any]) -> Iterator[Any]:
    """Packets with a decoding time each: Matroska has none, and FFmpeg does not guess those of the first B-frames."""
    early: list[Any] = []
    for packet in packets:
        if packet.pts is None:
            continue
        if packet.dts is None:
            early.append(packet)
            continue
        for before, waiting in enumerate(early):
            waiting.dts = packet.dts - len(early) + before
            yield waiting
        early.clear()
        yield packet


def packets_between(container: Any, stream: Any, begin_s: float, end_s: float) -> Iterator[Any]:
    """The packets of a stream in decoding order that are shown in ``[begin_s, end_s)``; those before are passed over.

    It ends at the first packet that is decoded at or after ``end_s``.
    """
    container.seek(round(max(0.0, begin_s) / stream.time_base), stream=stream, backward=True)
    for packet in container.demux(stream):
        if packet.pts is None or packet.dts is None:
            continue
        if packet.dts * stream.time_base >= end_s:
            return
        if begin_s <= packet.pts * stream.time_base < end_s:
            yield packet


def copy_span(source: Path, target: Path, begin_s: float, end_s: float, stamps_ns: Sequence[int], *, name: str) -> bool:
    """Cut a piece out of the first track of a video, where that needs no encoding: it is the same pictures to the bit.

    It does where the codec is one that browsers play, the piece begins with a keyframe, and no frame is decoded in
    another order than shown (no B-frames), so that nothing outside of the piece is needed for it.

    Args:
        source: A video file.
        target: The MP4 that is written; nothing is where this returns False.
        begin_s: On the source's clock; from here on.
        end_s: Up to here; not with it.
        stamps_ns: When each frame of the piece is shown, on the episode's clock.
        name: Of the track.

    Returns:
        Whether it was; else it has to be decoded and encoded.

    Raises:
        OSError, av.FFmpegError: Something cannot be read or written.
    """
    with av.open(os.fspath(source)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        if codec.name not in _COPIED_CODECS or codec.pix_fmt not in _COPIED_FORMATS:
            return False
        if not _is_whole(packets_between(container, stream, begin_s, end_s), len(stamps_ns)):
            return False
        with av.open(os.fspath(target), "w", format="mp4", options=dict(_OPTIONS)) as cut:
            try:
                copy = _add_copy(cut, stream)
            except ValueError:  # PyAV 14.0 and 14.1 know no such thing of AV1
                return False
            copy.metadata["handler_name"] = name
            packets = packets_between(container, stream, begin_s, end_s)
            following = itertools.chain(stamps_ns[1:], [None])
            for packet, stamp_ns, next_ns in zip(packets, stamps_ns, following, strict=False):
                shown_us = round(packet.duration * stream.time_base / TIME_BASE) if packet.duration else 0
                packet.time_base = TIME_BASE
                packet.pts = packet.dts = round(stamp_ns / 1000)
                packet.duration = shown_us if next_ns is None else round(next_ns / 1000) - packet.pts
                packet.stream = copy
                cut.mux(packet)
    return True


def _is_whole(packets: Iterator[Any], count: int) -> bool:
    """Whether they are so many, begin with a keyframe and are shown in the order in which they are decoded."""
    last = None
    seen = 0
    for packet in packets:
        if (last is None and not packet.is_keyframe) or (last is not None and packet.pts <= last):
            return False
        last = packet.pts
        seen += 1
    return seen == count and count > 0


def _packets(source: Any, copies: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    places = {stream.index: copy for stream, copy in zip(source.streams.video, copies, strict=True)}
    for packet in source.demux(video=tuple(range(len(copies)))):
        if packet.dts is not None:
            yield packet, places[packet.stream.index]


def _add_copy(target: Any, stream: Any) -> Any:
    if hasattr(target, "add_stream_from_template"):  # PyAV 14
        # AV1 is decoded by a codec that cannot encode, and none is needed to copy.
        given = {} if stream.codec_context.name == "h264" else {"opaque": True}
        copy = target.add_stream_from_template(stream, **given)
    else:
        copy = target.add_stream(template=stream)
    copy.metadata["handler_name"] = stream.metadata.get("handler_name", "")
    return copy
