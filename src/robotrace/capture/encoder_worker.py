"""The encoder process: ``python -c "…encoder_worker.main()" …``, one per training process.

It reads commands from a socket and frames from shared memory, and writes the videos. End of file on the socket means
that the trainer is gone: what is in the rings is encoded, the files are closed, and it ends. It holds the trainer's
``owner.lock`` as long as it lives, so that nobody salvages a folder it still writes into.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from robotrace.capture.encoding import Encoding
from robotrace.capture.presets import VideoLoad, next_preset
from robotrace.capture.ring import CAMERA, CLOSE, FRAME, MESSAGE, NO_CUT, OPEN, FrameRing, VideoSettings
from robotrace.children import usable_cores

__all__ = ["main"]

_NICE = 10


class _Video:
    """One video, its rings, and what it cost."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.cameras: list[int] = []
        self._opened_s = time.monotonic()
        self._busy_s = time.process_time()

    def load(self, waits: int) -> VideoLoad:
        return VideoLoad(
            preset=self.encoding.preset,
            frames=self.encoding.frames,
            waits=waits,
            busy_s=time.process_time() - self._busy_s,
            open_s=time.monotonic() - self._opened_s,
        )


class _Worker:
    """All videos of a trainer."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._videos: dict[int, _Video] = {}
        self._cameras: dict[int, tuple[Encoding, int, FrameRing]] = {}
        self._last: VideoLoad | None = None
        self._cores = usable_cores()

    def serve(self) -> None:
        try:
            while message := _receive(self._connection, MESSAGE.size):
                operation, number, argument, t_ns = MESSAGE.unpack(message[0])
                if operation == FRAME:
                    encoding, camera, ring = self._cameras[number]
                    encoding.add(camera, ring.slot(argument), t_ns)
                    ring.consumed = argument + 1
                elif operation == OPEN:
                    self._open(number, json.loads(_receive_body(self._connection, argument)))
                elif operation == CAMERA:
                    options = json.loads(_receive_body(self._connection, argument))
                    self._add_camera(number, options, message[1])
                elif operation == CLOSE:
                    self._close(number, waits=argument, cut_ns=None if t_ns == NO_CUT else t_ns)
        finally:
            for video in self._videos.values():
                video.encoding.close(orphaned=True)

    def _open(self, number: int, options: dict[str, Any]) -> None:
        preset = next_preset(self._last, self._cores)
        encoding = Encoding(Path(options["path"]), VideoSettings(**options["settings"]), preset)
        self._videos[number] = _Video(encoding)

    def _add_camera(self, number: int, options: dict[str, Any], descriptor: int) -> None:
        shape = tuple(options["shape"])
        video = self._videos[options["video"]]
        video.cameras.append(number)
        camera = video.encoding.add_camera(options["name"], shape)
        self._cameras[number] = (video.encoding, camera, FrameRing(shape, descriptor))

    def _close(self, number: int, waits: int, cut_ns: int | None) -> None:
        video = self._videos.pop(number)
        self._last = video.load(waits)
        answer = video.encoding.close(cut_ns)
        for camera in video.cameras:
            self._cameras.pop(camera)[2].close()
        _send(self._connection, {"video": number, **answer})


def main() -> None:
    """Serve the trainer at the other end of the socket whose descriptor is ``sys.argv[1]``."""
    # Ctrl-C and a job runner's SIGTERM reach the whole process group; this process ends when the trainer does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    _Worker(socket.socket(fileno=int(sys.argv[1]))).serve()


def _receive(connection: socket.socket, size: int) -> tuple[bytes, int] | None:
    """One message and the descriptor that came with it (-1 for none); None at the end of file."""
    data, descriptors, _, _ = socket.recv_fds(connection, size, 1)
    if not data:
        return None
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return None
        data += more
    return data, descriptors[0] if descriptors else -1


def _receive_body(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("the trainer went away in the middle of a message")
        data += more
    return data


def _send(connection: socket.socket, answer: dict[str, Any]) -> None:
    # The trainer may be gone by now; the file is what counts.
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(answer).encode() + b"\n")
