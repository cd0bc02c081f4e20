"""The training process's end of a video: frames in, a file out, encoded elsewhere.

``VideoStream.put`` is all the training thread does: one copy into shared memory and 21 bytes into a socket (43 to
60 µs at 480x640; a thread of the training process would cost a pure-Python loop 570 µs a frame).
"""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robotrace.capture.ring import CLOSE, FRAME, MESSAGE, OPEN, FrameRing

__all__ = ["EncoderProcess", "VideoResult", "VideoStream", "open_video"]

_log = logging.getLogger("robotrace")

_BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv.pop(1).split(chr(10)); "
    "from robotrace.capture.encoder_worker import main; main()"
)
"""Not ``-m``: that would put the working directory first, and a user's own ``queue.py`` there before ours."""
_FULL_RING_POLL_S = 0.0002
_SPARE_RINGS = 2
_FULL_RING_LIMIT_NS = 10_000_000_000
"""A simulator waits for a slow encoder, but not for one that hangs (a dead disk): then the video ends."""


@dataclass(frozen=True)
class VideoResult:
    """What became of a video: the frames in its file (None: nobody was left to say), and the first fault."""

    frames: int | None
    error: str | None


class VideoStream(Protocol):
    """One video being recorded."""

    def put(self, frame: NDArray[np.uint8], t_ns: int) -> None:
        """Copy one (H, W, 3) uint8 frame; waits when the encoder is behind (a simulator can)."""

    def close(self) -> None:
        """No more frames; returns at once."""

    def result(self, timeout_s: float) -> VideoResult:
        """Wait for the finished file; on another thread than :meth:`put`'s."""


class EncoderProcess:
    """The worker process, started with the first video, and the socket to it.

    Args:
        keep_open: Descriptors the worker inherits and holds (``owner.lock``).

    Raises:
        OSError: No process may be started here.
    """

    def __init__(self, keep_open: tuple[int, ...]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", _BOOTSTRAP, "\n".join(sys.path), str(theirs.fileno())],
                pass_fds=(theirs.fileno(), *keep_open),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self._streams = 0
        self._answers: dict[int, VideoResult] = {}
        self._free_rings: list[FrameRing] = []
        self._ring_lock = threading.Lock()
        self._buffer = b""
        self._reading = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether the worker still runs."""
        return self._process.poll() is None

    def open(self, path: Path, shape: tuple[int, int, int], frame_duration_ns: int) -> VideoStream:
        """Begin a video; the worker creates the file."""
        self._streams += 1
        ring = self._ring(shape)
        options = {"path": os.fspath(path), "shape": shape, "frame_duration_ns": frame_duration_ns}
        body = json.dumps(options).encode()
        message = MESSAGE.pack(OPEN, self._streams, len(body), 0)
        socket.send_fds(self._socket, [message], [ring.descriptor])
        self._socket.sendall(body)
        return _WorkerStream(self, self._streams, ring)

    def release(self, ring: FrameRing) -> None:
        """Take back the ring of a video that is finished, for the next one of its size."""
        with self._ring_lock:
            self._free_rings.append(ring)
            if len(self._free_rings) > _SPARE_RINGS:
                self._free_rings.pop(0).close()

    def send(self, operation: bytes, stream: int, argument: int, t_ns: int) -> None:
        """One message to the worker."""
        self._socket.sendall(MESSAGE.pack(operation, stream, argument, t_ns))

    def answer(self, stream: int, timeout_s: float) -> VideoResult:
        """The worker's answer to a CLOSE."""
        deadline = time.monotonic() + timeout_s
        with self._reading:
            while stream not in self._answers:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    # It may go on writing into a file that is about to be hashed.
                    self._process.kill()
                    return VideoResult(None, "the encoder did not finish in time")
                self._socket.settimeout(remaining)
                try:
                    data = self._socket.recv(65536)
                except TimeoutError:
                    continue
                except OSError as exc:
                    return VideoResult(None, f"the encoder process died: {exc}")
                finally:
                    self._socket.settimeout(None)
                if not data:
                    return VideoResult(None, "the encoder process died")
                self._take(data)
            return self._answers.pop(stream)

    def close(self, timeout_s: float) -> None:
        """End the worker: it finishes what it has and exits."""
        self._socket.close()
        while self._free_rings:
            self._free_rings.pop().close()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _log.warning("the video encoder is still working; it ends by itself")

    def abandon(self) -> None:
        """Forget the worker in a forked child: it belongs to the parent."""
        self._socket.close()
        self._process.returncode = 0  # no ResourceWarning, no wait for a process that is not ours

    def _ring(self, shape: tuple[int, int, int]) -> FrameRing:
        # Made anew, its 7 MB at 480x640 cost the training thread 4 ms of page faults.
        with self._ring_lock:
            for index, ring in enumerate(self._free_rings):
                if ring.shape == shape:
                    del self._free_rings[index]
                    ring.consumed = 0
                    return ring
        return FrameRing(shape)

    def _take(self, data: bytes) -> None:
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            answer = json.loads(line)
            self._answers[answer["stream"]] = VideoResult(answer["frames"], answer["error"])


class _WorkerStream:
    def __init__(self, worker: EncoderProcess, number: int, ring: FrameRing) -> None:
        self._worker = worker
        self._number = number
        self._ring = ring
        self._produced = 0

    def put(self, frame: NDArray[np.uint8], t_ns: int) -> None:
        if self._produced - self._ring.consumed >= self._ring.slots:
            self._wait_for_slot()
        np.copyto(self._ring.slot(self._produced), frame)
        self._worker.send(FRAME, self._number, self._produced, t_ns)
        self._produced += 1

    def close(self) -> None:
        self._worker.send(CLOSE, self._number, 0, 0)

    def result(self, timeout_s: float) -> VideoResult:
        result = self._worker.answer(self._number, timeout_s)
        if result.error is None:
            self._worker.release(self._ring)
        else:  # the worker may still write its counter
            self._ring.close()
        return result

    def _wait_for_slot(self) -> None:
        begin = time.perf_counter_ns()
        while self._produced - self._ring.consumed >= self._ring.slots:
            if not self._worker.alive:
                raise BrokenPipeError("the encoder process died")
            if time.perf_counter_ns() - begin > _FULL_RING_LIMIT_NS:
                raise TimeoutError("the encoder hangs")
            time.sleep(_FULL_RING_POLL_S)


class _ThreadStream:
    """The same on a thread, where no process may be started."""

    def __init__(self, path: Path, shape: tuple[int, int, int], frame_duration_ns: int) -> None:
        self._path = path
        self._shape = shape
        self._frame_duration_ns = frame_duration_ns
        self._queue: queue.Queue[tuple[NDArray[np.uint8], int] | None] = queue.Queue(maxsize=8)
        self._result = VideoResult(None, "the encoder thread did not finish in time")
        self._thread = threading.Thread(target=self._run, name="robotrace-encoder", daemon=True)
        self._thread.start()

    def put(self, frame: NDArray[np.uint8], t_ns: int) -> None:
        self._queue_or_fail((frame.copy(), t_ns))

    def close(self) -> None:
        self._queue_or_fail(None)

    def result(self, timeout_s: float) -> VideoResult:
        self._thread.join(timeout_s)
        return self._result

    def _queue_or_fail(self, item: tuple[NDArray[np.uint8], int] | None) -> None:
        try:
            self._queue.put(item, timeout=_FULL_RING_LIMIT_NS / 1e9)
        except queue.Full:
            raise TimeoutError("the encoder hangs") from None

    def _run(self) -> None:
        from robotrace.capture.mp4 import Mp4Writer

        writer: Mp4Writer | None = None
        error: str | None = None
        while (item := self._queue.get()) is not None:
            if error is not None:
                continue
            try:
                if writer is None:
                    self._path.parent.mkdir(mode=0o700, exist_ok=True)
                    writer = Mp4Writer(self._path, self._shape[1], self._shape[0], self._frame_duration_ns)
                writer.add(*item)
            except Exception as exc:
                error = f"{type(exc).__name__}: {exc}"
        try:
            if writer is not None:
                writer.close()
        except Exception as exc:
            error = error or f"{type(exc).__name__}: {exc}"
        self._result = VideoResult(writer.frames if writer else 0, error)


def open_video(
    worker: EncoderProcess | None, path: Path, shape: tuple[int, int, int], frame_duration_ns: int
) -> VideoStream:
    """Begin a video in the worker process, or on a thread where there is none.

    Args:
        worker: The process, None where it could not be started.
        path: The file.
        shape: (H, W, 3) of every frame.
        frame_duration_ns: How long the last frame is shown.
    """
    if worker is not None:
        return worker.open(path, shape, frame_duration_ns)
    return _ThreadStream(path, shape, frame_duration_ns)
