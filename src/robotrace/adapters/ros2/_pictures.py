"""Image messages as arrays: eight bits a channel become RGB for the video; depth and 16 bits stay what they are.

What NumPy does by slicing is done by it, everything else (bayer, YUV, JPEG, PNG) by FFmpeg.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from robotrace.adapters._pictures import decode_picture, is_compressed

__all__ = ["Picture", "picture_of"]

_ORDERS = {
    "mono8": [0],
    "rgb8": [0, 1, 2],
    "bgr8": [2, 1, 0],
    "rgba8": [0, 1, 2, 3],
    "bgra8": [2, 1, 0, 3],
    # OpenCV's own types say nothing of the colours; OpenCV's order is BGR.
    "8UC1": [0],
    "8UC3": [2, 1, 0],
    "8UC4": [2, 1, 0, 3],
}
_PACKED = {
    # The encoding: FFmpeg's pixel format and the bytes of a pixel in a row.
    "yuv422": ("uyvy422", 2),
    "uyvy": ("uyvy422", 2),
    "yuv422_yuy2": ("yuyv422", 2),
    "yuyv": ("yuyv422", 2),
    "rgb16": ("rgb48le", 6),
    "bgr16": ("bgr48le", 6),
    "rgba16": ("rgba64le", 8),
    "bgra16": ("bgra64le", 8),
    **{f"bayer_{order}8": (f"bayer_{order}8", 1) for order in ("rggb", "bggr", "gbrg", "grbg")},
    **{f"bayer_{order}16": (f"bayer_{order}16le", 2) for order in ("rggb", "bggr", "gbrg", "grbg")},
}
_ARRAY = re.compile(r"(8|16|32|64)(U|S|F)C(\d+)")
_KINDS = {"U": "u", "S": "i", "F": "f"}
_DEPTH_HEADER = struct.Struct("<iff")
"""Of compressed_depth_image_transport: its format, and the two parameters of its quantization."""


@dataclass(frozen=True)
class Picture:
    """What an image message shows.

    Attributes:
        array: For the video uint8 RGB(A) or grey, (H, W, 3 | 4) or (H, W); else (H, W) or (H, W, C) in its own dtype.
        is_video: Whether it is a picture for the video.
        encoding: How it was encoded.
    """

    array: NDArray[Any]
    is_video: bool
    encoding: str


def picture_of(message: Any, *, values: bool = False) -> Picture:
    """The picture of an ``Image`` or ``CompressedImage``.

    Args:
        message: As rosbags decodes it.
        values: Whether it is kept as an array: the pixels as the camera gave them, bayer and YUV included.

    Raises:
        ValueError: It cannot be decoded; the text says why.
    """
    if hasattr(message, "encoding"):
        return _raw(message, values)
    return _compressed(message, values)


def _raw(message: Any, values: bool) -> Picture:
    encoding, width, height = message.encoding, message.width, message.height
    if not width or not height:
        raise ValueError("the image has no pixels")
    order = _ORDERS.get(encoding)
    if order is not None:
        pixels = _rows(message, np.dtype(np.uint8), len(order))
        return Picture(_flat(pixels[:, :, order]), not values, encoding)
    if encoding in _PACKED:
        name, pixel_bytes = _PACKED[encoding]
        if not values:
            return Picture(_packed(message, name, pixel_bytes), True, encoding)
        if name.endswith("le"):
            return Picture(_flat(_numbers(message, "u2", pixel_bytes // 2)), False, encoding)
        return Picture(_flat(_rows(message, np.dtype(np.uint8), pixel_bytes)), False, encoding)
    if encoding in ("nv12", "nv21", "nv24"):
        return Picture(_planar(message, encoding), not values, encoding)
    found = _ARRAY.fullmatch("16UC1" if encoding == "mono16" else encoding)
    if found is None or (found[1], found[2]) in (("8", "F"), ("64", "U"), ("64", "S")):
        raise ValueError(f"the encoding {encoding!r} is not known")
    array = _numbers(message, f"{_KINDS[found[2]]}{int(found[1]) // 8}", int(found[3]))
    return Picture(_flat(array), False, encoding)


def _numbers(message: Any, kind: str, channels: int) -> NDArray[Any]:
    array = _rows(message, np.dtype(f"{'>' if message.is_bigendian else '<'}{kind}"), channels)
    return array.astype(f"<{kind}", copy=False)


def _flat(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _rows(message: Any, dtype: np.dtype[Any], channels: int) -> NDArray[Any]:
    """(H, W, channels), without what pads the rows."""
    width, height = message.width, message.height
    data, step = _lines(message, width * channels * dtype.itemsize)
    lines = np.lib.stride_tricks.as_strided(data, (height, width * channels * dtype.itemsize), (step, 1))
    return np.ascontiguousarray(lines).view(dtype).reshape(height, width, channels)


def _lines(message: Any, row_bytes: int) -> tuple[NDArray[np.uint8], int]:
    """The bytes, and from one row to the next how many."""
    data = np.asarray(message.data, np.uint8)
    step = message.step or row_bytes
    needed = step * (message.height - 1) + row_bytes
    if step < row_bytes or len(data) < needed:
        raise ValueError(
            f"{len(data)} bytes with a step of {step} are no image of {message.width}x{message.height} in "
            f"{message.encoding}"
        )
    return data, step


def _packed(message: Any, name: str, pixel_bytes: int) -> NDArray[np.uint8]:
    row_bytes = message.width * pixel_bytes
    data, step = _lines(message, row_bytes)
    lines = np.lib.stride_tricks.as_strided(data, (message.height, row_bytes), (step, 1))
    wide = name.endswith("le")
    if wide and message.is_bigendian:
        lines = np.ascontiguousarray(lines).view(">u2").astype("<u2").view(np.uint8)
    frame = av.VideoFrame(message.width, message.height, name)
    _fill(frame.planes[0], lines)
    return _rgb(frame)


def _planar(message: Any, name: str) -> NDArray[np.uint8]:
    """A plane of luma, then one of interleaved chroma: of half the width and height, in nv24 of the same."""
    width, height = message.width, message.height
    data = np.asarray(message.data, np.uint8)
    chroma = (height, width * 2) if name == "nv24" else (-(-height // 2), -(-width // 2) * 2)
    if (message.step or width) != width or len(data) < height * width + chroma[0] * chroma[1]:
        raise ValueError(f"{len(data)} bytes with a step of {message.step} are no image of {width}x{height} in {name}")
    frame = av.VideoFrame(width, height, name)
    _fill(frame.planes[0], data[: height * width].reshape(height, width))
    _fill(frame.planes[1], data[height * width :][: chroma[0] * chroma[1]].reshape(chroma))
    return _rgb(frame)


def _fill(plane: Any, lines: NDArray[np.uint8]) -> None:
    height, row_bytes = lines.shape
    target = np.frombuffer(plane, np.uint8)
    target = target[: plane.line_size * height].reshape(height, plane.line_size)
    target[:, :row_bytes] = lines


def _rgb(frame: Any) -> NDArray[np.uint8]:
    array: NDArray[Any] = frame.to_ndarray(format="rgb24")
    return array


def _compressed(message: Any, values: bool) -> Picture:
    data, text = bytes(message.data), message.format
    if "compressedDepth" in text:
        return _depth(data, text)
    array = decode_picture(data)
    return Picture(array, array.dtype == np.uint8 and not values, text)


def _depth(data: bytes, text: str) -> Picture:
    if len(data) < _DEPTH_HEADER.size or not is_compressed(data[_DEPTH_HEADER.size :]):
        raise ValueError(f"{text!r} is not known: of compressedDepth it takes png")
    _, a, b = _DEPTH_HEADER.unpack_from(data)
    values = decode_picture(data[_DEPTH_HEADER.size :])
    if values.dtype != np.uint16 or "32FC1" not in text:
        return Picture(values, False, text)
    # Metres were stored as the inverse: a / depth + b, and 0 where nothing was measured.
    stored: NDArray[Any] = values.astype(np.float32)
    with np.errstate(divide="ignore"):
        depth = np.float32(a) / (stored - np.float32(b))
    return Picture(np.where(stored == 0, np.float32(np.nan), depth).astype("<f4"), False, text)
