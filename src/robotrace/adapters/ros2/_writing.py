"""The messages of a bag, one after the other, into the files of an episode."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import Any

from robotrace.adapters._arrays import ArraysWriter
from robotrace.adapters._encoding import EpisodeWriter
from robotrace.adapters._episode import EncodedEpisode
from robotrace.adapters.ros2._bags import Bag, Message, Topic
from robotrace.adapters.ros2._classify import IMAGE_TYPES
from robotrace.adapters.ros2._pictures import Picture, picture_of
from robotrace.adapters.ros2._scan import BagSummary, TopicInfo
from robotrace.adapters.ros2._stamps import header_stamp, on_clock
from robotrace.adapters.ros2._streams import Moment, Stream, layout_of
from robotrace.adapters.ros2._walk import Plan
from robotrace.errors import ConfigurationError

__all__ = ["BagEncoding"]

_log = logging.getLogger("robotrace")

_MAX_LAYOUTS = 15
"""As the segments of a recorded stream (docs/recording.md)."""
_OF_PICTURES = ("data", "encoding", "format", "height", "is_bigendian", "step", "width")
"""Fields of an image message that its picture says."""
_FIRST_NS = 1_000_000_000
"""Headers in the first second of a bag tell when the episode began: a picture is stamped 20 to 200 ms before it is
received. Reading all of them would be reading the bag twice."""


@dataclass
class _Source:
    """A topic that is being read.

    Attributes:
        topic: As the bag has it.
        slot: Where it goes.
        store: What decodes it.
        streams: By what its messages are of; of its pictures by their size.
        encodings: Of its images.
        broken: Messages that could not be decoded.
        why: Of the first of them.
        frames: In the video.
        first_ns: When the first of these was.
        last_ns: When the last one was.
    """

    topic: Topic
    slot: str
    store: Any
    streams: dict[Any, Stream] = field(default_factory=dict)
    encodings: list[str] = field(default_factory=list)
    broken: int = 0
    why: str = ""
    frames: int = 0
    first_ns: int = 0
    last_ns: int = 0

    def fail(self, why: str) -> None:
        self.broken += 1
        self.why = self.why or why

    def saw(self, picture: Picture) -> None:
        if picture.encoding not in self.encodings:
            self.encodings.append(picture.encoding)

    def shown(self, t_ns: int) -> None:
        if not self.frames:
            self.first_ns = t_ns
        self.frames += 1
        self.last_ns = t_ns

    @property
    def fps(self) -> float | None:
        """Its frames a second; None of a single one."""
        length_ns = self.last_ns - self.first_ns
        return (self.frames - 1) * 1e9 / length_ns if self.frames > 1 and length_ns > 0 else None


class BagEncoding:
    """One bag on its way into an episode.

    Args:
        bag: Open.
        summary: What it holds.
        topics: Those that are kept, and where they go.
        writer: Of the episode.
        canonical: The topic whose track is the first; None: the first by name.
    """

    def __init__(
        self,
        bag: Bag,
        summary: BagSummary,
        topics: tuple[TopicInfo, ...],
        writer: EpisodeWriter,
        canonical: str | None,
    ) -> None:
        self._bag = bag
        self._summary = summary
        self._writer = writer
        self._canonical = canonical
        self._skipped: list[dict[str, str]] = []
        self._sources: dict[Topic, _Source] = {}
        self._names: set[str] = set()
        slots = {(topic.topic, topic.msgtype): topic.slot for topic in topics}
        for topic in bag.topics:
            slot = slots.get((topic.name, topic.msgtype))
            if slot is None:
                self._skip(topic, "it was not asked for")
                continue
            try:
                store = bag.typestore(topic)
                store.get_msgdef(topic.msgtype)  # makes its decoder
                self._sources[topic] = _Source(topic, slot, store)
            except Exception as exc:  # of definitions that other people wrote, and of the code made from them
                self._skip(topic, " ".join(str(exc).split()) or type(exc).__name__)

    def run(self) -> EncodedEpisode:
        """Read every message, and write the files.

        Raises:
            ConfigurationError: Nothing of the bag could be read.
            OSError: A file cannot be written.
        """
        start_ns = self._start()
        for message in self._bag.messages(self._sources):
            self._take(message, start_ns)
        shown = {source.topic.name: source for source in self._sources.values() if source.frames}
        first = shown.get(self._canonical or "") or next(iter(shown.values()), None)
        if first is not None:
            # An image topic may turn out to be of depth only, which has no track.
            self._writer.canonical = first.topic.name
        episode = self._writer.close(
            fps=None if first is None else first.fps,
            metadata=self._metadata(start_ns),
            summary=self._summary,
            recorded_ns=start_ns if self._bag.start_ns is not None else None,
        )
        if not episode.files:
            if self._bag.faults:
                raise ConfigurationError(f"nothing of the bag {self._bag.path} can be read: {self._faults()}")
            episode.duration_s = None
        return episode

    def _start(self) -> int:
        """When the episode begins, ns since 1970: at the first receipt, or the first stamp before it."""
        first_ns = self._bag.start_ns
        if first_ns is None:
            return 0
        begin_ns = first_ns
        for message in self._bag.messages(self._sources, until_ns=first_ns + _FIRST_NS):
            with contextlib.suppress(Exception):  # it is counted when its turn comes
                stamp_ns = header_stamp(self._bag.decode(self._sources[message.topic].store, message))
                if stamp_ns is not None and on_clock(stamp_ns, message.receive_ns):
                    begin_ns = min(begin_ns, stamp_ns)
        return begin_ns

    def _take(self, message: Message, start_ns: int) -> None:
        source = self._sources[message.topic]
        try:
            decoded = self._bag.decode(source.store, message)
        except Exception as exc:  # bytes that are not of this type come out of its decoder as nearly anything
            source.fail(str(exc) or type(exc).__name__)
            return
        moment = Moment(header_stamp(decoded), message.receive_ns, start_ns)
        if message.topic.msgtype in IMAGE_TYPES:
            self._take_picture(source, decoded, moment)
        else:
            self._stream(source, layout_of(decoded)).add(decoded, moment)

    def _take_picture(self, source: _Source, message: Any, moment: Moment) -> None:

        try:
            picture = picture_of(message, values=source.slot != "video")
            stream = self._stream_of(source, picture)
        except (AttributeError, TypeError, ValueError) as exc:  # the first two of a type of this name with other fields
            source.fail(str(exc))
            return
        source.saw(picture)
        if picture.is_video:
            # A video cannot begin before its episode; the exact stamp is beside it.
            self._writer.frame(stream.name, picture.array, max(moment.t_ns, 0))
            source.shown(moment.t_ns)
        else:
            stream.add_array(picture.array)
        stream.add(message, moment)

    def _stream(self, source: _Source, layout: tuple[Any, ...]) -> Stream:

        key: Any = layout
        if key not in source.streams and len(source.streams) > _MAX_LAYOUTS:
            key = None  # the rest, in which the names are a stream too
        if key not in source.streams:
            columns = self._columns(source)
            plan = Plan(source.store, source.topic.msgtype, columns)
            self._open(source, key, Stream(self._name(source), columns, plan, source.slot, self._names))
        return source.streams[key]

    def _stream_of(self, source: _Source, picture: Picture) -> Stream:
        """Of pictures of this size and kind; a camera's has no array, its video is named like it."""
        array = picture.array
        key = ("video", array.shape[:2]) if picture.is_video else (array.dtype.str, array.shape)
        if key not in source.streams:
            if len(source.streams) > _MAX_LAYOUTS:
                raise ValueError(f"its size changed more than {_MAX_LAYOUTS} times")
            columns = self._columns(source)
            plan = Plan(source.store, source.topic.msgtype, columns, without=_OF_PICTURES)
            slot = "video" if picture.is_video else "actions" if source.slot == "actions" else "sensors"
            self._open(source, key, Stream(self._name(source), columns, plan, slot, self._names))
        return source.streams[key]

    def _columns(self, source: _Source) -> ArraysWriter:
        return self._writer.arrays("actions" if source.slot == "actions" else "sensors")

    def _open(self, source: _Source, key: Any, stream: Stream) -> None:
        source.streams[key] = stream
        self._columns(source).add(stream.name, stream)

    def _name(self, source: _Source) -> str:
        number = 0
        while (name := f"{source.topic.name}#{number}" if number else source.topic.name) in self._names:
            number += 1
        self._names.add(name)
        return name

    def _faults(self) -> str:
        return "; ".join(f"{name}: {why}" for name, why in self._bag.faults.items())

    def _skip(self, topic: Topic, reason: str) -> None:
        self._skipped.append({"topic": topic.name, "msgtype": topic.msgtype, "reason": reason})

    def _metadata(self, start_ns: int) -> dict[str, Any]:
        topics: dict[str, Any] = {}
        incomplete = {f"bag.{name}": why for name, why in self._bag.faults.items()}
        for source in self._sources.values():
            about = {"type": source.topic.msgtype}
            if source.encodings:
                about["encoding"] = ", ".join(source.encodings)
            for stream in source.streams.values():
                topics[stream.name] = {**about, **stream.facts()}
            if source.broken:
                messages = "1 message" if source.broken == 1 else f"{source.broken} messages"
                incomplete[source.topic.name] = f"{messages} could not be decoded: {source.why}"
        for key, why in incomplete.items():
            _log.warning("%s: %s: %s", self._bag.path, key.removeprefix("bag."), why)
        metadata: dict[str, Any] = {
            "adapter": "ros2",
            "bag": str(self._bag.path.resolve()),
            "ros2": {
                "storage": self._bag.storage,
                "distro": self._bag.ros_distro,
                "start_ns": start_ns,
                "topics": topics,
            },
        }
        if self._skipped:
            metadata["skipped_topics"] = self._skipped
        if incomplete:
            metadata["incomplete"] = incomplete
        return metadata
