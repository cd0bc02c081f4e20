"""A recorded episode fetched to be replayed: its arrays and its metadata."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotrace.errors import APIError, NotFoundError
from robotrace.ingest import ArtifactKind
from robotrace.reading import download_artifact, get_episode

if TYPE_CHECKING:
    from robotrace.transport import Transport

__all__ = ["Baseline", "UnreplayableError", "fetched_baseline"]

_log = logging.getLogger("robotrace")

# A larger array (images, mostly) is read row by row from the disk; each takes a file descriptor.
_MAX_IN_MEMORY_BYTES = 8 * 1024 * 1024
_NO_ROUTE = (404, 405, 501)
"""What a deployment answers that cannot tell an episode's metadata."""


class UnreplayableError(Exception):
    """There is nothing here that can be replayed; the text says why."""


@dataclass(frozen=True)
class Baseline:
    """A recorded episode; arrays by key, large ones mapped from disk.

    Args:
        sensors: What was observed.
        actions: What was done; empty where that was not recorded.
        metadata: Empty where the deployment has no route for it.
    """

    sensors: Mapping[str, Any]
    actions: Mapping[str, Any]
    metadata: Mapping[str, Any]


@contextlib.contextmanager
def fetched_baseline(transport: Transport, episode_id: str, np: Any) -> Iterator[Baseline]:
    """The episode, as long as the block lasts.

    Args:
        transport: The deployment.
        episode_id: The episode.
        np: The NumPy module.

    Raises:
        UnreplayableError: There is no such episode, it has no sensors, or a file of it is broken.
        RobotraceError: The deployment refused something or could not be reached.
        OSError: There is no room on the disk.
    """
    with tempfile.TemporaryDirectory(prefix="robotrace-replay-") as name:
        folder = Path(name)
        actions = _fetched(transport, episode_id, "actions", folder, np)
        sensors = _fetched(transport, episode_id, "sensors", folder, np)
        metadata = _metadata(transport, episode_id)
        if actions is None and sensors is None and metadata is None:
            raise UnreplayableError(f"baseline episode {episode_id}: not found")
        if sensors is None:
            raise UnreplayableError(f"baseline episode {episode_id}: it has no sensors to replay")
        yield Baseline(sensors, actions or {}, metadata or {})


def _metadata(transport: Transport, episode_id: str) -> Mapping[str, Any] | None:
    try:
        episode = get_episode(transport, episode_id)
    except APIError as exc:
        if exc.status_code in _NO_ROUTE:
            return None
        if exc.status_code == 429 or exc.status_code >= 500:
            raise
        # A deployment may keep this route for its own pages: a refusal, a redirect to a login, a page. The key is good,
        # or the artifacts would have been refused before.
        _log.warning("baseline episode %s: its metadata cannot be read, its outcome is unknown: %s", episode_id, exc)
        return {}
    metadata = episode.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _fetched(transport: Transport, episode_id: str, kind: ArtifactKind, folder: Path, np: Any) -> dict[str, Any] | None:
    path = folder / f"{kind}.npz"
    try:
        download_artifact(transport, episode_id, kind, path)
    except NotFoundError:
        return None
    where = f"baseline episode {episode_id}: {kind}"
    try:
        arrays, skipped = _read_npz(path, np)
    except OSError:
        raise
    except Exception as exc:  # damaged bytes come out of three parsers as nearly anything
        raise UnreplayableError(f"{where} cannot be read as an NPZ file: {exc or type(exc).__name__}") from exc
    if skipped:
        _log.warning("%s: left out, since only pickle could read them: %s", where, ", ".join(skipped))
    path.unlink()
    return arrays


def _read_npz(path: Path, np: Any) -> tuple[dict[str, Any], list[str]]:
    """The arrays, and the keys of those that hold Python objects."""
    arrays, skipped = {}, []
    with zipfile.ZipFile(path) as archive:
        for number, info in enumerate(archive.infolist()):
            if not info.filename.endswith(".npy"):
                continue
            key = info.filename[: -len(".npy")]
            if _holds_objects(archive, info, np):
                skipped.append(key)
            elif info.file_size <= _MAX_IN_MEMORY_BYTES:
                with archive.open(info) as file:
                    arrays[key] = np.lib.format.read_array(file, allow_pickle=False)
            else:
                unpacked = path.with_name(f"{path.stem}-{number}.npy")
                with archive.open(info) as source, unpacked.open("wb") as target:
                    shutil.copyfileobj(source, target, 1024 * 1024)
                arrays[key] = np.load(unpacked, mmap_mode="r", allow_pickle=False)
    return arrays, skipped


def _holds_objects(archive: zipfile.ZipFile, info: zipfile.ZipInfo, np: Any) -> bool:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:  # 3.0 is for field names outside ASCII
            raise ValueError(f"{info.filename} has npy format {version}")
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"{info.filename} claims to be larger than it is")
        return bool(dtype.hasobject)
