"""Which episodes a dataset has, and where the files say they are: v2.0, v2.1, v3.0 and v3.1."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow.parquet as pq

from robotrace.adapters._episode import reading
from robotrace.adapters._uploading import checked_index
from robotrace.adapters.lerobot._files import DatasetFiles
from robotrace.deliver.files import sha256_of
from robotrace.errors import RobotraceError

__all__ = ["Dataset", "Episode", "VideoPiece", "open_dataset"]

_KNOWN = ("v2.0", "v2.1", "v3.0", "v3.1")
_STATS = tuple(f"stats/{column}/{what}" for column in ("action", "observation.state") for what in ("mean", "std"))
"""Of each episode; who has them can tell one episode from another of the same place and length."""
_CHUNK = 1000


@dataclass(frozen=True)
class VideoPiece:
    """Where a camera's video of an episode is.

    Attributes:
        path: In the dataset.
        begin_s: Where the episode's first frame is, on the video's clock.
    """

    path: str
    begin_s: float


@dataclass(frozen=True)
class Episode:
    """One episode, as the dataset's index has it.

    Attributes:
        index: Its number.
        length: Rows.
        tasks: What was to be done.
        data_path: The parquet file with its rows.
        videos: By camera.
        stats: What tells its content from others'; empty in v2.0.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    data_path: str
    videos: Mapping[str, VideoPiece]
    stats: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Dataset:
    """A dataset's ``meta`` folder.

    Attributes:
        files: Its files.
        info: ``meta/info.json``.
    """

    files: DatasetFiles
    info: Mapping[str, Any]

    @property
    def version(self) -> str:
        """Of the format, ``v2.1``."""
        return str(self.info["codebase_version"])

    @property
    def fps(self) -> float:
        """Rows (and frames) a second."""
        return float(self.info["fps"])

    @property
    def features(self) -> Mapping[str, Mapping[str, Any]]:
        """``{column: {"dtype", "shape", "names"}}``."""
        found: Mapping[str, Mapping[str, Any]] = self.info["features"]
        return found

    @property
    def video_keys(self) -> list[str]:
        """The cameras whose frames are in video files."""
        return [name for name, feature in self.features.items() if feature.get("dtype") == "video"]

    @property
    def image_keys(self) -> list[str]:
        """The cameras whose frames are pictures in the rows."""
        return [name for name, feature in self.features.items() if feature.get("dtype") == "image"]

    @property
    def _is_v3(self) -> bool:
        return self.version.startswith("v3")

    @cached_property
    def episodes(self) -> Mapping[int, Episode]:
        """By number, in their order."""
        found = self._episodes_v3() if self._is_v3 else self._episodes_v2()
        return dict(sorted(found.items()))

    def episode(self, index: int) -> Episode:
        """One of them.

        Raises:
            ConfigurationError: There is no episode of that number.
        """
        checked_index(self.episodes, index)
        return self.episodes[index]

    def fingerprint(self, episode: Episode) -> list[Any]:
        """What an episode is known by when it is imported again: it stays that while others are added."""
        if episode.stats:
            stats = json.dumps(dict(episode.stats), sort_keys=True)
            told: Any = hashlib.sha256(stats.encode()).hexdigest()
        elif self.files.revision is None and not self._is_v3:  # v2.0: a file an episode
            told = sha256_of(self.files.get(episode.data_path))
        else:
            told = self.files.revision
        return [self.files.identity, episode.index, episode.length, list(episode.tasks), told]

    def _episodes_v2(self) -> dict[int, Episode]:
        chunks = int(self.info.get("chunks_size") or _CHUNK)
        stats = {}
        if "meta/episodes_stats.jsonl" in self.files.under("meta"):
            for line in self._lines("meta/episodes_stats.jsonl"):
                told = line.get("stats") or {}
                named = (key.split("/") for key in _STATS)
                stats[line["episode_index"]] = {
                    key: told[column][what]
                    for (_, column, what), key in zip(named, _STATS, strict=True)
                    if column in told
                }
        episodes = {}
        with reading("meta/episodes.jsonl"):
            for line in self._lines("meta/episodes.jsonl"):
                index = int(line["episode_index"])
                place = {"episode_chunk": index // chunks, "episode_index": index}
                videos = {
                    key: VideoPiece(self._path("video_path", video_key=key, **place), 0.0) for key in self.video_keys
                }
                data_path = self._path("data_path", **place)
                tasks = tuple(map(str, line.get("tasks") or ()))
                episodes[index] = Episode(index, int(line["length"]), tasks, data_path, videos, stats.get(index, {}))
        return episodes

    def _episodes_v3(self) -> dict[int, Episode]:
        paths = [path for path in self.files.under("meta/episodes") if path.endswith(".parquet")]
        if not paths:
            raise RobotraceError("meta/episodes is missing: the dataset was never finished (LeRobotDataset.finalize)")
        episodes = {}
        for path in paths:
            with reading(path):
                file = pq.ParquetFile(self.files.get(path))
                try:
                    names = file.schema_arrow.names
                    rows = file.read([name for name in names if not name.startswith("stats/") or name in _STATS])
                finally:
                    file.close()
                for row in rows.to_pylist():
                    episode = self._episode_v3(row)
                    episodes[episode.index] = episode
        return episodes

    def _episode_v3(self, row: Mapping[str, Any]) -> Episode:
        videos = {}
        for key in self.video_keys:
            at = f"videos/{key}"
            if row.get(f"{at}/file_index") is not None:
                place = {"chunk_index": row[f"{at}/chunk_index"], "file_index": row[f"{at}/file_index"]}
                path = self._path("video_path", video_key=key, **place)
                videos[key] = VideoPiece(path, float(row[f"{at}/from_timestamp"]))
        place = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
        stats = {key: row[key] for key in _STATS if row.get(key) is not None}
        tasks = tuple(map(str, row.get("tasks") or ()))
        return Episode(
            int(row["episode_index"]), int(row["length"]), tasks, self._path("data_path", **place), videos, stats
        )

    def _path(self, template: str, **place: Any) -> str:
        text = self.info.get(template)
        if not isinstance(text, str):
            raise RobotraceError(f"meta/info.json has no {template}")
        try:
            return text.format(**place)
        except (KeyError, IndexError, ValueError, AttributeError) as exc:
            raise RobotraceError(f"meta/info.json: {template} {text!r} is none that can be filled in: {exc}") from exc

    def _lines(self, path: str) -> Sequence[dict[str, Any]]:
        with reading(path):
            text = self.files.get(path).read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines() if line.strip()]


def open_dataset(files: DatasetFiles) -> Dataset:
    """The dataset in some files.

    Raises:
        RobotraceError: ``meta/info.json`` cannot be read, or its version is none that is known.
    """
    with reading("meta/info.json"):
        info = json.loads(files.get("meta/info.json").read_text(encoding="utf-8"))
        version = info.get("codebase_version")
        if version not in _KNOWN:
            raise RobotraceError(
                f"{files.name} has the format {version!r}, and {', '.join(_KNOWN)} are known; "
                "LeRobot's own converter brings older ones up"
            )
        if not float(info["fps"]) > 0 or not all(isinstance(item, dict) for item in info["features"].values()):
            raise ValueError("its fps or features are none")
    return Dataset(files, info)
