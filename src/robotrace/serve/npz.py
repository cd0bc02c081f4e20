"""NPZ files of unknown origin, read within bounds.

``numpy.load`` trusts the shape in a member's header and allocates what it says; here it is compared with what the
archive holds first, and members nobody asks for are not unpacked.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

__all__ = ["MemberRows", "NpzFile", "NpzMember", "SeriesError"]

_MAX_BYTES = 2 * 1024**3
_MAX_MEMBERS = 10_000
# 400 a member: 46 and its name.
_MAX_DIRECTORY_BYTES = 400 * _MAX_MEMBERS
# numpy refuses what is longer than 10,000, too.
_MAX_HEADER_BYTES = 64 * 1024
_SUFFIX = ".npy"


class SeriesError(Exception):
    """A file whose series cannot be read."""


@dataclass(frozen=True)
class NpzMember:
    """An array in an NPZ file, as its header describes it.

    Args:
        key: Its name, without ``.npy``.
        dtype: Its dtype.
        shape: Its shape.
    """

    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def rows(self) -> int:
        """The length of the first axis; 1 for a single value."""
        return self.shape[0] if self.shape else 1


class NpzFile:
    """The arrays of an NPZ file; a context manager.

    Args:
        path: The file.

    Raises:
        SeriesError: It is no NPZ file, or broken.
    """

    def __init__(self, path: Path) -> None:
        self._left = _MAX_BYTES
        self.members: dict[str, NpzMember] = {}
        try:
            self._file = _Bounded(path)
        except OSError as error:
            raise SeriesError(f"not an NPZ file: {error}") from error
        try:
            self._zip = zipfile.ZipFile(self._file)
        except Exception as error:  # as in _describe
            self._file.close()
            raise SeriesError(f"not an NPZ file: {error}") from error
        self._file.most = None
        try:
            if len(self._zip.infolist()) > _MAX_MEMBERS:
                raise SeriesError(f"more than {_MAX_MEMBERS} arrays")
            for info in self._zip.infolist():
                if info.filename.endswith(_SUFFIX):
                    key = info.filename.removesuffix(_SUFFIX)
                    self.members[key] = self._describe(info, key)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> NpzFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._zip.close()
        self._file.close()

    def read(self, member: NpzMember) -> NDArray[Any]:
        """Unpack an array.

        Raises:
            SeriesError: It is broken, or this file has now been asked for more than 2 GiB.
        """
        self._left -= math.prod(member.shape) * member.dtype.itemsize
        if self._left < 0:
            raise SeriesError(f"more than {_MAX_BYTES} bytes unpacked")
        try:
            with self._zip.open(member.key + _SUFFIX) as file:
                array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
                return array
        except Exception as error:  # as in _describe
            raise SeriesError(f"{member.key} is broken: {error}") from error

    def read_tail(self, member: NpzMember, rows: int) -> NDArray[Any]:
        """Unpack the last rows of an array, with no more memory than they take.

        Raises:
            SeriesError: As :meth:`read`; also for an array that is not stored row by row.
        """
        if member.rows <= rows or not member.shape:
            return self.read(member)
        shape = (rows, *member.shape[1:])
        row_bytes = math.prod(member.shape[1:]) * member.dtype.itemsize
        self._left -= rows * row_bytes
        # What lies before them is unpacked on the way, too.
        if self._left < 0 or member.rows * row_bytes > _MAX_BYTES:
            raise SeriesError(f"more than {_MAX_BYTES} bytes unpacked")
        try:
            with self._zip.open(member.key + _SUFFIX) as file:
                _, fortran_order, _ = _read_header(file)
                if fortran_order or member.dtype.hasobject:
                    raise ValueError("its last rows do not lie together")
                file.seek((member.rows - rows) * row_bytes, 1)
                return np.frombuffer(file.read(rows * row_bytes), member.dtype).reshape(shape)
        except Exception as error:  # as in _describe
            raise SeriesError(f"{member.key} is broken: {error}") from error

    def rows(self, member: NpzMember) -> MemberRows:
        """An array to be taken a few rows at a time; any number may be under way at once.

        Raises:
            SeriesError: It is a single value, or not stored row by row.
        """
        try:
            file = self._zip.open(member.key + _SUFFIX)
            _, fortran_order, _ = _read_header(file)
            if not member.shape or member.dtype.hasobject or (fortran_order and len(member.shape) > 1):
                raise ValueError("it is not stored row by row")
        except Exception as error:  # as in _describe
            raise SeriesError(f"{member.key} cannot be read: {error}") from error
        return MemberRows(file, member)

    @property
    def comment(self) -> bytes:
        """The archive's own comment."""
        return self._zip.comment

    def _describe(self, info: zipfile.ZipInfo, key: str) -> NpzMember:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SeriesError(f"{key} is packed in a way NPZ files are not")
        try:
            with self._zip.open(info) as file:
                shape, _, dtype = _read_header(file)
                size = info.file_size - file.tell()
        except Exception as error:  # damaged bytes come out of three parsers as nearly anything
            raise SeriesError(f"{key} is no array: {error}") from error
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize > size:
            raise SeriesError(f"{key} claims to be larger than it is")
        return NpzMember(key, dtype, shape)


class MemberRows:
    """The rows of an array, from the first on; no more of it is in memory than is asked for.

    Args:
        file: At the first row.
        member: The array.
    """

    def __init__(self, file: IO[bytes], member: NpzMember) -> None:
        self._file = file
        self._member = member
        self._shape = member.shape[1:]
        self._row_bytes = math.prod(self._shape) * member.dtype.itemsize

    def take(self, rows: int) -> NDArray[Any]:
        """The next rows: ``(rows, …)`` of the array's dtype.

        Raises:
            SeriesError: The file is broken, or has no more of them.
        """
        size = rows * self._row_bytes
        try:
            data = self._file.read(size)
            if len(data) != size:
                raise ValueError("it ends too early")
            return np.frombuffer(data, self._member.dtype).reshape(rows, *self._shape)
        except Exception as error:  # as in NpzFile._describe
            raise SeriesError(f"{self._member.key} is broken: {error}") from error


class _Bounded(io.BufferedReader):
    """A file of which no more than ``most`` bytes are read at once, while there is such a bound.

    A ZIP file's directory is read whole and becomes an object for each member: a million of them is a gigabyte.
    """

    most: int | None = _MAX_DIRECTORY_BYTES

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1) -> bytes:
        """Read."""
        if self.most is not None and size is not None and size > self.most:
            raise ValueError(f"more than {_MAX_MEMBERS} arrays")
        return super().read(size)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran's order, and dtype."""
    version = npy.read_magic(file)
    # numpy reads as much as the length says, four gigabytes, before it looks whether that is a header.
    written = 2 if version == (1, 0) else 4
    ahead: bytes = file.peek(written)[:written]  # type: ignore[attr-defined]  # a member of a ZIP file has it
    if int.from_bytes(ahead, "little") > _MAX_HEADER_BYTES:
        raise ValueError("the header is too long")
    if version == (1, 0):
        shape, fortran_order, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran_order, dtype = npy.read_array_header_2_0(file)
    else:  # 3.0 is for field names outside ASCII
        raise ValueError(f"npy format {version}")
    return shape, fortran_order, dtype
