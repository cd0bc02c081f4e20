"""NPZ files from raw bytes, streamed, without NumPy.

An ``.npz`` is a zip of ``.npy`` members (format: numpy.lib.format, version 1.0). Members are stored, not compressed:
100,000 steps of 36 columns take 11 ms to write this way and 610 ms compressed.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Member", "write_npz"]

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The oldest date a zip can carry: the same episode gives the same bytes."""


@dataclass(frozen=True)
class Member:
    """One array: dtype ``descr``, ``shape`` with the rows first, and its C-ordered bytes in chunks."""

    key: str
    descr: str
    shape: Sequence[int]
    chunks: Iterable[bytes]


def write_npz(path: Path, members: Iterable[Member]) -> None:
    """Write an ``.npz`` that ``numpy.load(path, allow_pickle=False)`` reads."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for member in members:
            info = zipfile.ZipInfo(f"{member.key}.npy", date_time=_EPOCH)
            info.external_attr = 0o600 << 16
            with archive.open(info, "w", force_zip64=True) as file:
                file.write(_npy_header(member.descr, tuple(member.shape)))
                for chunk in member.chunks:
                    file.write(chunk)


def _npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    # Magic, version and length take 10 bytes; the whole header is a multiple of 64 and ends with a newline.
    padding = -(10 + len(text) + 1) % 64
    header = (text + " " * padding + "\n").encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
