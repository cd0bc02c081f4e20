"""The encoder process: ``python -c "…encoder_worker.main()" …``, one per training process.

It reads commands from a socket and frames from shared memory, and writes the videos. End of file on the socket means
that the trainer is gone: what is in the ring is encoded, the files are closed, and it ends. It holds the trainer's
``owner.lock`` as long as it lives, so that nobody salvages a folder it still writes into.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from robotrace.capture.mp4 import Mp4Writer
from robotrace.capture.ring import CLOSE, FRAME, MESSAGE, OPEN, FrameRing

__all__ = ["main"]

_NICE = 10


class _Stream:
    """One video being written; after a fault it keeps consuming frames and remembers why."""

    def __init__(self, options: dict[str, Any], ring: FrameRing) -> None:
        self.ring = ring
        self.error: str | None = None
        self._writer: Mp4Writer | None = None
        try:
            path = Path(options["path"])
            path.parent.mkdir(mode=0o700, exist_ok=True)
            height, width, _ = ring.shape
            self._writer = Mp4Writer(path, width, height, options["frame_duration_ns"])
        except Exception as exc:
            self._fail(exc)

    def add(self, slot: int, t_ns: int) -> None:
        if self._writer is not None and self.error is None:
            try:
                self._writer.add(self.ring.slot(slot), t_ns)
            except Exception as exc:
                self._fail(exc)
        self.ring.consumed = slot + 1

    def close(self) -> dict[str, Any]:
        if self._writer is not None:
            try:
                self._writer.close()
            except Exception as exc:
                self._fail(exc)
        self.ring.close()
        return {"frames": self._writer.frames if self._writer else 0, "error": self.error}

    def _fail(self, exc: Exception) -> None:
        self.error = self.error or f"{type(exc).__name__}: {exc}"


def main() -> None:
    """Serve the trainer at the other end of the socket whose descriptor is ``sys.argv[1]``."""
    # Ctrl-C and a job runner's SIGTERM reach the whole process group; this process ends when the trainer does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    connection = socket.socket(fileno=int(sys.argv[1]))
    streams: dict[int, _Stream] = {}
    try:
        while message := _receive(connection, MESSAGE.size):
            operation, number, argument, t_ns = MESSAGE.unpack(message[0])
            if operation == FRAME:
                streams[number].add(argument, t_ns)
            elif operation == OPEN:
                options = json.loads(_receive_body(connection, argument))
                ring = FrameRing(tuple(options["shape"]), message[1])
                streams[number] = _Stream(options, ring)
            elif operation == CLOSE:
                result = streams.pop(number).close()
                _send(connection, {"stream": number, **result})
    finally:
        for stream in streams.values():
            stream.close()


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
