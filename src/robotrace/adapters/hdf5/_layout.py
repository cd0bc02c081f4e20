"""Where the episodes of an HDF5 file are: robomimic's ``data/demo_N``, or ALOHA's file of one episode."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from robotrace.adapters._episode import reading
from robotrace.adapters._pictures import is_compressed
from robotrace.adapters.hdf5._values import as_bool, as_json, as_number, as_text, first_number, stamps_from
from robotrace.capture.images import images_plan
from robotrace.errors import ConfigurationError, RobotraceError

__all__ = ["Demo", "Stream", "demos", "open_file"]

Layout = Literal["robomimic", "aloha"]

_FPS_NAMES = ("fps", "control_freq", "control_frequency", "frequency", "sampling_rate", "hz", "rate")
_CLOCKS = re.compile(r"(time_?stamps?|times?|t)(_(ns|us|ms|s|sec))?")
_ALOHA_FPS = 50.0
"""DT = 0.02 of its recorder, which writes no rate."""
_ROBOMIMIC_FPS = 20.0
"""robosuite's ``control_freq``, where ``env_args`` does not say."""
_NO_STREAMS = ("compress_len",)
"""How long the rows of compressed pictures are without their padding."""
_LEAST_IMAGE_EDGE = 8


@dataclass(frozen=True)
class Stream:
    """A dataset with a row for each step.

    Attributes:
        path: In the episode's group; its stream's name.
        dtype: Of a row.
        shape: Of a row.
        is_action: Whether it is what was done.
        camera: How it is a picture: ``raw`` (uint8, or float RGB), ``compressed``, or None.
        is_kept: Whether it is kept as an array too: what video could not hold, and whatever is no picture.
    """

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_action: bool
    camera: Literal["raw", "compressed"] | None
    is_kept: bool


class Demo:
    """One episode in an open file.

    Args:
        file: The file.
        group: The episode's; the file itself in ALOHA's layout.
        layout: Of the file.
        index: Its number among the episodes of the file.
    """

    def __init__(self, file: h5py.File, group: h5py.Group, layout: Layout, index: int) -> None:
        self.file = file
        self.group = group
        self.layout = layout
        self.index = index
        self.name = group.name.rpartition("/")[2] or Path(file.filename).stem

    def __getitem__(self, path: str) -> Any:
        return self.group[path]

    @property
    def length(self) -> int:
        """Steps: ``num_samples``, else the rows of the actions."""
        told = as_number(self.group.attrs.get("num_samples"))
        for name in ("actions", "action"):
            if name in self.group:
                return int(self.group[name].shape[0])
        if told is not None:
            return int(told)
        raise RobotraceError(f"{self.name} has neither actions nor num_samples")

    def streams(self) -> tuple[list[Stream], dict[str, str]]:
        """The datasets with rows, and why others are left out."""
        found: list[Stream] = []
        left_out: dict[str, str] = {}

        def visit(path: str, item: Any) -> None:
            if not isinstance(item, h5py.Dataset) or path.rpartition("/")[2] in _NO_STREAMS:
                return
            if item.ndim == 0 or item.shape[0] == 0:
                left_out[path] = "it has no rows"
                return
            try:
                stream = self._stream(path, item)
            except ValueError as exc:
                left_out[path] = str(exc)
                return
            found.append(stream)

        self.group.visititems(visit)
        return found, left_out

    def _stream(self, path: str, item: h5py.Dataset) -> Stream:
        name = path.partition("/")[0]
        is_action = name in ("actions", "action", "base_action") or name.startswith(("action_", "actions_"))
        dtype, shape = item.dtype, tuple(item.shape[1:])
        if _holds_compressed(item):
            return Stream(path, dtype, shape, is_action, "compressed", False)
        if dtype.kind == "O" and h5py.check_string_dtype(dtype) is None and h5py.check_vlen_dtype(dtype) is None:
            raise ValueError(f"its type {dtype} cannot be kept without pickle")
        if dtype.kind == "V":
            raise ValueError("rows of several fields are not taken")
        camera = _is_picture(dtype, shape)
        if camera and path.startswith("next_obs/"):
            raise ValueError("the pictures of obs, a step later")
        is_kept = not camera or images_plan({path: (dtype, shape)}, "auto")[path] == "arrays"
        return Stream(path, dtype, shape, is_action, "raw" if camera else None, is_kept)

    @property
    def env_args(self) -> Mapping[str, Any]:
        """Robomimic's description of the environment; empty without one."""
        data = self.group.parent
        found = as_json(data.attrs.get("env_args")) if self.layout == "robomimic" else None
        return found if isinstance(found, dict) else {}

    def fps(self) -> tuple[float, bool]:
        """Steps a second, and whether the file says so."""
        kwargs = self.env_args.get("env_kwargs")
        told = first_number(
            (self.group.attrs, self.group.parent.attrs, self.file.attrs, self.env_args, kwargs or {}), _FPS_NAMES
        )
        if told is not None:
            return told, True
        return (_ALOHA_FPS if self.layout == "aloha" else _ROBOMIMIC_FPS), False

    def clock(self, length: int) -> tuple[NDArray[np.int64], str] | None:
        """The stamps in ns that the file has for its steps, and the dataset's path; None where it has none."""
        found: list[str] = []

        def visit(path: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and _CLOCKS.fullmatch(path.rpartition("/")[2].lower()):
                found.append(path)

        self.group.visititems(visit)
        for path in sorted(
            (path for path in found if not path.startswith("next_obs/")), key=lambda path: path.count("/")
        ):
            item = self.group[path]
            if item.ndim in (1, 2) and item.shape[0] == length:
                unit = as_text(item.attrs.get("unit", item.attrs.get("units")))
                stamps = stamps_from(item[()], path.rpartition("/")[2], unit)
                if stamps is not None:
                    return stamps, path
        return None

    @property
    def is_sim(self) -> bool | None:
        """Whether it was recorded in a simulator; None where the file does not say."""
        if self.layout == "robomimic":
            return True if self.env_args else None
        return as_bool(self.file.attrs.get("sim"))

    def task(self) -> str | None:
        """What was to be done, where the file says so."""
        attributes = (self.group.attrs, self.group.parent.attrs, self.file.attrs)
        for attrs in attributes:
            for name in ("task", "language_instruction", "instruction"):
                if name in attrs and as_text(attrs[name]):
                    return as_text(attrs[name])
            problem = as_json(attrs.get("problem_info"))  # LIBERO
            if isinstance(problem, dict) and isinstance(problem.get("language_instruction"), str):
                return str(problem["language_instruction"])
        return None

    def fingerprint(self) -> str:
        """What tells its content from that of another one: its actions, and the shapes of everything."""
        digest = hashlib.sha256()
        streams, _ = self.streams()
        for stream in streams:
            item = self.group[stream.path]
            digest.update(f"{stream.path} {item.dtype} {item.shape}\n".encode())
            if stream.is_action:
                for begin in range(0, len(item), 4096):
                    digest.update(np.ascontiguousarray(item[begin : begin + 4096]).tobytes())
        return digest.hexdigest()


@contextlib.contextmanager
def open_file(path: str | Path) -> Iterator[h5py.File]:
    """The file, for reading, as long as the block lasts.

    Raises:
        ConfigurationError: There is no such file.
        RobotraceError: It is none of HDF5, or cut off.
    """
    if not Path(path).is_file():
        raise ConfigurationError(f"{path} is no file")
    with reading(Path(path).name):
        file = h5py.File(path, "r", locking=False)
    with file:
        yield file


def demos(file: h5py.File) -> Sequence[Demo]:
    """The episodes of a file, in their order: ``demo_2`` before ``demo_10``.

    Raises:
        RobotraceError: It has neither layout.
    """
    name = Path(file.filename).name
    data = file.get("data")
    if isinstance(data, h5py.Group):
        groups = [item for item in data.values() if isinstance(item, h5py.Group)]
        if groups:
            groups.sort(key=lambda group: _order(group.name))
            return [Demo(file, group, "robomimic", index) for index, group in enumerate(groups)]
    if isinstance(file.get("observations"), h5py.Group) and isinstance(file.get("action"), h5py.Dataset):
        return [Demo(file, file, "aloha", 0)]
    raise RobotraceError(
        f"{name} is laid out neither as robomimic (data/demo_0/…) nor as ALOHA (observations/, action); "
        f"it has {', '.join(list(file)[:8]) or 'nothing in it'}"
    )


def _order(name: str) -> tuple[Any, ...]:
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))


def _holds_compressed(item: h5py.Dataset) -> bool:
    """Whether its rows are compressed pictures: padded rows of bytes, or of several lengths, or opaque bytes."""
    inner = h5py.check_vlen_dtype(item.dtype)
    if item.ndim == 2 and item.dtype == np.uint8:
        return is_compressed(item[0, :8].tobytes())
    if item.ndim == 1 and inner is not None and np.dtype(inner).itemsize == 1:
        return is_compressed(np.asarray(item[0])[:8].tobytes())
    if item.ndim == 1 and (item.dtype.kind == "S" or h5py.check_string_dtype(item.dtype) is not None):
        first = item[0]
        return isinstance(first, bytes) and is_compressed(first[:8])
    return item.ndim == 1 and item.dtype.kind == "V" and is_compressed(item[0].tobytes()[:8])


def _is_picture(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether rows are pictures that a video can show: bytes of one, three or four channels, or floats of three."""
    if len(shape) == 2:
        return dtype == np.uint8 and min(shape) >= _LEAST_IMAGE_EDGE
    if len(shape) != 3:
        return False
    if shape[2] in (1, 3, 4):
        edges, channels = shape[:2], shape[2]
    elif shape[0] in (1, 3):
        edges, channels = shape[1:], shape[0]
    else:
        return False
    if min(edges) < _LEAST_IMAGE_EDGE:
        return False
    return dtype == np.uint8 or (dtype.kind == "f" and channels >= 3)
