"""Files that ``robotrace export --format hdf5`` has written: an episode each, to the bit.

:mod:`robotrace.export._hdf5` says what is in them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np

from robotrace.adapters._episode import FILES, EncodedArtifact, EncodedEpisode, reading
from robotrace.adapters._spooling import EpisodeFacts
from robotrace.adapters.hdf5._layout import open_file
from robotrace.adapters.hdf5._scan import DemoSummary, FileSummary
from robotrace.adapters.hdf5._values import as_number, as_text
from robotrace.deliver.npz import Member, is_picture, write_npz
from robotrace.errors import RobotraceError
from robotrace.ingest import EpisodeSource
from robotrace.remux import merge_tracks

__all__ = ["LAYOUT", "identity", "is_own", "labelled", "scan", "write"]

LAYOUT = "robotrace"
_VERSION = 1
_SLOTS = ("sensors", "actions")
_BLOCK_BYTES = 4 * 1024 * 1024
_TEXTS = ("name", "robot", "policy_version", "env_version", "git_sha")


def is_own(file: h5py.File) -> bool:
    """Whether a file is one of these.

    Raises:
        RobotraceError: It is, of a later version.
    """
    if as_text(file.attrs.get("format")) != LAYOUT:
        return False
    version = as_number(file.attrs.get("format_version"))
    if version is None or version > _VERSION:
        raise RobotraceError(f"{Path(file.filename).name} was written by a newer version of RoboTrace")
    return True


def scan(file: h5py.File, path: Path, fps: float | None) -> FileSummary:
    """What such a file holds."""
    streams: dict[str, tuple[str, tuple[int, ...]]] = {}
    steps: dict[str, int] = {}
    for slot, key, item in _arrays(file):
        if not key.rpartition("/")[2].startswith("_") and item.ndim:
            streams[key.removesuffix("/value")] = (str(item.dtype), tuple(item.shape[1:]))
            steps[slot] = max(steps.get(slot, 0), len(item))
    told = as_number(file.attrs.get("fps"))
    length = steps.get("actions", steps.get("sensors", 0))
    demo = DemoSummary(0, _name(file), length, streams, tuple(file["files"]) if "files" in file else ())
    return FileSummary(
        path=path,
        layout=LAYOUT,
        fps=fps or told or 0.0,
        fps_from="argument" if fps is not None else "file",
        episodes=(demo,),
        env_args={},
        bytes_size=path.stat().st_size,
    )


def identity(file: h5py.File) -> list[str]:
    """What tells its episode from every other one: its id, the shapes of everything, its actions."""
    digest = hashlib.sha256()
    for slot, key, item in _arrays(file):
        digest.update(f"{slot}/{key} {item.dtype} {item.shape}\n".encode())
        if slot == "actions":
            for block in _blocks(item):
                digest.update(block)
    return [as_text(file.attrs.get("episode_id")) or "", digest.hexdigest()]


def labelled(file: h5py.File, facts: EpisodeFacts) -> EpisodeFacts:
    """What the file says of its episode, under what the caller says."""
    told = {name: as_text(file.attrs[name]) for name in _TEXTS if name in file.attrs}
    seed = file.attrs.get("seed")
    if seed is not None:
        told["seed"] = int(seed)  # type: ignore[assignment]
    source = as_text(file.attrs.get("source"))
    if source in get_args(EpisodeSource):
        told["source"] = source
    given = {name: value for name, value in vars(facts).items() if value is not None}
    if as_text(file.attrs.get("status")) == "failed":
        given["status"] = "failed"
    return replace(EpisodeFacts(), **{**told, **given})


def write(summary: FileSummary, folder: Path) -> EncodedEpisode:
    """The files of the episode.

    Raises:
        RobotraceError: The file is broken; nothing is written then.
    """
    with open_file(summary.path) as file, reading(summary.path.name):
        metadata = json.loads(as_text(file["metadata"][()]) or "{}") if "metadata" in file else {}
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".encoding-", dir=folder) as name:
            private = Path(name)
            for slot in _SLOTS:
                if slot in file:
                    structure = file[f"structure/{slot}"][()].tobytes() if f"structure/{slot}" in file else b""
                    write_npz(private / FILES[slot], _members(file, slot), structure)  # type: ignore[index]
            videos = [_copied(file["files"][kind], private / f"{kind}.part") for kind in sorted(file.get("files", ()))]
            if len(videos) == 1:
                videos[0].replace(private / FILES["video"])
            elif videos:
                merge_tracks(private / FILES["video"], videos)
            found: dict[str, EncodedArtifact] = {}
            for slot, file_name in FILES.items():
                target = folder / file_name
                target.unlink(missing_ok=True)  # of an earlier episode, and this one may have none
                if (private / file_name).exists():
                    shutil.move(private / file_name, target)
                    found[slot] = EncodedArtifact(slot, target, target.stat().st_size)
        return EncodedEpisode(
            folder,
            summary,
            found.get("video"),
            found.get("sensors"),
            found.get("actions"),
            duration_s=as_number(file.attrs.get("duration_s")),
            failure_time_s=as_number(file.attrs.get("failure_time_s")),
            fps=summary.fps or None,
            metadata=metadata,
            recorded_ns=_start_ns(file),
        )


def _name(file: h5py.File) -> str:
    return as_text(file.attrs.get("name")) or Path(file.filename).stem


def _arrays(file: h5py.File) -> Iterator[tuple[str, str, h5py.Dataset]]:
    for slot in _SLOTS:
        found: list[tuple[str, h5py.Dataset]] = []

        def visit(key: str, item: Any, found: list[tuple[str, h5py.Dataset]] = found) -> None:
            if isinstance(item, h5py.Dataset):
                found.append((key, item))

        if slot in file:
            file[slot].visititems(visit)
        yield from ((slot, key, item) for key, item in found)


def _members(file: h5py.File, slot: str) -> Iterator[Member]:
    for _, key, item in (each for each in _arrays(file) if each[0] == slot):
        wide = as_text(item.attrs.get("dtype"))  # texts of a fixed width, which HDF5 has not
        if wide is not None:
            values = np.char.decode(item[()], "utf-8", "surrogatepass").astype(wide)
            yield Member(key, values.dtype.str, values.shape, [values.tobytes()])
        else:
            deflate = is_picture(item.dtype.str, item.shape[1:])
            yield Member(key, item.dtype.str, item.shape, _blocks(item), deflate)


def _blocks(item: h5py.Dataset) -> Iterator[bytes]:
    if not item.ndim:
        yield item[()].tobytes()
        return
    step = max(1, _BLOCK_BYTES // max(1, item.dtype.itemsize * int(np.prod(item.shape[1:], dtype=np.int64))))
    for begin in range(0, len(item), step):
        yield np.ascontiguousarray(item[begin : begin + step]).tobytes()


def _copied(item: h5py.Dataset, path: Path) -> Path:
    with path.open("wb") as target:
        for block in _blocks(item):
            target.write(block)
    return path


def _start_ns(file: h5py.File) -> int | None:
    clock = file.get("sensors/wall_clock/value")
    return int(clock[0]) if isinstance(clock, h5py.Dataset) and clock.ndim == 1 and len(clock) else None
