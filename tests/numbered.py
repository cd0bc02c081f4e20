"""Pictures with their number burnt in, read back out of videos; other people's recordings made of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType

_CELL = 16
_BITS = 8
_CODEC_NAMES = {"libdav1d": "av1", "libaom-av1": "av1"}


def picture(number: int, height: int = 96, width: int = 128) -> np.ndarray:
    """(height, width, 3) uint8 with ``number`` (below 256) in its first row of cells, on a grey that is its own."""
    frame = np.full((height, width, 3), 90 + number % 60, np.uint8)
    for bit in range(_BITS):
        frame[:_CELL, bit * _CELL : (bit + 1) * _CELL] = 255 if number >> bit & 1 else 0
    return frame


def number_in(frame: np.ndarray) -> int:
    """The number of a picture, however lossy; -1 where it is too small to hold one."""
    if frame.shape[1] < _BITS * _CELL:
        return -1
    cells = (frame[4:12, bit * _CELL + 4 : (bit + 1) * _CELL - 4].mean() > 128 for bit in range(_BITS))
    return sum(1 << bit for bit, on in enumerate(cells) if on)


def tracks(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Of each track by name, in the file's order: when each frame is shown, in µs, and its number."""
    found: dict[str, list[tuple[int, int]]] = {}
    with av.open(str(path)) as container:
        streams = list(container.streams.video)
    for index in range(len(streams)):
        with av.open(str(path)) as container:
            stream = container.streams.video[index]
            found[stream.metadata["handler_name"]] = [
                (round(frame.pts * frame.time_base * 1_000_000), number_in(frame.to_ndarray(format="rgb24")))
                for frame in container.decode(stream)
            ]
    return found


def codecs(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [
            _CODEC_NAMES.get(stream.codec_context.name, stream.codec_context.name) for stream in container.streams.video
        ]


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as loaded:
        return {key: loaded[key] for key in loaded}


def encoded(frame: np.ndarray, codec: str = "png") -> bytes:
    """A PNG or a JPEG (``mjpeg``) of a picture of one or three channels, uint8 or uint16."""
    context: Any = av.CodecContext.create(codec, "w")
    context.height, context.width = frame.shape[:2]
    grey = "gray16be" if frame.dtype == np.uint16 else "gray"
    context.pix_fmt = "yuvj444p" if codec == "mjpeg" else "rgb24" if frame.ndim == 3 else grey
    context.time_base = Fraction(1, 30)
    given = "rgb24" if frame.ndim == 3 else "gray16le" if frame.dtype == np.uint16 else "gray"
    shown = av.VideoFrame.from_ndarray(frame, format=given).reformat(format=context.pix_fmt)
    return b"".join(bytes(packet) for packet in [*context.encode(shown), *context.encode(None)])


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: int = 10,
    *,
    codec: str = "libx264",
    keyframes: Collection[int] = (),
    **options: str,
) -> None:
    """A video of (H, W, 3) frames at k / fps; with keyframes at the places named, besides those of the encoder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    given = {"crf": "20", "sc_threshold": "0", "forced-idr": "1"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        stream: Any = None
        for number, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options={**given, **options})
                stream.pix_fmt = "yuv420p"
                stream.height, stream.width = frame.shape[:2]
            shown = av.VideoFrame.from_ndarray(frame, format="rgb24")
            shown.pict_type = PictureType.I if number in keyframes else PictureType.NONE
            container.mux(stream.encode(shown))
        container.mux(stream.encode(None))


_PEAK = """
import resource, sys
{code}
if sys.platform == "linux":  # getrusage counts what the parent had when it forked
    with open("/proc/self/status") as file:
        print(next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_bytes(code: str, *arguments: object) -> int:
    """The most memory that a process of its own takes to run ``code``, which finds the arguments in ``sys.argv``."""
    done = subprocess.run(
        [sys.executable, "-c", _PEAK.format(code=code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def write_lines(path: Path, lines: Iterable[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
