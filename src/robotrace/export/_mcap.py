"""An episode as an MCAP file, which Foxglove and Rerun open without further ado.

``/observation`` and its like: a message a row, ``robotrace.Float32Array`` with the field ``value``; the channel's
metadata say dtype and shape. ``/camera/<name>``: ``foxglove.CompressedVideo``, a message a frame. Pictures that are
arrays: ``foxglove.RawImage``. Texts: ``foxglove.Log``; ``/events`` has the failure and what the rules found.

The time of a message is the episode's time plus ``start_ns`` of the metadata record ``robotrace``: when the episode
began, where that is known, else 0.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from mcap.writer import CompressionType, Writer

from robotrace._version import __version__
from robotrace.export import _messages as messages
from robotrace.export._cameras import Camera, find_cameras
from robotrace.export._episode import REPRODUCIBILITY, ExportedEpisode
from robotrace.export._leaves import Leaf, Streams

__all__ = ["write_mcap"]

_SECOND_NS = 1_000_000_000
_ORDINARY = ("name", "status", "source", "robot", "fps", "duration_s", "failure_reason", "failure_time_s", "created_at")

_Messages = Iterator[tuple[int, bytes]]
"""Time in ns on the episode's clock, and the message."""


@dataclass(frozen=True)
class _Channel:
    topic: str
    kind: messages.MessageType
    metadata: Mapping[str, str]
    content: Callable[[int], _Messages]
    """Called with ``start_ns``."""


def write_mcap(
    file: IO[bytes],
    episode: ExportedEpisode,
    streams: Streams,
    left_out: dict[str, str],
    on_message: Callable[[], None],
) -> int:
    """Write an episode.

    Args:
        file: Where to.
        episode: The episode.
        streams: Its streams.
        left_out: Why others are not in the file, by name; more are added.
        on_message: Called for each message.

    Returns:
        How many streams and cameras are in the file.

    Raises:
        ExportError: A file of the episode is broken.
    """
    cameras, unplayable = find_cameras(episode, dict(streams.camera_times))
    left_out |= unplayable
    channels = [channel for leaf in streams.leaves if (channel := _stream(leaf)) is not None]
    channels += [_camera(camera) for camera in cameras]
    count = len(channels)
    events = list(_events(episode))
    if events:
        channels.append(_event_channel(events))
    start_ns = streams.start_ns or 0
    writer: Any = Writer(file, compression=CompressionType.ZSTD)
    writer.start(library=f"robotrace {__version__}")
    _describe(writer, episode, start_ns, is_known=streams.start_ns is not None, left_out=left_out)
    schemas: dict[str, int] = {}
    sources = []
    for number, channel in enumerate(channels):
        kind = channel.kind
        if kind.name not in schemas:
            schemas[kind.name] = writer.register_schema(kind.name, "protobuf", kind.schema)
        channel_id = writer.register_channel(channel.topic, "protobuf", schemas[kind.name], dict(channel.metadata))
        sources.append(_numbered(channel.content(start_ns), number, channel_id))
    sequences = dict.fromkeys(range(len(channels) + 1), 0)
    for t_ns, _, channel_id, data in heapq.merge(*sources, key=lambda item: item[:2]):
        at = max(start_ns + t_ns, 0)  # MCAP has no time before 1970
        writer.add_message(channel_id, at, data, at, sequences[channel_id])
        sequences[channel_id] = sequences[channel_id] + 1 & 0xFFFFFFFF
        on_message()
    writer.finish()
    return count


def _numbered(content: _Messages, number: int, channel_id: int) -> Iterator[tuple[int, int, int, bytes]]:
    for t_ns, data in content:
        yield t_ns, number, channel_id, data


def _stream(leaf: Leaf) -> _Channel:
    about = {"dtype": leaf.dtype.name, "shape": json.dumps(leaf.shape), "artifact": leaf.slot, "stream": leaf.name}
    topic = "/" + leaf.name.lstrip("/")
    if leaf.kind == "text" or leaf.dtype.kind in "US":
        kind, make_log = messages.log()

        def texts(start_ns: int) -> _Messages:
            for t_ns, row in _rows(leaf):
                yield t_ns, make_log(start_ns + t_ns, messages.INFO, leaf.name, _as_text(row))

        return _Channel(topic, kind, {**about, "dtype": "text"}, texts)
    picture = messages.raw_image(leaf.dtype, leaf.shape) if leaf.kind == "rows" else None
    if picture is not None:
        make_image = picture[1]

        def images(start_ns: int) -> _Messages:
            for t_ns, row in _rows(leaf):
                yield t_ns, make_image(start_ns + t_ns, leaf.name, row)

        return _Channel(topic, picture[0], about, images)
    scalar = leaf.kind == "rows" and not leaf.shape
    kind = messages.rows(leaf.dtype, scalar=scalar)

    def numbers(start_ns: int) -> _Messages:
        make = kind.make
        for t_ns, row in _rows(leaf):
            values = row.item() if scalar else row.ravel().tolist()
            yield t_ns, bytes(make(value=values).SerializeToString())

    return _Channel(topic, kind, about, numbers)


def _rows(leaf: Leaf) -> Iterator[tuple[int, Any]]:
    for times, block in leaf.blocks():
        yield from zip(times.tolist(), block, strict=True)


def _as_text(row: Any) -> str:
    if isinstance(row, str):
        return row.encode("utf-8", "replace").decode()
    if isinstance(row, bytes):
        return row.decode("utf-8", "replace")
    # Several texts a row.
    return json.dumps([_as_text(item) for item in np.ravel(row).tolist()], ensure_ascii=False)


def _camera(camera: Camera) -> _Channel:
    kind, make = messages.video()

    def frames(start_ns: int) -> _Messages:
        for t_ns, data in camera.packets():
            yield t_ns, make(start_ns + t_ns, camera.name, camera.format, data)

    about = {"artifact": "video", "stream": camera.name, "frames": str(camera.frames)}
    return _Channel(f"/camera/{camera.name}", kind, about, frames)


def _events(episode: ExportedEpisode) -> Iterator[tuple[int, int, str, str]]:
    """Time in ns, level, name and text."""
    failed_s = episode.about.get("failure_time_s")
    if isinstance(failed_s, (int, float)) and _is_time(failed_s):
        reason = episode.about.get("failure_reason") or episode.metadata.get("failure_reason") or "failure"
        yield round(failed_s * _SECOND_NS), messages.FATAL, "failure", str(reason)
    findings = episode.about.get("findings")
    for finding in findings if isinstance(findings, list) else ():
        if isinstance(finding, dict) and _is_time(finding.get("onset_s")):
            text = f"{finding.get('title')}: {finding.get('description')}"
            yield round(finding["onset_s"] * _SECOND_NS), messages.WARNING, str(finding.get("code")), text


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9


def _event_channel(events: list[tuple[int, int, str, str]]) -> _Channel:
    kind, make = messages.log()

    def content(start_ns: int) -> _Messages:
        for t_ns, level, name, text in sorted(events):
            yield t_ns, make(max(start_ns + t_ns, 0), level, name, text)

    return _Channel("/events", kind, {"artifact": "events"}, content)


def _describe(
    writer: Any, episode: ExportedEpisode, start_ns: int, *, is_known: bool, left_out: Mapping[str, str]
) -> None:
    """What is known of the episode, as records of texts, which is what MCAP has."""
    facts = {
        "episode_id": episode.episode_id,
        **{name: _plain(episode.about.get(name)) for name in (*REPRODUCIBILITY, *_ORDINARY)},
        "start_ns": str(start_ns),
        "clock": "since 1970" if is_known else "since the episode's start",
        "robotrace_version": __version__,
    }
    writer.add_metadata("robotrace", {name: text for name, text in facts.items() if text})
    parts = {
        "robotrace.metadata": episode.metadata,
        "robotrace.otel": episode.about.get("otel"),
        "robotrace.left_out": left_out,
    }
    for name, part in parts.items():
        if isinstance(part, Mapping) and part:
            writer.add_metadata(name, {str(key): _plain(value) for key, value in part.items()})


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
