"""An MCAP file whose recorder was killed: it has no index and no end, and is read up to its last whole record."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

__all__ = ["CutMcap"]

_MAGIC = b"\x89MCAP0\r\n"
_RECORD = struct.Struct("<BQ")
_DATA_END, _FOOTER = 0x0F, 0x02
_END = _RECORD.pack(_FOOTER, 20) + bytes(20) + _MAGIC
"""A footer that says there is no index: a reader then reads all records (https://mcap.dev/spec)."""


class CutMcap:
    """Such a file as rosbags reads it, a path in its eyes; nothing is copied or changed.

    Args:
        path: The file.

    Raises:
        ValueError: It does not begin like an MCAP file, or has no whole record.
        OSError: It cannot be read.

    Attributes:
        suffix: That of the path.
        whole_bytes: Up to the end of the last whole record.
        size: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.suffix = path.suffix
        self.size = path.stat().st_size
        self.whole_bytes = _whole(path, self.size)

    def __str__(self) -> str:
        return str(self._path)

    def __fspath__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        """As of a path."""
        return True

    def is_dir(self) -> bool:
        """As of a path."""
        return False

    def open(self, *args: Any, **kwargs: Any) -> io.BufferedReader:
        """The whole records, and an end."""
        return io.BufferedReader(_Ended(self._path, self.whole_bytes))


class _Ended(io.RawIOBase):
    """The first bytes of a file, then an end of its own."""

    def __init__(self, path: Path, length: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length + len(_END)}[whence]
        self._at = max(begin + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at < self._length:
            self._file.seek(self._at)
            data = self._file.read(min(len(buffer), self._length - self._at))
        else:
            data = _END[self._at - self._length :][: len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _whole(path: Path, size: int) -> int:
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("it is no MCAP file")
        end = file.tell()
        while True:
            head = file.read(_RECORD.size)
            if len(head) < _RECORD.size:
                break
            kind, length = _RECORD.unpack(head)
            if kind in (_DATA_END, _FOOTER) or end + _RECORD.size + length > size:
                break
            end += _RECORD.size + length
            file.seek(end)
    if end == len(_MAGIC):
        raise ValueError("it has no whole record")
    return end
