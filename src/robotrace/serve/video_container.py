"""What kind of video a file is, found out before a demuxer is let loose on it.

FFmpeg takes anything: a playlist that names other files and addresses, and an MP4 file of two kilobytes whose tables
promise 30 million frames, for which it takes 2 GiB and 9 s. So only the containers of the contract are opened, each by
its own demuxer, and the tables of an MP4 file are looked at first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["ContainerError", "demuxer_of"]

_EBML = b"\x1a\x45\xdf\xa3"
_FIRST = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pdin", b"sidx", b"uuid"})
# What counts frames, wherever it lies: FFmpeg reads a table in any box. And a moov that is packed or hidden, which it
# reads, too, and nobody records.
_TABLES = re.compile(rb"stsz|stz2|trun|stsc|sbgp|cmov|hoov|rmra")
# Of everything but the frames: 2 million of them need 40.
_MAX_TABLE_BYTES = 64 * 1024 * 1024
_MAX_BOXES = 1_000_000


class ContainerError(Exception):
    """No video, or none that is opened."""


def demuxer_of(path: Path, max_frames: int) -> str:
    """FFmpeg's name of what reads a file.

    Args:
        path: The file.
        max_frames: The most that its tables may promise, all tracks together.

    Raises:
        ContainerError: It is neither MP4 nor Matroska (WebM), or promises too much.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(8)
        if head.startswith(_EBML):
            return "matroska"
        if head[4:8] not in _FIRST:
            raise ContainerError("neither MP4 nor Matroska")
        promised = 0
        for box in _boxes_without_frames(file, os.fstat(file.fileno()).st_size):
            for match in _TABLES.finditer(box):
                promised += _promised(match.group(), box, match.start())
                if promised > max_frames:
                    raise ContainerError(f"more than {max_frames} frames")
    return "mov"


def _boxes_without_frames(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Each box of the file with what is in it, but those with the frames themselves."""
    at = 0
    left = _MAX_TABLE_BYTES
    for _ in range(_MAX_BOXES):
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:  # to the end of the file
            length = size - at
        if length < 8:  # the end, or where a killed writer's file was cut
            return
        # The last box of such a file promises more than there is.
        length = min(length, size - at)
        if kind != b"mdat":
            left -= length
            if left < 0:
                raise ContainerError(f"more than {_MAX_TABLE_BYTES} bytes that are no frames")
            file.seek(at)
            yield file.read(length)
        at += length
    raise ContainerError(f"more than {_MAX_BOXES} boxes")


def _promised(kind: bytes, box: bytes, at: int) -> int:
    """How many frames a table counts.

    Args:
        kind: Of the table.
        box: What it lies in.
        at: Where its name begins; before that is its size, behind it a version and flags.
    """

    def number(offset: int) -> int:
        return int.from_bytes(box[at + offset : at + offset + 4], "big")

    if kind in (b"stsz", b"stz2"):
        return number(12)
    if kind == b"trun":
        return number(8)
    end = at - 4 + number(-4) if at >= 4 else at
    if kind == b"stsc":  # entries of three: the first chunk, the frames in each, the description
        # A table of chunks may be far longer than the track: what one chunk holds is what counts.
        return max((number(offset) for offset in range(16, min(end, len(box)) - at - 3, 12)), default=0) // 2
    if kind == b"sbgp":
        return max((number(offset) for offset in range(12, min(end, len(box)) - at - 3, 4)), default=0) // 2
    raise ContainerError(f"a box {kind.decode()} is not read")
