"""What a bag holds, told without reading its messages."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from robotrace.adapters.ros2._bags import Bag
from robotrace.adapters.ros2._classify import Reason, Slot, classify_topic
from robotrace.errors import ConfigurationError

__all__ = ["BagSummary", "TopicInfo", "assigned", "scan_bag"]


@dataclass(frozen=True)
class TopicInfo:
    """A topic of a bag.

    Attributes:
        topic: Its name.
        msgtype: Its type, ``package/msg/Name``.
        msgcount: Its messages, as the bag says.
        slot: Where it goes: ``video``, ``sensors`` or ``actions``.
        classified_by: Why: ``msgtype``, ``topic-name``, ``default``, or ``argument`` where the caller said so.
    """

    topic: str
    msgtype: str
    msgcount: int
    slot: Slot
    classified_by: Reason


@dataclass(frozen=True)
class BagSummary:
    """What a bag holds, and where it would go.

    Attributes:
        path: The bag.
        duration_s: From the first message to the last, as received; None of an empty bag.
        message_count: Its messages, as the bag says.
        topics: By name.
        storage: ``mcap``, ``sqlite3`` or ``rosbag1``.
        ros_distro: As the bag says, None where it does not.
        faults: Files of the bag that cannot be read: name and reason.
        start_ns: When the first message was received, in ns since 1970; None of an empty bag.
        end_ns: When the last one was; None of an empty bag.
    """

    path: Path
    duration_s: float | None
    message_count: int
    topics: tuple[TopicInfo, ...] = ()
    storage: str = ""
    ros_distro: str | None = None
    faults: dict[str, str] = field(default_factory=dict)
    start_ns: int | None = None
    end_ns: int | None = None

    def topics_by_slot(self, slot: Slot) -> list[TopicInfo]:
        """The topics that go to one file."""
        return [topic for topic in self.topics if topic.slot == slot]

    def report(self) -> str:
        """A few lines for a terminal."""
        length = "empty" if self.duration_s is None else f"{self.duration_s:.2f} s, {self.message_count} messages"
        lines = [f"{self.path}: {self.storage}, {length}"]
        slots: tuple[Slot, ...] = ("video", "sensors", "actions")
        for slot in slots:
            topics = self.topics_by_slot(slot)
            lines += [f"  {slot}:"] if topics else []
            lines += [f"    {each.topic}  {each.msgtype}, {each.msgcount}, by {each.classified_by}" for each in topics]
        lines += [f"  cannot be read: {name}: {why}" for name, why in self.faults.items()]
        return "\n".join(lines)


def scan_bag(path: str | os.PathLike[str]) -> BagSummary:
    """Describe a bag: nothing is decoded, written or sent.

    Args:
        path: The folder of a rosbag2 bag, or a single ``.mcap`` or ``.db3`` file; a ROS 1 ``.bag`` file too.

    Raises:
        ConfigurationError: There is no bag, nothing of it can be read, or a package is missing.
    """
    with Bag(path) as bag:
        return summary_of(bag)


def summary_of(bag: Bag) -> BagSummary:
    """:func:`scan_bag` of an open bag."""
    topics = []
    for topic in bag.topics:
        found = classify_topic(topic.name, topic.msgtype)
        topics.append(TopicInfo(topic.name, topic.msgtype, topic.count, found.slot, found.reason))
    duration_s = None if bag.start_ns is None or bag.end_ns is None else (bag.end_ns - bag.start_ns) / 1e9
    count = sum(topic.count for topic in bag.topics)
    return BagSummary(
        bag.path,
        duration_s,
        count,
        tuple(topics),
        bag.storage,
        bag.ros_distro,
        dict(bag.faults),
        bag.start_ns,
        bag.end_ns,
    )


def assigned(
    summary: BagSummary,
    video_topics: Collection[str] | None,
    sensor_topics: Collection[str] | None,
    action_topics: Collection[str] | None,
) -> tuple[TopicInfo, ...]:
    """Where each topic goes: one that is named where it is named, and a slot with names has no others.

    Args:
        summary: The bag.
        video_topics: Those of the video; None leaves it to :func:`classify_topic`.
        sensor_topics: Alike.
        action_topics: Alike.

    Raises:
        ConfigurationError: A topic is not in the bag, or is named twice.
    """
    given: dict[Slot, Collection[str] | None] = {
        "video": video_topics,
        "sensors": sensor_topics,
        "actions": action_topics,
    }
    known = {topic.topic for topic in summary.topics}
    named: dict[str, Slot] = {}
    for slot, names in given.items():
        if isinstance(names, str):
            raise ConfigurationError(f"{_argument(slot)} must be a list of topics, got {names!r}")
        for name in names or ():
            if name not in known:
                raise ConfigurationError(
                    f"{_argument(slot)} names {name!r}, which is not in the bag; it has {', '.join(sorted(known))}"
                )
            if named.setdefault(name, slot) != slot:
                raise ConfigurationError(f"{name!r} is in {_argument(named[name])} and in {_argument(slot)}")
    kept = []
    for topic in summary.topics:
        if topic.topic in named:
            kept.append(replace(topic, slot=named[topic.topic], classified_by="argument"))
        elif given[topic.slot] is None:
            kept.append(topic)
    return tuple(kept)


def _argument(slot: Slot) -> str:
    return f"{slot.removesuffix('s')}_topics"
