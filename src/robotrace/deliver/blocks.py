"""Block files: the steps of open episodes as framed, checksummed records, readable after any kill.

One append-only file per process holds records of all its open episodes, so that a short episode costs no file
operation on the training thread. A record::

    4s magic "RTB1" | u8 kind | 3 pad | 16s episode uuid | u32 sequence | u32 length | u32 crc32(payload) | payload

START and END carry JSON. STEPS carries ``u32 header length``, the header, then the columns' raw bytes (C order, little
endian) one after the other. The header is the JSON object ``{"columns": [[key, artifact, time, descr, shape, first],
...]}``, followed (outside of its length) by two int64 a column: its rows and its bytes. So the header of one block is
mostly that of the next, and is kept once. Older files have a JSON list ``[[key, artifact, time, descr,
shape, rows, bytes], ...]`` instead, and nothing after it; they are read too. Every block describes itself. ``descr`` is
NumPy's (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html); NumPy is not needed.

RESUME stands before blocks whose predecessors may be deleted. It is a STEPS record in which the rows of each column so
far are counted, and left out but for those of columns that come once in an episode.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import struct
import threading
import uuid as uuids
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "END",
    "RESUME",
    "START",
    "STEPS",
    "Block",
    "BlockFile",
    "Column",
    "Layout",
    "Record",
    "encode_json",
    "encode_steps",
    "read_records",
]

START, STEPS, END, RESUME = 1, 2, 3, 4

_HEADER = struct.Struct("<4sB3x16sIII")
_LENGTH = struct.Struct("<I")
_MAGIC = b"RTB1"
_SCAN_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Layout:
    """What a column is, in every block of its episode.

    Attributes:
        key: Its name in the file, ``<stream>/value`` and the like.
        artifact: The file it goes to.
        time: Which stamps of the episode's clock belong to its rows (see ``sealing``).
        descr: NumPy's name of the dtype.
        shape: Of one row.
        first: The place of its first row among those of the episode: a column may begin in the middle.
    """

    key: str
    artifact: str
    time: str
    descr: str
    shape: tuple[int, ...]
    first: int = 0


@dataclass(frozen=True)
class Column:
    """Rows of one stream: ``count`` rows as C-ordered bytes; the other attributes are those of :class:`Layout`."""

    key: str
    artifact: str
    time: str
    descr: str
    shape: tuple[int, ...]
    count: int
    data: bytes
    first: int = 0


@dataclass(frozen=True, slots=True)
class Block:
    """The header of a STEPS or RESUME record.

    Attributes:
        layouts: One a column; the same object for every block that looks like this one.
        sizes: Rows and bytes of each column in turn.
    """

    layouts: tuple[Layout, ...]
    sizes: array[int]


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its payload's place in a file; of START and END the decoded JSON, of others the :class:`Block`."""

    kind: int
    uuid: str
    sequence: int
    path: Path
    offset: int
    """Where the columns' bytes begin (STEPS, RESUME), or the payload (START, END)."""
    content: Any


def encode_json(value: Mapping[str, Any]) -> bytes:
    """The payload of a START or END record."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def encode_steps(columns: Sequence[Column]) -> bytes:
    """The payload of a STEPS or RESUME record."""
    described = [[c.key, c.artifact, c.time, c.descr, list(c.shape), c.first] for c in columns]
    header = json.dumps({"columns": described}, separators=(",", ":")).encode()
    sizes = struct.pack(f"<{2 * len(columns)}q", *(size for c in columns for size in (c.count, len(c.data))))
    return b"".join([_LENGTH.pack(len(header)), header, sizes, *(column.data for column in columns)])


class BlockFile:
    """An append-only file that several threads may write to without waiting for each other.

    A writer reserves its range under a lock that covers one addition, and writes outside of it. A killed process
    leaves at worst a hole, which :func:`read_records` skips.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def append(self, kind: int, uuid: str, sequence: int, payload: bytes) -> Record:
        """Write one record into the page cache (it survives this process, not a power loss).

        Raises:
            OSError: The disk is full or gone.
        """
        header = _HEADER.pack(_MAGIC, kind, uuids.UUID(uuid).bytes, sequence, len(payload), zlib.crc32(payload))
        data = header + payload
        with self._lock:
            offset = self.size
            self.size += len(data)
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:] if written else data, offset + written)
        except OSError:
            self._give_back(offset, len(data))
            raise
        return _record(kind, uuid, sequence, self.path, offset + _HEADER.size, payload)

    def _give_back(self, offset: int, length: int) -> None:
        # What is written of it would fill the rest of a full disk, at every new attempt.
        with self._lock:
            if self.size == offset + length:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, offset)
                    self.size = offset

    def sync(self) -> None:
        """Make what was written survive a power loss."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the descriptor; the file stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def abandon(self) -> None:
        """In a forked child: let go of the parent's file, and never of the number of its descriptor.

        The child may have been forked in the middle of an :meth:`append` (by a signal handler, say), which goes on
        once the handler returns. Were the number free, it could be that of a file of the user's by then.
        """
        if self._descriptor < 0:
            return
        try:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.dup2(null, self._descriptor, inheritable=False)
            finally:
                os.close(null)
        except OSError:  # no /dev in a jail, or no descriptor left
            os.close(self._descriptor)
        self._descriptor = -1


def read_records(path: Path) -> Iterator[Record]:
    """Every whole record of a block file; torn ones and holes are skipped."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        while position + _HEADER.size <= size:
            file.seek(position)
            magic, kind, raw_uuid, sequence, length, crc = _HEADER.unpack(file.read(_HEADER.size))
            start = position + _HEADER.size
            if magic == _MAGIC and start + length <= size:
                payload = file.read(length)
                if zlib.crc32(payload) == crc:
                    yield _record(kind, str(uuids.UUID(bytes=raw_uuid)), sequence, path, start, payload)
                    position = start + length
                    continue
            position = _next_magic(file, position + 1, size)


def _record(kind: int, uuid: str, sequence: int, path: Path, offset: int, payload: bytes) -> Record:
    if kind not in (STEPS, RESUME):
        return Record(kind, uuid, sequence, path, offset, json.loads(payload))
    (length,) = _LENGTH.unpack_from(payload)
    begin = _LENGTH.size + length
    layouts, old_sizes = _layouts(payload[_LENGTH.size : begin])
    if old_sizes is not None:
        sizes = array("q", old_sizes)
    else:
        following = begin + 16 * len(layouts)
        sizes = array("q", struct.unpack(f"<{2 * len(layouts)}q", payload[begin:following]))
        begin = following
    return Record(kind, uuid, sequence, path, offset + begin, Block(layouts, sizes))


@functools.lru_cache(maxsize=256)
def _layouts(header: bytes) -> tuple[tuple[Layout, ...], tuple[int, ...] | None]:
    """The columns of a header, and their sizes where an old one carries them; a long episode has few different ones."""
    content = json.loads(header)
    if isinstance(content, list):
        old = tuple(
            Layout(key, artifact, time, descr, tuple(shape)) for key, artifact, time, descr, shape, *_ in content
        )
        return old, tuple(size for column in content for size in column[5:7])
    columns = content["columns"]
    return tuple(
        Layout(key, artifact, time, descr, tuple(shape), first) for key, artifact, time, descr, shape, first in columns
    ), None


def _next_magic(file: Any, position: int, size: int) -> int:
    while position < size:
        file.seek(position)
        chunk = file.read(_SCAN_BYTES)
        found = chunk.find(_MAGIC)
        if found >= 0:
            return int(position + found)
        if len(chunk) < _SCAN_BYTES:
            return size
        position += len(chunk) - len(_MAGIC) + 1
    return size
