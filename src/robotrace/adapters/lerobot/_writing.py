"""The files of one episode, out of a dataset's: needs NumPy, PyAV and pyarrow from its first line on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from robotrace.adapters._encoding import EpisodeWriter
from robotrace.adapters._episode import EncodedEpisode, reading
from robotrace.adapters._pictures import decode_picture
from robotrace.adapters.lerobot._layout import Dataset, Episode, VideoPiece
from robotrace.adapters.lerobot._rows import Column, as_column, episode_batches
from robotrace.adapters.lerobot._scan import DatasetSummary
from robotrace.capture.images import images_plan
from robotrace.errors import RobotraceError

__all__ = ["write_episode"]

_TOLERANCE_S = 1e-4
"""LeRobot's own: stamps that near to frame / fps are that, and float32 has rounded them."""


def write_episode(summary: DatasetSummary, episode_index: int, folder: Path, camera: str | None) -> EncodedEpisode:
    """:func:`robotrace.adapters.lerobot.encode_episode`, of a dataset that was scanned.

    Args:
        summary: The dataset.
        episode_index: Which one.
        folder: Where to.
        camera: The column whose track is the first one.
    """
    dataset = summary.dataset
    episode = dataset.episode(episode_index)
    with EpisodeWriter(folder, canonical=camera) as writer:
        told = _Told(dataset, episode)
        stamps = _write_rows(writer, dataset, episode, told)
        for name in dataset.video_keys:
            piece = episode.videos.get(name)
            if piece is None:
                told.notes[f"video.{name}"] = "the dataset names no file for it"
                continue
            _write_video(writer, dataset, name, piece, stamps)
        return writer.close(fps=dataset.fps, metadata=told.metadata(), summary=summary)


class _Told:
    """What the rows say of the episode as a whole."""

    def __init__(self, dataset: Dataset, episode: Episode) -> None:
        self._dataset = dataset
        self._episode = episode
        self._reward: float | None = None
        self._success: bool | None = None
        self._done: bool | None = None
        self.notes: dict[str, str] = {}

    def look(self, name: str, array: NDArray[Any]) -> None:
        if not array.size:
            return
        if name == "next.reward" and array.dtype.kind in "fiu":
            self._reward = (self._reward or 0.0) + float(array.astype(np.float64).sum())
        elif name == "next.success" and array.dtype.kind == "b":
            self._success = bool(self._success) or bool(array.any())
        elif name == "next.done" and array.dtype.kind == "b":
            self._done = bool(array.reshape(-1)[-1])

    def metadata(self) -> dict[str, Any]:
        dataset, episode = self._dataset, self._episode
        outcome = {
            "success": self._success,
            "reward_total": self._reward,
            "steps": episode.length,
            "terminated": self._done,
        }
        metadata: dict[str, Any] = {
            "adapter": "lerobot",
            "outcome": {key: value for key, value in outcome.items() if value is not None},
            "lerobot": {
                "dataset": dataset.files.name,
                "revision": dataset.files.revision,
                "codebase_version": dataset.version,
                "episode_index": episode.index,
                "robot_type": dataset.info.get("robot_type"),
                "names": {name: feature["names"] for name, feature in dataset.features.items() if feature.get("names")},
            },
        }
        if len(episode.tasks) == 1:
            metadata["task"] = episode.tasks[0]
        elif episode.tasks:
            metadata["tasks"] = list(episode.tasks)
        if self.notes:
            metadata["incomplete"] = dict(self.notes)
        return metadata


def _write_rows(writer: EpisodeWriter, dataset: Dataset, episode: Episode, told: _Told) -> NDArray[np.int64]:
    """All columns; returns the rows' stamps."""
    path = dataset.files.get(episode.data_path)
    pieces: list[NDArray[np.int64]] = []
    rows = 0
    clock = _Clock(dataset.fps)
    with reading(episode.data_path):
        for batch in episode_batches(path, episode.index):
            stamps = clock.stamps(batch, rows)
            rows += len(stamps)
            pieces.append(stamps)
            for name, values in zip(batch.schema.names, batch.columns, strict=True):
                feature = dataset.features.get(name, {})
                if name in told.notes or feature.get("dtype") == "video":
                    continue
                try:
                    column = as_column(values, tuple(feature.get("shape") or (1,)))
                except (ValueError, TypeError, NotImplementedError) as exc:
                    told.notes[name] = " ".join(str(exc).split())
                    continue
                _write_column(writer, dataset, name, column, stamps, told)
    if rows != episode.length:
        raise RobotraceError(f"{episode.data_path} has {rows} of the {episode.length} rows of episode {episode.index}")
    return np.concatenate(pieces)


def _write_column(
    writer: EpisodeWriter, dataset: Dataset, name: str, column: Column, stamps: NDArray[np.int64], told: _Told
) -> None:
    artifact: Any = "actions" if name == "action" or name.startswith("action.") else "sensors"
    if column.rows is not None:
        stamps = stamps[column.rows]
        told.notes.setdefault(f"{name}/value", "it is not in every row of the dataset")
    if column.array is not None:
        writer.append(name, column.array, stamps, artifact=artifact)
        told.look(name, column.array)
    elif column.pictures is not None:
        frame_ns = round(1e9 / dataset.fps)
        for picture, stamp in zip(column.pictures, stamps, strict=True):
            _write_picture(writer, dataset, name, picture, int(stamp), frame_ns)
    elif column.ragged:
        writer.append_ragged(name, column.ragged, stamps, artifact=artifact)


def _write_picture(writer: EpisodeWriter, dataset: Dataset, name: str, picture: Any, stamp: int, frame_ns: int) -> None:
    data = picture["bytes"]
    if data is None:
        data = dataset.files.get(str(picture.get("path"))).read_bytes()
    image = decode_picture(data)
    if image.dtype == np.uint8:
        writer.frame(name, image, stamp, frame_ns=frame_ns)
    # A small one is what a policy sees, to the bit; a depth image has more than a video can hold.
    if image.dtype != np.uint8 or images_plan({name: (image.dtype, image.shape)}, "auto")[name] == "arrays":
        writer.append(name, image[None], [stamp])


class _Clock:
    """The stamps of rows, in ns from the first one on."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._first_s: float | None = None

    def stamps(self, batch: Any, before: int) -> NDArray[np.int64]:
        count = batch.num_rows
        if "timestamp" not in batch.schema.names:
            exact: NDArray[np.float64] = (before + np.arange(count)) / self._fps
            return np.rint(exact * 1e9).astype(np.int64)
        seconds = batch.column("timestamp").to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1)
        if not np.isfinite(seconds).all():
            raise ValueError("a timestamp is no number")
        frames = np.rint(seconds * self._fps)
        seconds = np.where(np.abs(frames / self._fps - seconds) < _TOLERANCE_S, frames / self._fps, seconds)
        if self._first_s is None:
            self._first_s = float(seconds[0])
        stamps: NDArray[np.int64] = np.rint((seconds - self._first_s) * 1e9).astype(np.int64)
        return stamps


def _write_video(
    writer: EpisodeWriter, dataset: Dataset, camera: str, piece: VideoPiece, stamps: NDArray[np.int64]
) -> None:
    path = dataset.files.get(piece.path)
    half_s = 0.5 / dataset.fps
    # Between two frames, so that no rounding of a stamp moves one in or out.
    begin_s = piece.begin_s - half_s
    end_s = piece.begin_s + len(stamps) / dataset.fps - half_s
    shown = [int(stamp) for stamp in stamps]
    with reading(piece.path):
        if writer.copy_video(camera, path, begin_s, end_s, shown):
            return
        written = 0
        for frame in _frames(path, begin_s, end_s):
            if written < len(shown):
                writer.frame(camera, frame, shown[written], frame_ns=round(1e9 / dataset.fps))
            written += 1
    if written != len(shown):
        raise RobotraceError(f"{piece.path} has {written} frames for the {len(shown)} rows of the episode")


def _frames(path: Path, begin_s: float, end_s: float) -> Any:
    """The frames of a video's first track that are shown in ``[begin_s, end_s)``, (H, W, 3) uint8 RGB."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        assert stream.time_base is not None
        container.seek(round(max(0.0, begin_s) / stream.time_base), stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.time is None or frame.time < begin_s:
                continue
            if frame.time >= end_s:
                return
            yield frame.to_ndarray(format="rgb24")
