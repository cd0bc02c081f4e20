"""Which file of an episode a topic goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["IMAGE_TYPES", "Reason", "Slot", "TopicClass", "classify_topic"]

Slot = Literal["video", "sensors", "actions"]
Reason = Literal["msgtype", "topic-name", "default", "argument"]

IMAGE_TYPES = frozenset({"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"})

_ACTION_TYPES = frozenset(
    {
        "control_msgs/msg/JointJog",
        "geometry_msgs/msg/Twist",
        "geometry_msgs/msg/TwistStamped",
        "geometry_msgs/msg/Wrench",
        "geometry_msgs/msg/WrenchStamped",
        "trajectory_msgs/msg/JointTrajectory",
        "trajectory_msgs/msg/MultiDOFJointTrajectory",
    }
)


@dataclass(frozen=True)
class TopicClass:
    """Where a topic goes, and why.

    Attributes:
        topic: Its name.
        msgtype: Its type, ``package/msg/Name``.
        slot: ``video``, ``sensors`` or ``actions``.
        reason: ``msgtype``, ``topic-name``, or ``default`` for sensors.
    """

    topic: str
    msgtype: str
    slot: Slot
    reason: Reason


def classify_topic(topic: str, msgtype: str) -> TopicClass:
    """Where a topic goes unless it is said otherwise; a pure function.

    Images go to the video. Twist, Wrench (stamped or not), JointTrajectory, MultiDOFJointTrajectory and JointJog, and
    topics whose last name begins with ``cmd_`` or ends with ``command``, are actions. Everything else is a sensor.

    Args:
        topic: The name, ``/arm/command``.
        msgtype: ``package/msg/Name``.
    """
    if msgtype in IMAGE_TYPES:
        return TopicClass(topic, msgtype, "video", "msgtype")
    if msgtype in _ACTION_TYPES:
        return TopicClass(topic, msgtype, "actions", "msgtype")
    name = topic.rstrip("/").rpartition("/")[2].lower()
    # ``commands`` is what the controllers of ros2_control listen to.
    if name.startswith("cmd_") or name == "cmd" or name.endswith(("command", "commands")):
        return TopicClass(topic, msgtype, "actions", "topic-name")
    return TopicClass(topic, msgtype, "sensors", "default")
