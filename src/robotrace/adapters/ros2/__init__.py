"""ROS 2 bags, and what a running ROS 2 graph publishes, as episodes; without ROS, but for :func:`record`.

Example:
    >>> from robotrace.adapters import ros2
    >>> print(ros2.scan_bag("pick_7").report())  # doctest: +SKIP
    >>> ros2.upload_bag("pick_7", policy_version="act-v7", metadata={"success": True})  # doctest: +SKIP
"""

from robotrace.adapters._episode import EncodedArtifact
from robotrace.adapters._episode import EncodedEpisode as EncodedBag
from robotrace.adapters._spooling import ImportedEpisode
from robotrace.adapters.ros2._classify import TopicClass, classify_topic
from robotrace.adapters.ros2._encode import encode_bag
from robotrace.adapters.ros2._live import LiveRecording, record
from robotrace.adapters.ros2._scan import BagSummary, TopicInfo, scan_bag
from robotrace.adapters.ros2._upload import upload_bag

__all__ = [
    "BagSummary",
    "EncodedArtifact",
    "EncodedBag",
    "ImportedEpisode",
    "LiveRecording",
    "TopicClass",
    "TopicInfo",
    "classify_topic",
    "encode_bag",
    "record",
    "scan_bag",
    "upload_bag",
]
