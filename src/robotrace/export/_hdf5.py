"""An episode as an HDF5 file that has everything, to the bit: :mod:`robotrace.adapters.hdf5` reads it back.

The attributes of the file are the episode's fields; ``metadata``, ``otel``, ``findings`` and ``reproduction`` are texts
of JSON. ``sensors`` and ``actions`` are groups with the arrays of the NPZ files under their own keys:
``sensors/observation/value`` beside ``sensors/observation/_t_ns``; ``structure`` has what the comments of those files
say of rows that are no single array. ``files`` has the videos as they are, as bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robotrace._version import __version__
from robotrace.export._episode import ExportedEpisode, ExportError
from robotrace.serve.npz import NpzFile, NpzMember, SeriesError

__all__ = ["write_hdf5"]

_BLOCK_BYTES = 1024 * 1024
_FORMAT = "robotrace"
_VERSION = 1
_SLOTS = ("sensors", "actions")
_TEXTS = ("otel", "findings", "reproduction")
"""As datasets: an attribute holds 64 KiB."""
_LONGEST_ATTRIBUTE = 8192
_MOST_ROW = 64 * 1024 * 1024
"""Bytes of one row: it is in memory as a whole."""


def write_hdf5(path: Path, episode: ExportedEpisode, left_out: dict[str, str], on_bytes: Callable[[int], None]) -> int:
    """Write an episode.

    Args:
        path: The file.
        episode: The episode.
        left_out: Why arrays are not in the file, by name; more are added.
        on_bytes: Called with how many bytes were copied now.

    Returns:
        How many streams and videos are in the file.

    Raises:
        ExportError: A file of the episode is broken.
    """
    count = 0
    with h5py.File(path, "w") as file:
        file.attrs.update(_attributes(episode))
        file["metadata"] = json.dumps(episode.metadata)
        for name in _TEXTS:
            if episode.about.get(name):
                file[name] = json.dumps(episode.about[name])
        for slot, source in episode.files.items():
            if slot not in _SLOTS:
                _copy_file(file, slot, source, on_bytes)
                count += 1
                continue
            try:
                with NpzFile(source) as npz:
                    group = file.create_group(slot)
                    if npz.comment:
                        file[f"structure/{slot}"] = np.frombuffer(npz.comment, np.uint8)
                    for key, member in npz.members.items():
                        why = _why_not(group, key, member)
                        if why is not None:
                            left_out[key] = why
                            continue
                        _copy_array(group, key, npz, member, on_bytes)
                        count += key.rpartition("/")[2] == "value"
            except SeriesError as error:
                raise ExportError(f"the {slot} cannot be read: {error}") from error
    return count


def _attributes(episode: ExportedEpisode) -> dict[str, Any]:
    found: dict[str, Any] = {
        "format": _FORMAT,
        "format_version": _VERSION,
        "robotrace_version": __version__,
        "episode_id": episode.episode_id,
    }
    for name, value in episode.about.items():
        if isinstance(value, str):
            value = value[:_LONGEST_ATTRIBUTE].replace("\0", "\ufffd")
        if isinstance(value, (str, int, float, bool)):
            found.setdefault(name, value)
    return found


def _why_not(group: Any, key: str, member: NpzMember) -> str | None:
    if member.dtype.kind not in "biufcSU":
        return f"its type {member.dtype}"
    if member.dtype.itemsize * int(np.prod(member.shape[1:], dtype=np.float64)) > _MOST_ROW:
        return f"its rows are larger than {_MOST_ROW // 1024**2} MiB"
    parts = key.split("/")
    # A path in HDF5: "/x" is at the root, "." no name.
    if any(part in ("", ".") for part in parts) or "\0" in key:
        return "its name is no path in HDF5"
    above = ("/".join(parts[:end]) for end in range(1, len(parts)))
    if key in group or any(isinstance(group.get(each), h5py.Dataset) for each in above):
        return "its name is that of another array, or within it"
    return None


def _copy_array(group: Any, key: str, npz: NpzFile, member: NpzMember, on_bytes: Callable[[int], None]) -> None:
    if member.dtype.kind == "U":  # HDF5 has no UTF-32
        values = npz.read(member)
        encoded = np.char.encode(values, "utf-8", "surrogatepass")
        group.create_dataset(key, data=encoded).attrs["dtype"] = member.dtype.str
        on_bytes(values.nbytes)
        return
    if not member.shape:
        group.create_dataset(key, data=npz.read(member))
        return
    target = group.create_dataset(key, shape=member.shape, dtype=member.dtype)
    row_bytes = max(member.dtype.itemsize * int(np.prod(member.shape[1:], dtype=np.int64)), 1)
    step = max(1, _BLOCK_BYTES // row_bytes)
    rows = npz.rows(member)
    for begin in range(0, member.rows, step):
        block = rows.take(min(step, member.rows - begin))
        target[begin : begin + len(block)] = block
        on_bytes(block.nbytes)


def _copy_file(file: Any, slot: str, path: Path, on_bytes: Callable[[int], None]) -> None:
    size = path.stat().st_size
    target = file.create_dataset(f"files/{slot}", shape=(size,), dtype=np.uint8)
    with path.open("rb") as source:
        at = 0
        while block := source.read(_BLOCK_BYTES):
            target[at : at + len(block)] = np.frombuffer(block, np.uint8)
            at += len(block)
            on_bytes(len(block))
