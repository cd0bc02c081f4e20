"""What ``robotrace import`` finds at a path, and how it brings it in: one class a format, all alike."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robotrace.adapters._uploading import DatasetUpload, EpisodeFailure, OnProgress, checked_index, named
from robotrace.deliver.files import folder_bytes
from robotrace.errors import ConfigurationError, RobotraceError

__all__ = ["ImportOptions", "Recording", "find_recordings"]

_HDF5 = (".hdf5", ".h5")
_BAGS = (".mcap", ".db3", ".bag")
_REPO_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclass(frozen=True)
class ImportOptions:
    """What the command was told, beyond the paths.

    Attributes:
        labels: Of the episodes: ``policy_version`` and the like; those that are None are left to the recording.
        name_template: None: the format's own.
        episodes: Which; None: all.
        again: Import once more what was imported before.
        camera: The canonical one.
        fps: Of HDF5 files.
        image_color: Of HDF5 files.
        revision: Of datasets on the hub.
        topics: ``video_topics``, ``sensor_topics`` and ``action_topics`` of bags; those that are empty are found out.
    """

    labels: dict[str, Any] = field(default_factory=dict)
    name_template: str | None = None
    episodes: Sequence[int] | None = None
    again: bool = False
    camera: str | None = None
    fps: float | None = None
    image_color: Any = "rgb"
    revision: str | None = None
    topics: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def given_labels(self) -> dict[str, Any]:
        """The labels that somebody gave."""
        return {name: value for name, value in self.labels.items() if value is not None}


@dataclass(frozen=True)
class Recording:
    """A recording that was looked at.

    Attributes:
        path: As it was named.
        format: ``lerobot``, ``hdf5`` or ``ros2``.
        episodes: Their numbers.
        bytes_size: Of its files; None where they are on the hub.
        report: What is in it, for people.
        streams: Dtype (or message type) and shape by stream.
        cameras: What becomes video.
        upload: Brings it in.
    """

    path: str
    format: str
    episodes: Sequence[int]
    bytes_size: int | None
    report: str
    streams: dict[str, list[Any]]
    cameras: list[str]
    upload: Callable[[OnProgress], DatasetUpload]


def find_recordings(path: str, options: ImportOptions) -> Iterator[Callable[[], Recording]]:
    """What there is at a path, to be looked at one by one: a folder of HDF5 files holds several.

    Raises:
        ConfigurationError: Nothing that is known.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        if (place / "meta" / "info.json").is_file():
            yield lambda: _lerobot(path, options)
        elif (place / "metadata.yaml").is_file() or any(place.glob("*.mcap")) or any(place.glob("*.db3")):
            yield lambda: _bag(path, options)
        else:
            files = sorted(item for item in place.iterdir() if item.suffix.lower() in _HDF5)
            if not files:
                raise ConfigurationError(
                    f"{path} holds no recording that is known: no meta/info.json (LeRobot), "
                    "no metadata.yaml (rosbag2), no .hdf5 files"
                )
            for file in files:
                yield lambda file=file: _hdf5(file, options)  # type: ignore[misc]
    elif place.is_file():
        suffix = place.suffix.lower()
        if suffix in _HDF5:
            yield lambda: _hdf5(place, options)
        elif suffix in _BAGS:
            yield lambda: _bag(path, options)
        else:
            raise ConfigurationError(
                f"{path} is no recording that is known: it takes {', '.join((*_HDF5, *_BAGS))}, folders of rosbag2 "
                "and LeRobot, and org/name of the hub"
            )
    elif _REPO_ID.fullmatch(path) and not place.suffix:
        yield lambda: _lerobot(path, options)
    else:
        raise ConfigurationError(f"{path} is not there")


def _lerobot(path: str, options: ImportOptions) -> Recording:
    from robotrace.adapters import lerobot

    summary = lerobot.scan_dataset(path, revision=options.revision)
    root = Path(path).expanduser()

    def upload(on_progress: OnProgress) -> DatasetUpload:
        return lerobot.upload_dataset(
            path,
            **options.given_labels,
            name_template=options.name_template,
            canonical_camera=options.camera,
            episode_indices=options.episodes,
            on_progress=on_progress,
            summary=summary,
            again=options.again,
        )

    return Recording(
        path=path,
        format="lerobot",
        episodes=_chosen(summary.episode_indices, options),
        bytes_size=folder_bytes(root) if root.is_dir() else None,
        report=summary.report(),
        streams={name: [dtype, list(shape)] for name, (dtype, shape) in summary.streams.items()},
        cameras=list(summary.cameras),
        upload=upload,
    )


def _hdf5(path: Path, options: ImportOptions) -> Recording:
    from robotrace.adapters import hdf5

    summary = hdf5.scan_file(path, fps=options.fps)

    def upload(on_progress: OnProgress) -> DatasetUpload:
        return hdf5.upload_dataset(
            path,
            **options.given_labels,
            name_template=options.name_template,
            canonical_camera=options.camera,
            image_color=options.image_color,
            episode_indices=options.episodes,
            on_progress=on_progress,
            summary=summary,
            again=options.again,
        )

    first = summary.episodes[0]
    return Recording(
        path=str(path),
        format="hdf5",
        episodes=_chosen(summary.episode_indices, options),
        bytes_size=summary.bytes_size,
        report=summary.report(),
        streams={name: [dtype, list(shape)] for name, (dtype, shape) in first.streams.items()},
        cameras=list(first.cameras),
        upload=upload,
    )


def _bag(path: str, options: ImportOptions) -> Recording:
    try:
        ros2: Any = importlib.import_module("robotrace.adapters.ros2")
    except ImportError as exc:
        raise ConfigurationError("bags need rosbags; run: pip install 'robotrace-dev[ros2]'") from exc
    summary = ros2.scan_bag(path)
    place = Path(path)
    name = None
    if options.name_template is not None:
        name = named(options.name_template, {"bag": place.resolve().stem if place.is_file() else place.resolve().name})

    def upload(on_progress: OnProgress) -> DatasetUpload:
        try:
            topics = {argument: given for argument, given in options.topics.items() if given}
            labels = options.given_labels
            episode = ros2.upload_bag(
                path, name=name, canonical_video_topic=options.camera, again=options.again, **labels, **topics
            )
        except ConfigurationError:
            raise
        except RobotraceError as exc:
            failure = EpisodeFailure(0, str(exc))
            on_progress(1, 1, failure)
            return DatasetUpload([], [failure])
        on_progress(1, 1, episode)
        return DatasetUpload([episode], [])

    return Recording(
        path=path,
        format="ros2",
        episodes=_chosen([0], options),
        bytes_size=folder_bytes(place) if place.is_dir() else place.stat().st_size,
        report=summary.report(),
        streams={topic.topic: [topic.msgtype, topic.msgcount] for topic in summary.topics if topic.slot != "video"},
        cameras=[topic.topic for topic in summary.topics if topic.slot == "video"],
        upload=upload,
    )


def _chosen(there: Sequence[int], options: ImportOptions) -> Sequence[int]:
    for index in options.episodes or ():
        checked_index(there, index)
    return there if options.episodes is None else options.episodes
