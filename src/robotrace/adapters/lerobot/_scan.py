"""What a dataset holds, told without reading its episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from robotrace.adapters._episode import require
from robotrace.adapters.lerobot._files import find_files
from robotrace.errors import ConfigurationError

if TYPE_CHECKING:
    from robotrace.adapters.lerobot._layout import Dataset

__all__ = ["NEEDED", "DatasetSummary", "find_camera", "scan_dataset"]

NEEDED = ("pyarrow", "huggingface_hub", "numpy", "av")


@dataclass(frozen=True)
class DatasetSummary:
    """What a LeRobot dataset holds.

    Attributes:
        name: The folder's, or ``org/name``.
        revision: The hub's commit; None of a folder.
        version: Of the format.
        robot_type: None where the dataset does not say.
        fps: Rows and frames a second.
        episode_lengths: Rows by the episode's number.
        tasks: Of all episodes, each once.
        streams: Dtype and shape of a row by column, of those that become arrays.
        cameras: The columns that become video.
    """

    name: str
    revision: str | None
    version: str
    robot_type: str | None
    fps: float
    episode_lengths: dict[int, int]
    tasks: tuple[str, ...]
    streams: dict[str, tuple[str, tuple[int, ...]]]
    cameras: tuple[str, ...]
    dataset: Dataset = field(repr=False, compare=False)

    @property
    def episode_indices(self) -> Sequence[int]:
        """The numbers of the episodes."""
        return list(self.episode_lengths)

    def report(self) -> str:
        """A few lines for a terminal."""
        episodes, rows = len(self.episode_lengths), sum(self.episode_lengths.values())
        lines = [
            f"{self.name}: LeRobot {self.version}, {episodes} episodes, {rows} rows at {self.fps:g} fps",
            *(f"  task: {task}" for task in self.tasks[:5]),
            *([f"  … and {len(self.tasks) - 5} more tasks"] if len(self.tasks) > 5 else []),
            *(f"  {name}  {dtype}{list(shape)}" for name, (dtype, shape) in self.streams.items()),
            *(f"  {name}  video" for name in self.cameras),
        ]
        return "\n".join(lines)


def scan_dataset(repo_id_or_path: str | Path, *, revision: str | None = None) -> DatasetSummary:
    """Describe a dataset: its ``meta`` folder is read, no episode.

    Args:
        repo_id_or_path: A folder, or ``org/name`` of the hub (whose token ``huggingface_hub`` finds: ``HF_TOKEN``, or
            that of its login).
        revision: A branch, tag or commit of the hub; None: its default branch.

    Raises:
        ConfigurationError: It is no dataset, or a package is missing.
        RobotraceError: A file is missing, broken, or of a version that is not known; the hub cannot be asked.
    """
    require("lerobot", NEEDED)
    from robotrace.adapters.lerobot._layout import open_dataset

    dataset = open_dataset(find_files(repo_id_or_path, revision))
    episodes = dataset.episodes
    streams = {
        name: (str(feature.get("dtype")), tuple(feature.get("shape") or ()))
        for name, feature in dataset.features.items()
        if feature.get("dtype") not in ("video", "image")
    }
    return DatasetSummary(
        name=dataset.files.name,
        revision=dataset.files.revision,
        version=dataset.version,
        robot_type=dataset.info.get("robot_type") or None,
        fps=dataset.fps,
        episode_lengths={index: episode.length for index, episode in episodes.items()},
        tasks=tuple(dict.fromkeys(task for episode in episodes.values() for task in episode.tasks)),
        streams=streams,
        cameras=tuple(name for name, feature in dataset.features.items() if feature.get("dtype") in ("video", "image")),
        dataset=dataset,
    )


def find_camera(summary: DatasetSummary, camera: str | None) -> str | None:
    """A camera by its column, or the last part of that; the dataset's first one for None.

    Raises:
        ConfigurationError: There is none of that name, or more than one.
    """
    if camera is None:
        return next(iter(summary.cameras), None)
    if camera in summary.cameras:
        return camera
    found = [name for name in summary.cameras if name.rpartition(".")[2] == camera]
    if len(found) != 1:
        raise ConfigurationError(
            f"{summary.name} has no camera {camera!r}; it has {', '.join(summary.cameras) or 'none'}"
        )
    return found[0]
