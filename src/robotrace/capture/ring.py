"""Between the training process and its encoder: frames in shared memory, and the commands beside them.

An anonymous file, passed by descriptor: no name, nothing to leak, and not Docker's 64 MB /dev/shm. One process
produces and one consumes, in order, so one counter is the whole protocol: a slot may be filled again when
``produced - consumed < slots``.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CAMERA", "CLOSE", "FRAME", "MESSAGE", "NO_CUT", "OPEN", "FrameRing", "VideoSettings"]

MESSAGE = struct.Struct("<cIQq")
"""Operation, number, argument, time in ns.

=========  =================  ==================================  =====================================
``OPEN``   the video's        length of the JSON that follows     -
``CAMERA`` the camera's       likewise; its ring comes with it    -
``FRAME``  the camera's       the frame's, counted from 0         of the frame, on the episode's clock
``CLOSE``  the video's        waits for a full ring               leave out what is before; or ``NO_CUT``
=========  =================  ==================================  =====================================
"""
OPEN, CAMERA, FRAME, CLOSE = b"O", b"A", b"F", b"C"
NO_CUT = -1

_HEADER_BYTES = 64
_SLOTS = 8
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class VideoSettings:
    """What is the same for all cameras of a video.

    Attributes:
        frame_duration_ns: How long the last frame is shown.
        max_edge: The longer edge of the picture at the most, in pixels; None leaves the size.
        window_ns: Keep only so much before the end; None keeps everything.
    """

    frame_duration_ns: int
    max_edge: int | None = None
    window_ns: int | None = None


class FrameRing:
    """A ring of frame slots over a shared mapping.

    Args:
        shape: (H, W, 3) of a frame.
        descriptor: An existing ring's, in the consumer; None makes a new one.
    """

    def __init__(self, shape: tuple[int, int, int], descriptor: int | None = None) -> None:
        self.shape = shape
        frame_bytes = shape[0] * shape[1] * shape[2]
        self.slots = max(2, min(_SLOTS, _MAX_BYTES // frame_bytes))
        size = _HEADER_BYTES + self.slots * frame_bytes
        if descriptor is None:
            descriptor = _anonymous_file()
            os.ftruncate(descriptor, size)
        self.descriptor = descriptor
        # Prefaulted: the first frame in each slot would else fault its 225 pages (480x640) in the middle of a step.
        flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if hasattr(mmap, "MAP_POPULATE") else 0)
        self._map = mmap.mmap(descriptor, size, flags=flags)
        # One aligned 8-byte element: struct would move its bytes one by one, and the other process read half of them.
        self._counter = np.frombuffer(self._map, np.uint64, 1)
        self._frames = np.frombuffer(self._map, np.uint8, self.slots * frame_bytes, _HEADER_BYTES).reshape(
            self.slots, *shape
        )

    def slot(self, number: int) -> NDArray[np.uint8]:
        """The (H, W, 3) view of slot ``number % slots``."""
        view: NDArray[np.uint8] = self._frames[number % self.slots]
        return view

    @property
    def consumed(self) -> int:
        """How many frames the consumer is done with."""
        return int(self._counter[0])

    @consumed.setter
    def consumed(self, count: int) -> None:
        self._counter[0] = count

    def close(self) -> None:
        """Unmap and close."""
        del self._frames, self._counter
        self._map.close()
        os.close(self.descriptor)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):  # Linux
        return os.memfd_create("robotrace-frames", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
