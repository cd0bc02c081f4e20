"""From an episode's records to its sealed folder: used by the writer thread, and by whoever salvages a dead process.

START: ``{uuid, unix_ms, create}``. END: ``{finalize}``, or ``{discard: true}`` for an episode nobody wants kept. A
column's ``time`` says which stamps of the episode's clock (the column ``_t_ns``) belong to its rows, counted from its
``first``:

=========  ==========================================================================
``all``    row k at stamp k: observations, N + 1 of them
``before`` row k at stamp k: actions, at the time their observation was seen
``after``  row k at stamp k + 1: rewards and flags, at the time of their result
``none``   it has none: it belongs to another column of its leaf
=========  ==========================================================================

The columns of one leaf:

=====================  ==============================================================================================
``<leaf>/value``       the rows; of a ragged leaf the items of all its rows, one after the other
``<leaf>/_offsets``    in blocks the number of items of each row; in the file, one more than rows, where each begins
``<leaf>/_offsets_1``  where there are items within items: the same for each item of the level above
``<leaf>/_rows``       of a leaf that is not in every row: which rows it is in; in blocks, from the first gap on
``<leaf>/_t_ns``       the rows' stamps: made here, or, of a leaf with a clock of its own, as they came
=====================  ==============================================================================================
"""

from __future__ import annotations

import itertools
import math
import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robotrace.deliver.blocks import END, START, STEPS, Block, Layout, Record
from robotrace.deliver.files import fsync_file, sha256_of
from robotrace.deliver.npz import Member, write_npz
from robotrace.deliver.spool import LANE_FAILED, LANE_NORMAL, MANIFEST_SCHEMA, SealedEpisode, Spool
from robotrace.ingest import CONTENT_TYPES

__all__ = ["CLOCK_KEY", "VIDEO_FILE", "EpisodeParts", "seal_episode"]

CLOCK_KEY = "_t_ns"
VIDEO_FILE = "video.mp4"

_STAMP = "<i8"
_OFFSETS = "_offsets"
_ROWS = "_rows"
_PICTURE_BYTES = 4096
"""A row of bytes in two dimensions or more, from this size on, is a picture: deflated it takes 12 % of its size."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    path: Path
    offset: int
    nbytes: int
    count: int


@dataclass
class _Stream:
    layout: Layout
    chunks: list[_Chunk] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(chunk.count for chunk in self.chunks)

    def read(self, begin: int = 0, end: float = math.inf) -> Iterator[bytes]:
        """The bytes from ``begin`` to ``end``, a block at a time: a long episode never lies in memory as a whole."""
        position = 0
        for chunk in self.chunks:
            start, stop = max(begin - position, 0), int(min(end - position, chunk.nbytes))
            if start < stop:
                with chunk.path.open("rb", buffering=0) as file:
                    file.seek(chunk.offset + start)
                    yield file.read(stop - start)
            position += chunk.nbytes

    def numbers(self) -> Iterator[int]:
        """The rows of a column of int64."""
        for data in self.read():
            yield from struct.unpack(f"<{len(data) // 8}q", data)


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
            block: Block = record.content
            offset = record.offset
            for layout, count, nbytes in zip(block.layouts, block.sizes[::2], block.sizes[1::2], strict=True):
                stream = streams.get(layout.key)
                if stream is None:
                    stream = streams[layout.key] = _Stream(layout)
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
    files = _write_arrays(folder, streams, clock)
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
    finalize = dict(parts.end["finalize"]) if parts.end else _finalize_salvaged(clock)
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


def _write_arrays(folder: Path, streams: dict[str, _Stream], clock: _Stream) -> dict[Any, Path]:
    members: dict[str, list[Member]] = {"sensors": [], "actions": []}
    for key, stream in streams.items():
        if key == CLOCK_KEY:
            continue
        layout, rows = stream.layout, stream.count
        leaf, _, role = key.rpartition("/")
        arrays = members[layout.artifact]
        if role == _ROWS:
            continue
        if role.startswith(_OFFSETS):
            arrays.append(Member(key, _STAMP, (rows + 1,), _offsets(stream)))
        else:
            picture = layout.descr == "|u1" and len(layout.shape) > 1 and math.prod(layout.shape) >= _PICTURE_BYTES
            arrays.append(Member(key, layout.descr, (rows, *layout.shape), stream.read(), deflate=picture))
        if layout.time != "none":
            places = streams.get(f"{leaf}/{_ROWS}")
            count, stamps = _stamps(stream, places, clock)
            arrays.append(Member(f"{leaf}/{CLOCK_KEY}", _STAMP, (count,), stamps))
            if places is not None:
                numbers = (struct.pack("<q", place) for place in _places(stream, places))
                arrays.append(Member(f"{leaf}/{_ROWS}", _STAMP, (rows,), numbers))
    files = {}
    for kind, arrays in members.items():
        if arrays:
            files[kind] = folder / f"{kind}.npz"
            write_npz(files[kind], arrays)
    return files


def _stamps(stream: _Stream, rows: _Stream | None, clock: _Stream) -> tuple[int, Iterable[bytes]]:
    """How many stamps the rows of a column have, and these."""
    shift = 1 if stream.layout.time == "after" else 0
    if rows is not None:
        return stream.count, _picked(clock, (place + shift for place in _places(stream, rows)))
    begin = stream.layout.first + shift
    count = max(min(stream.count, clock.count - begin), 0)
    return count, clock.read(8 * begin, 8 * (begin + count))


def _places(stream: _Stream, rows: _Stream) -> Iterator[int]:
    """Which rows a column has: those before the first that is listed are there without a gap."""
    first = stream.layout.first
    yield from range(first, first + stream.count - rows.count)
    yield from rows.numbers()


def _picked(clock: _Stream, places: Iterator[int]) -> Iterator[bytes]:
    """The stamps at ascending places; after the end, where a fault in the middle of a step can leave one, the last."""
    stamps = enumerate(clock.numbers())
    at, stamp = -1, 0
    for place in places:
        while at < place:
            at, stamp = next(stamps, (place, stamp))
        yield struct.pack("<q", stamp)


def _offsets(lengths: _Stream) -> Iterator[bytes]:
    total = 0
    yield struct.pack("<q", 0)
    for data in lengths.read():
        ends = array("q", itertools.accumulate(struct.unpack(f"<{len(data) // 8}q", data), initial=total))
        total = ends[-1]
        yield struct.pack(f"<{len(ends) - 1}q", *ends[1:])


def _finalize_salvaged(clock: _Stream) -> dict[str, Any]:
    last = 8 * (clock.count - 1)
    (stamp,) = struct.unpack("<q", b"".join(clock.read(last)))
    duration_s = stamp / 1e9
    return {
        "status": "failed",
        "duration_s": duration_s,
        "failure_time_s": duration_s,
        "metadata": {"failure_reason": "the recording process was killed"},
    }
