"""The files of one episode, out of an HDF5 file: needs h5py, NumPy and PyAV from its first line on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from robotrace.adapters._encoding import EpisodeWriter
from robotrace.adapters._episode import EncodedEpisode, reading
from robotrace.adapters._pictures import decode_picture
from robotrace.adapters._uploading import checked_index
from robotrace.adapters.hdf5._layout import Demo, Stream, demos, open_file
from robotrace.adapters.hdf5._scan import FileSummary, ImageColor
from robotrace.adapters.hdf5._values import as_bool, as_text
from robotrace.errors import ConfigurationError

__all__ = ["write_episode"]

_BLOCK_BYTES = 4 * 1024 * 1024
_EPOCH_NS = 10**17
"""Stamps beyond 1973 are of the wall clock."""
_LONGEST_TEXT = 4096
"""Of an attribute that goes into the metadata; of a longer one (``model_file``, a robot in XML) its SHA-256."""


def write_episode(
    summary: FileSummary, episode_index: int, folder: Path, camera: str | None, image_color: ImageColor
) -> EncodedEpisode:
    """:func:`robotrace.adapters.hdf5.encode_episode`, of a file that was scanned.

    Args:
        summary: The file.
        episode_index: Which one.
        folder: Where to.
        camera: Whose track is the first one, as there.
        image_color: As there.
    """
    path = summary.path
    with open_file(path) as file, reading(f"episode {episode_index} of {path.name}"):
        demo = _demo(file, episode_index)
        streams, left_out = demo.streams()
        canonical = _find_camera([stream.path for stream in streams if stream.camera], camera)
        clock = demo.clock(demo.length)
        recorded_ns = None
        if clock is not None and int(clock[0][0]) > _EPOCH_NS:
            recorded_ns = int(clock[0][0])
        with EpisodeWriter(folder, canonical=canonical) as writer:
            told = _Told(demo)
            for stream in streams:
                _write(writer, demo, stream, _Times(summary.fps, clock), image_color, told)
            metadata = told.metadata(summary, left_out, None if clock is None else clock[1])
            return writer.close(fps=summary.fps, metadata=metadata, summary=summary, recorded_ns=recorded_ns)


def _find_camera(cameras: list[str], camera: str | None) -> str | None:
    """A camera by its path, or the last part of that; the first one for None.

    Raises:
        ConfigurationError: There is none of that name.
    """
    if camera is None:
        return next(iter(cameras), None)
    found = [name for name in cameras if camera in (name, name.rpartition("/")[2])]
    if not found:
        raise ConfigurationError(f"there is no camera {camera!r}; there is {', '.join(cameras) or 'none'}")
    return found[0]


def _demo(file: h5py.File, index: int) -> Demo:
    found = demos(file)
    checked_index(range(len(found)), index)
    return found[index]


class _Times:
    """The stamps of rows: the file's own for the steps, else counted."""

    def __init__(self, fps: float, clock: tuple[NDArray[np.int64], str] | None) -> None:
        self._step_ns = 1e9 / fps
        self._stamps = None if clock is None else clock[0] - clock[0][0]

    @property
    def frame_ns(self) -> int:
        return round(self._step_ns)

    def of(self, begin: int, end: int, rows: int) -> NDArray[np.int64]:
        """Of the rows from ``begin`` to ``end`` of a dataset of so many."""
        counted: NDArray[np.int64] = np.rint(np.arange(begin, end) * self._step_ns).astype(np.int64)
        if self._stamps is None:
            return counted
        if rows == len(self._stamps):
            own: NDArray[np.int64] = self._stamps[begin:end]
            return own
        # More rows than steps, or fewer: the file's stamps as far as they go, and a step on after the last.
        index = np.arange(begin, end)
        inside = np.minimum(index, len(self._stamps) - 1)
        after: NDArray[np.int64] = np.rint((index - inside) * self._step_ns).astype(np.int64)
        held: NDArray[np.int64] = self._stamps[inside]
        return held + after


class _Told:
    """What the rows and attributes say of the episode as a whole."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._rewards: float | None = None
        self._binary = True
        self._best = 0.0
        self._flags: bool | None = None
        self.notes: dict[str, str] = {}

    def look(self, path: str, rows: NDArray[Any]) -> None:
        name = path.rpartition("/")[2]
        if path in ("rewards", "reward") and rows.dtype.kind in "fiub" and rows.ndim == 1:
            numbers = rows.astype(np.float64)
            self._rewards = (self._rewards or 0.0) + float(numbers.sum())
            self._binary = self._binary and bool(np.isin(numbers, (0.0, 1.0)).all())
            self._best = max(self._best, float(numbers.max(initial=0.0)))
        elif name in ("success", "successes", "is_success") and rows.dtype.kind in "biu" and "/" not in path:
            self._flags = bool(self._flags) or bool(np.any(rows))

    def metadata(self, summary: FileSummary, left_out: dict[str, str], clock: str | None) -> dict[str, Any]:
        demo = self._demo
        outcome: dict[str, Any] = {"steps": demo.length}
        success = self._success()
        if success is not None:
            outcome["success"] = success
        if self._rewards is not None:
            outcome["reward_total"] = self._rewards
        about: dict[str, Any] = {
            "file": summary.path.name,
            "layout": summary.layout,
            "episode": demo.name,
            "episode_index": demo.index,
            "clock": clock or f"counted at {summary.fps:g} fps",
            "attributes": {**_attributes(demo.file), **(_attributes(demo.group) if demo.group != demo.file else {})},
        }
        if clock is None and summary.fps_from == "default":
            about["clock"] += ", which the file does not say"
        if summary.env_args:
            about["env_args"] = dict(summary.env_args)
        if left_out:
            about["left_out"] = left_out
        metadata: dict[str, Any] = {"adapter": "hdf5", "outcome": outcome, "hdf5": about}
        task = demo.task()
        if task is not None:
            metadata["task"] = task
        if self.notes:
            metadata["incomplete"] = dict(self.notes)
        return metadata

    def _success(self) -> bool | None:
        """As the file says it; else whether a reward that is 0 or 1 was 1 at some time."""
        for name in ("success", "is_success"):
            told = as_bool(self._demo.group.attrs[name]) if name in self._demo.group.attrs else None
            if told is not None:
                return told
        if self._flags is not None:
            return self._flags
        if self._rewards is None or not self._binary:
            return None
        if self._best == 1.0:
            return True
        kwargs = self._demo.env_args.get("env_kwargs")
        # A sparse reward that never came; without that word nobody knows whether rewards were recorded at all.
        return False if isinstance(kwargs, dict) and kwargs.get("reward_shaping") is False else None


def _attributes(item: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in item.attrs.items():
        text = as_text(value)
        if text is None:
            if isinstance(value, np.ndarray) and value.size > 64:
                continue
            found[name] = value
        elif name != "env_args" and len(text) <= _LONGEST_TEXT:
            found[name] = text
        elif name != "env_args":
            found[f"{name}_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return found


def _write(
    writer: EpisodeWriter, demo: Demo, stream: Stream, times: _Times, image_color: ImageColor, told: _Told
) -> None:
    """A dataset, a few rows at a time."""
    artifact: Any = "actions" if stream.is_action else "sensors"
    picture = _Picture(image_color) if stream.camera else None
    rows = len(demo[stream.path])
    with reading(f"{demo.name}/{stream.path}"):
        for begin, block in _blocks(demo[stream.path]):
            stamps = times.of(begin, begin + len(block), rows)
            if stream.is_kept and block.dtype.kind == "O":
                writer.append_ragged(stream.path, list(block), stamps, artifact=artifact)
            elif stream.is_kept:
                writer.append(stream.path, block, stamps, artifact=artifact)
                told.look(stream.path, block)
            if picture is not None:
                for row, stamp in zip(block, stamps, strict=True):
                    shown = picture(row, compressed=stream.camera == "compressed")
                    writer.frame(stream.path, shown, int(stamp), frame_ns=times.frame_ns)


def _blocks(item: h5py.Dataset) -> Iterator[tuple[int, NDArray[Any]]]:
    row_bytes = max(1, item.dtype.itemsize * int(np.prod(item.shape[1:], dtype=np.int64)))
    step = max(1, _BLOCK_BYTES // row_bytes) if item.dtype.kind != "O" else 16
    for begin in range(0, len(item), step):
        yield begin, np.asarray(item[begin : begin + step])


class _Picture:
    """Makes pictures out of rows."""

    def __init__(self, image_color: ImageColor) -> None:
        self._flip = image_color == "bgr"
        self._scale: float | None = None

    def __call__(self, row: Any, *, compressed: bool) -> NDArray[Any]:
        if compressed:
            data = row if isinstance(row, bytes) else np.asarray(row).tobytes()
            picture = decode_picture(data)
        else:
            picture = np.asarray(row)
        if picture.dtype.kind == "f":
            if self._scale is None:
                # Once for all of them, so that a dark picture is not taken for one of another range.
                self._scale = 255.0 if float(np.nanmax(picture, initial=0.0)) > 2.0 else 1.0
            picture = picture.astype(np.float64) / self._scale
        channels_first = picture.ndim == 3 and picture.shape[2] not in (1, 3, 4) and picture.shape[0] in (1, 3)
        if channels_first:
            picture = picture.transpose(1, 2, 0)
        if self._flip and picture.ndim == 3 and picture.shape[2] >= 3:
            picture = picture[:, :, 2::-1]
        return picture
