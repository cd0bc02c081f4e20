"""From an episode's records to its sealed folder: used by the writer thread, and by whoever salvages a dead process.

START: ``{uuid, unix_ms, create}``. END: ``{finalize}``, or ``{discard: true}`` for an episode nobody wants kept. A
column's ``time`` says which stamps of the episode's clock (the column ``_t_ns``) belong to its rows:

=========  ==========================================================================
``all``    row k at stamp k: observations, N + 1 of them
``before`` row k at stamp k: actions, at the time their observation was seen
``after``  row k at stamp k + 1: rewards and flags, at the time of their result
=========  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robotrace.deliver.blocks import END, START, STEPS, Record
from robotrace.deliver.files import fsync_file, sha256_of
from robotrace.deliver.npz import Member, write_npz
from robotrace.deliver.spool import LANE_FAILED, LANE_NORMAL, MANIFEST_SCHEMA, SealedEpisode, Spool
from robotrace.ingest import CONTENT_TYPES

__all__ = ["CLOCK_KEY", "VIDEO_FILE", "EpisodeParts", "seal_episode"]

CLOCK_KEY = "_t_ns"
VIDEO_FILE = "video.mp4"

_STAMP = "<i8"


@dataclass(frozen=True)
class _Chunk:
    path: Path
    offset: int
    nbytes: int
    count: int


@dataclass
class _Stream:
    artifact: str
    time: str
    descr: str
    shape: tuple[int, ...]
    chunks: list[_Chunk] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(chunk.count for chunk in self.chunks)

    def read(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            with chunk.path.open("rb", buffering=0) as file:
                file.seek(chunk.offset)
                yield file.read(chunk.nbytes)


class EpisodeParts:
    """What the records of one episode say, whatever order they come in and however often."""

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.start: dict[str, Any] | None = None
        self.end: dict[str, Any] | None = None
        self._blocks: dict[int, Record] = {}

    def feed(self, record: Record) -> None:
        """Take a record; a repeated one (same sequence number) changes nothing."""
        if record.kind == START:
            self.start = record.content
        elif record.kind == END:
            self.end = record.content
        elif record.kind == STEPS:
            self._blocks.setdefault(record.sequence, record)

    def streams(self) -> dict[str, _Stream]:
        """The columns over all blocks up to the first missing one.

        Rows after a gap have lost their place on the clock: the stamps before them would be missing too, and
        everything later would be shifted.
        """
        streams: dict[str, _Stream] = {}
        for sequence in range(len(self._blocks)):
            record = self._blocks.get(sequence)
            if record is None:
                break
            offset = record.offset
            for key, artifact, time, descr, shape, count, nbytes in record.content:
                stream = streams.setdefault(key, _Stream(artifact, time, descr, tuple(shape)))
                stream.chunks.append(_Chunk(record.path, offset, nbytes, count))
                offset += nbytes
        return streams


def seal_episode(spool: Spool, folder: Path, parts: EpisodeParts, *, salvaged: bool = False) -> SealedEpisode | None:
    """Write the arrays, hash every artifact, and freeze the folder.

    Args:
        spool: Where it goes.
        folder: The episode's folder in ``recording``; made when it is not there. May hold ``video.mp4``.
        parts: Its records.
        salvaged: Its process died; without an END record it is sealed as failed, marked ``metadata.salvaged``.

    Returns:
        The sealed episode, or None when there is nothing to seal: no START record, not even one observation, or an
        END that says to discard it.
    """
    start = parts.start
    streams = parts.streams()
    clock = streams.get(CLOCK_KEY)
    if start is None or clock is None or (parts.end or {}).get("discard"):
        return None
    folder.mkdir(mode=0o700, exist_ok=True)
    stamps = b"".join(clock.read())
    files = _write_arrays(folder, streams, stamps)
    video = folder / VIDEO_FILE
    if video.is_file() and video.stat().st_size > 0:
        files["video"] = video
    elif video.is_file():
        video.unlink()
    artifacts = []
    for kind, path in files.items():
        path.chmod(0o600)
        fsync_file(path)
        artifacts.append(
            {
                "kind": kind,
                "file": path.name,
                "size": path.stat().st_size,
                "sha256": sha256_of(path),
                "content_type": CONTENT_TYPES[kind],
            }
        )
    finalize = dict(parts.end["finalize"]) if parts.end else _finalize_salvaged(stamps)
    if salvaged:
        finalize["metadata"] = {**finalize.get("metadata", {}), "salvaged": True}
    finalize["bytes_total"] = sum(artifact["size"] for artifact in artifacts)
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "uuid": parts.uuid,
        "create": {**start["create"], "request_uploads": [artifact["kind"] for artifact in artifacts]},
        "finalize": finalize,
        "artifacts": artifacts,
    }
    lane = LANE_FAILED if finalize["status"] == "failed" else LANE_NORMAL
    return spool.seal(folder, manifest, lane=lane, unix_ms=int(start["unix_ms"]))


def _write_arrays(folder: Path, streams: dict[str, _Stream], stamps: bytes) -> dict[Any, Path]:
    members: dict[str, list[Member]] = {"sensors": [], "actions": []}
    for key, stream in streams.items():
        if key == CLOCK_KEY:
            continue
        rows = stream.count
        first = 8 if stream.time == "after" else 0
        times = stamps[first : first + 8 * rows]
        arrays = members[stream.artifact]
        arrays.append(Member(key, stream.descr, (rows, *stream.shape), stream.read()))
        arrays.append(Member(f"{key.rpartition('/')[0]}/{CLOCK_KEY}", _STAMP, (len(times) // 8,), [times]))
    files = {}
    for kind, arrays in members.items():
        if arrays:
            files[kind] = folder / f"{kind}.npz"
            write_npz(files[kind], arrays)
    return files


def _finalize_salvaged(stamps: bytes) -> dict[str, Any]:
    duration_s = int.from_bytes(stamps[-8:], "little", signed=True) / 1e9
    return {
        "status": "failed",
        "duration_s": duration_s,
        "failure_time_s": duration_s,
        "metadata": {"failure_reason": "the recording process was killed"},
    }
