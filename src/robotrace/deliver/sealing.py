"""From an episode's records to its sealed folder: used by the writer thread, and by whoever salvages a dead process.

START: ``{uuid, unix_ms, create, window_ns?, discard_killed?}``; with ``window_ns`` only so much before the end is kept,
with ``discard_killed`` nothing of an episode without an END. END:
``{finalize, cut_ns?}``, where ``cut_ns`` is the time from which on it is kept, or ``{discard: true}`` for an episode
nobody wants. The columns: :mod:`robotrace.deliver.columns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robotrace.deliver.blocks import END, RESUME, START, STEPS, Column, Record
from robotrace.deliver.columns import (
    CLOCK_KEY,
    Columns,
    Cut,
    collect_columns,
    first_row,
    last_stamp,
    members,
    resume_at,
    structures,
)
from robotrace.deliver.failpoints import reach
from robotrace.deliver.files import read_json, sha256_of
from robotrace.deliver.npz import LONGEST_COMMENT, write_npz
from robotrace.deliver.spool import LANE_FAILED, LANE_NORMAL, MANIFEST_SCHEMA, SealedEpisode, Spool, WholeEpisode
from robotrace.ingest import CONTENT_TYPES

__all__ = ["VIDEO_FILE", "EpisodeParts", "complete_episode", "seal_episode", "whole_episode"]

VIDEO_FILE = "video.mp4"

_VIDEO_CUT = "video.json"
"""Beside the video, where its encoder had to cut it by itself: ``{"offset_ns"}``, the time that is 0 in it."""


class EpisodeParts:
    """What the records of one episode say, whatever order they come in and however often."""

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.start: dict[str, Any] | None = None
        self.end: dict[str, Any] | None = None
        self._blocks: dict[int, Record] = {}
        self._resumes: dict[int, Record] = {}

    def feed(self, record: Record) -> None:
        """Take a record; a repeated one (same sequence number) changes nothing."""
        if record.kind == START:
            self.start = record.content
        elif record.kind == END:
            self.end = record.content
        elif record.kind == STEPS:
            self._blocks.setdefault(record.sequence, record)
        elif record.kind == RESUME:
            self._resumes.setdefault(record.sequence, record)

    def columns(self) -> Columns:
        """What was recorded, up to the first block that is missing."""
        return collect_columns(self._blocks, self._resumes)

    def resume(self) -> tuple[int, list[Column]]:
        """The sequence number of the next block, and what a RESUME record before it says."""
        blocks = dict(self._blocks)
        return max(blocks, default=-1) + 1, resume_at(collect_columns(blocks, self._resumes))

    def release(self, sequence: int) -> None:
        """Forget the blocks before a RESUME record."""
        for records in (self._blocks, self._resumes):
            for number in [number for number in list(records) if number < sequence]:
                del records[number]


def seal_episode(spool: Spool, folder: Path, parts: EpisodeParts, *, salvaged: bool = False) -> SealedEpisode | None:
    """:func:`complete_episode`, and freeze the folder at once.

    Returns:
        The sealed episode; None when there is nothing to seal.

    Raises:
        OSError: It could not be written.
    """
    whole = complete_episode(folder, parts, salvaged=salvaged)
    if whole is None:
        return None
    (result,) = spool.seal([whole])
    if isinstance(result, Exception):
        raise result
    return result


def complete_episode(folder: Path, parts: EpisodeParts, *, salvaged: bool = False) -> WholeEpisode | None:
    """Write the arrays and hash every artifact; what is left is :meth:`Spool.seal`.

    Args:
        folder: The episode's folder in ``recording``; made when it is not there. May hold ``video.mp4``.
        parts: Its records.
        salvaged: Its process died; without an END record it is sealed as failed, marked ``metadata.salvaged``.

    Returns:
        None when there is nothing to seal: no START record, not even one observation, or nobody who wants it.

    Raises:
        OSError: It could not be written.
    """
    start = parts.start
    columns = parts.columns()
    if start is None or CLOCK_KEY not in columns:
        return None
    if start.get("discard_killed", False) if parts.end is None else parts.end.get("discard", False):
        return None
    folder.mkdir(mode=0o700, exist_ok=True)
    last_ns = last_stamp(columns)
    cut = _cut(folder, parts, columns, last_ns)
    reach("seal.before_arrays")
    files: dict[Any, Path] = {}
    for kind, arrays in members(columns, cut).items():
        if arrays:
            files[kind] = folder / f"{kind}.npz"
            structure = structures(columns, kind)
            # Thousands of leaves: their arrays are there, how they nest is not.
            write_npz(files[kind], arrays, structure if len(structure) <= LONGEST_COMMENT else b"")
    video = folder / VIDEO_FILE
    if video.is_file() and video.stat().st_size > 0:
        files["video"] = video
    elif video.is_file():
        video.unlink()
    finalize = dict(parts.end["finalize"]) if parts.end else _finalize_salvaged(last_ns - cut.t_ns)
    if cut.row or cut.t_ns:
        kept = {"kept_s": (last_ns - cut.t_ns) / 1e9, "dropped_steps": cut.row}
        finalize["metadata"] = {**finalize.get("metadata", {}), "last_seconds": kept}
    if salvaged:
        finalize["metadata"] = {**finalize.get("metadata", {}), "salvaged": True}
    return whole_episode(folder, parts.uuid, files, start["create"], finalize, int(start["unix_ms"]))


def whole_episode(
    folder: Path,
    uuid: str,
    files: Mapping[Any, Path],
    create: Mapping[str, Any],
    finalize: Mapping[str, Any],
    unix_ms: int,
    *,
    lane: int = LANE_NORMAL,
) -> WholeEpisode:
    """Hash the files of an episode and say what it is; what is left is :meth:`Spool.seal`.

    Args:
        folder: The episode's, in ``recording``.
        uuid: The idempotency key of its upload.
        files: In that folder, by kind.
        create: The payload of its create, without ``request_uploads``.
        finalize: The payload of its finalize.
        unix_ms: When it began.
        lane: How urgent it is, if it did not fail.

    Raises:
        OSError: A file cannot be read.
    """
    reach("seal.before_hash")
    artifacts = []
    for kind, path in files.items():
        path.chmod(0o600)
        artifacts.append(
            {
                "kind": kind,
                "file": path.name,
                "size": path.stat().st_size,
                "sha256": sha256_of(path),
                "content_type": CONTENT_TYPES[kind],
            }
        )
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "uuid": uuid,
        "create": {**create, "request_uploads": [artifact["kind"] for artifact in artifacts]},
        "finalize": {**finalize, "bytes_total": sum(artifact["size"] for artifact in artifacts)},
        "artifacts": artifacts,
    }
    return WholeEpisode(folder, manifest, LANE_FAILED if finalize["status"] == "failed" else lane, unix_ms)


def _cut(folder: Path, parts: EpisodeParts, columns: Columns, last_ns: int) -> Cut:
    """Where the episode begins: as its end says, else where its video does, else where its window does."""
    by_encoder = read_json(folder / _VIDEO_CUT)
    (folder / _VIDEO_CUT).unlink(missing_ok=True)
    window_ns = (parts.start or {}).get("window_ns")
    if parts.end is not None:
        t_ns = parts.end.get("cut_ns", 0)
    elif by_encoder is not None:
        t_ns = by_encoder["offset_ns"]
    else:
        t_ns = 0 if window_ns is None else last_ns - window_ns
    return Cut(first_row(columns, t_ns), t_ns) if t_ns > 0 or columns[CLOCK_KEY].before else Cut()


def _finalize_salvaged(duration_ns: int) -> dict[str, Any]:
    duration_s = duration_ns / 1e9
    return {
        "status": "failed",
        "duration_s": duration_s,
        "failure_time_s": duration_s,
        "metadata": {"failure_reason": "the recording process was killed"},
    }
