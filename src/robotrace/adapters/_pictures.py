"""Compressed pictures (JPEG, PNG and what else FFmpeg knows by its first bytes), one at a time."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_picture", "is_compressed"]

_CODECS = {b"\xff\xd8": "mjpeg", b"\x89PNG": "png", b"BM": "bmp", b"II*\x00": "tiff", b"MM\x00*": "tiff"}
_GREY = {"gray": "gray", "gray16le": "gray16le", "gray16be": "gray16le"}
"""Formats of one channel that are kept as they are."""


def is_compressed(data: bytes) -> bool:
    """Whether bytes begin like a compressed picture."""
    return _codec(data) is not None


def decode_picture(data: bytes) -> NDArray[Any]:
    """A compressed picture as (H, W, 3) uint8 RGB; one of a single channel as (H, W) uint8 or uint16.

    Args:
        data: The file's bytes; zeros after its end change nothing.

    Raises:
        ValueError: It is none that can be read.
    """
    name = _codec(data)
    if name is None:
        raise ValueError(f"bytes that begin with {data[:4].hex() or 'nothing'} are no JPEG, PNG, BMP or TIFF picture")
    try:
        codec: Any = av.CodecContext.create(name, "r")
        frames = [*codec.decode(av.Packet(data)), *codec.decode(None)]
    except av.FFmpegError as exc:
        raise ValueError(f"a {name} picture of {len(data)} bytes cannot be read: {exc.strerror}") from exc
    if not frames:
        raise ValueError(f"a {name} picture of {len(data)} bytes is cut off")
    grey = _GREY.get(frames[0].format.name)
    array: NDArray[Any] = frames[0].to_ndarray(format=grey or "rgb24")
    return np.ascontiguousarray(array)


def _codec(data: bytes) -> str | None:
    return next((codec for magic, codec in _CODECS.items() if data.startswith(magic)), None)
