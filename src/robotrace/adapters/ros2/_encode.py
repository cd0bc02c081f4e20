"""A bag as the files of an episode."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from robotrace.adapters.ros2._bags import Bag, require
from robotrace.adapters.ros2._classify import IMAGE_TYPES
from robotrace.adapters.ros2._scan import BagSummary, TopicInfo, assigned, summary_of
from robotrace.errors import ConfigurationError

if TYPE_CHECKING:
    from robotrace.adapters._episode import EncodedEpisode

__all__ = ["encode_bag"]


def encode_bag(
    path: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    video_topics: Collection[str] | None = None,
    sensor_topics: Collection[str] | None = None,
    action_topics: Collection[str] | None = None,
    canonical_video_topic: str | None = None,
    summary: BagSummary | None = None,
) -> EncodedEpisode:
    """Write ``video.mp4``, ``sensors.npz`` and ``actions.npz`` of a bag; memory holds a few rows of each topic.

    Every message is kept on the time stamp of its own, nothing is resampled; docs/ros2.md says how they lie in the
    files. What cannot be kept is in ``metadata.skipped_topics``, with the reason, and what the bag lacks because it is
    cut off or damaged in ``metadata.incomplete``.

    Args:
        path: The folder of a bag, or a single ``.mcap`` or ``.db3`` file; a ROS 1 ``.bag`` file too.
        output_dir: The folder; made where there is none. Files of these names in it are replaced.
        video_topics: Image topics that go to the video, and no others. None: all that are not named elsewhere.
        sensor_topics: Topics that go to the sensors, and no others; an image topic is kept there in its values,
            losslessly.
        action_topics: Alike.
        canonical_video_topic: Whose track is the first, which is the one a browser plays. None: the image topic whose
            name comes first.
        summary: From :func:`scan_bag`, where there is one already.

    Raises:
        ConfigurationError: There is no bag, nothing of it can be read, or an argument does not fit.
        OSError: A file cannot be written.
    """
    require()
    # They import NumPy and PyAV.
    from robotrace.adapters._encoding import EpisodeWriter
    from robotrace.adapters.ros2._writing import BagEncoding

    with Bag(path) as bag:
        if summary is None:
            summary = summary_of(bag)
        topics = assigned(summary, video_topics, sensor_topics, action_topics)
        cameras = [topic.topic for topic in topics if topic.slot == "video"]
        _check_video(topics, cameras, canonical_video_topic)
        with EpisodeWriter(Path(output_dir)) as writer:
            return BagEncoding(bag, summary, topics, writer, canonical_video_topic).run()


def _check_video(topics: tuple[TopicInfo, ...], cameras: list[str], canonical: str | None) -> None:
    for topic in topics:
        if topic.slot == "video" and topic.msgtype not in IMAGE_TYPES:
            raise ConfigurationError(f"video_topics names {topic.topic!r}, and {topic.msgtype} is no image")
    if canonical is not None and canonical not in cameras:
        known = ", ".join(cameras) or "none"
        raise ConfigurationError(f"canonical_video_topic {canonical!r} is no topic of the video; those are: {known}")
