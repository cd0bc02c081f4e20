"""The training process's end of a video: frames in, a file out, encoded elsewhere.

``CameraStream.put`` is all the training thread does: one copy into shared memory and 21 bytes into a socket (43 to
60 µs at 480x640; a thread of the training process would cost a pure-Python loop 570 µs a frame).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robotrace.capture.presets import FIRST_PRESET
from robotrace.capture.ring import CAMERA, CLOSE, FRAME, MESSAGE, NO_CUT, OPEN, FrameRing, VideoSettings
from robotrace.children import python_command
from robotrace.deliver.guards import unforked

if TYPE_CHECKING:
    from robotrace.capture.encoding import Encoding

__all__ = ["CameraStream", "EncoderProcess", "VideoResult", "VideoStream", "open_video"]

_log = logging.getLogger("robotrace")

_FULL_RING_POLL_S = 0.0002
_SPARE_RINGS = 4
_FULL_RING_LIMIT_NS = 10_000_000_000
"""A simulator waits for a slow encoder, but not for one that hangs (a dead disk): then the video ends."""
_THREAD_SLOTS = 8


@dataclass(frozen=True)
class VideoResult:
    """What became of a video.

    Attributes:
        cameras: ``{"name", "track", "width", "height", "frames", "error"}`` of each; None: nobody was left to say.
        error: The first fault of the whole file.
        preset: Of libx264; None: nobody was left to say.
        offset_ns: The episode's time at the video's 0.
    """

    cameras: tuple[Mapping[str, Any], ...] | None
    error: str | None
    preset: str | None = None
    offset_ns: int = 0


class CameraStream(Protocol):
    """One camera of a video being recorded."""

    def put(self, frame: NDArray[np.uint8], t_ns: int, *, wait: bool = True) -> int:
        """Copy one (H, W, 3) uint8 frame.

        Args:
            frame: Of the size that was declared.
            t_ns: When it is shown, on the episode's clock.
            wait: Wait when the encoder is behind (a simulator can); else the frame is not taken.

        Returns:
            How long it waited in ns; -1 when the frame was not taken.

        Raises:
            OSError: The encoder is gone, or hangs.
        """


class VideoStream(Protocol):
    """One video being recorded."""

    def add_camera(self, name: str, shape: tuple[int, int, int]) -> CameraStream:
        """A further camera of (H, W, 3) frames; in the file if it comes within a second of the first frame."""

    def close(self, *, waits: int = 0, cut_ns: int | None = None) -> None:
        """No more frames; returns at once.

        Args:
            waits: How often a frame found the ring full.
            cut_ns: With a window: what is before this time is left out, and it becomes the file's 0.
        """

    def result(self, timeout_s: float) -> VideoResult:
        """Wait for the finished file; on another thread than :meth:`CameraStream.put`'s."""


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
                python_command("robotrace.capture.encoder_worker", str(theirs.fileno())),
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
        self._sending = threading.RLock()  # a message of several parts is not to be mixed with another thread's
        self._numbers = 0
        self._answers: dict[int, VideoResult] = {}
        self._free_rings: list[FrameRing] = []
        self._ring_lock = threading.Lock()
        self._buffer = b""
        self._reading = threading.Lock()

    @property
    def alive(self) -> bool:
        """Whether the worker still runs."""
        return self._process.poll() is None

    def open(self, path: Path, settings: VideoSettings) -> VideoStream:
        """Begin a video; the worker creates the file."""
        number = self._number()
        body = json.dumps({"path": os.fspath(path), "settings": dataclasses.asdict(settings)}).encode()
        with self._sending:
            self._socket.sendall(MESSAGE.pack(OPEN, number, len(body), 0) + body)
        return _WorkerVideo(self, number)

    def add_camera(self, video: int, name: str, shape: tuple[int, int, int]) -> tuple[int, FrameRing]:
        """Declare a camera to the worker; returns its number and its ring."""
        number = self._number()
        ring = self._ring(shape)
        body = json.dumps({"video": video, "name": name, "shape": shape}).encode()
        with self._sending:
            socket.send_fds(self._socket, [MESSAGE.pack(CAMERA, number, len(body), 0)], [ring.descriptor])
            self._socket.sendall(body)
        return number, ring

    def release(self, ring: FrameRing) -> None:
        """Take back the ring of a video that is finished, for the next one of its size."""
        with self._ring_lock:
            self._free_rings.append(ring)
            if len(self._free_rings) > _SPARE_RINGS:
                self._free_rings.pop(0).close()

    def send(self, operation: bytes, number: int, argument: int, t_ns: int) -> None:
        """One message to the worker."""
        with self._sending:
            self._socket.sendall(MESSAGE.pack(operation, number, argument, t_ns))

    def answer(self, video: int, timeout_s: float) -> VideoResult:
        """The worker's answer to a CLOSE."""
        deadline = time.monotonic() + timeout_s
        with self._reading:
            while video not in self._answers:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    # It may go on writing into a file that is about to be hashed.
                    self._process.kill()
                    return VideoResult(None, "the encoder did not finish in time")
                try:
                    self._socket.settimeout(remaining)
                    data = self._socket.recv(65536)
                except TimeoutError:
                    continue
                except OSError as exc:
                    return VideoResult(None, f"the encoder process died: {exc}")
                finally:
                    with contextlib.suppress(OSError):  # closed: a new process has taken the dead one's place
                        self._socket.settimeout(None)
                if not data:
                    return VideoResult(None, "the encoder process died")
                self._take(data)
            return self._answers.pop(video)

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

    def _number(self) -> int:
        with self._ring_lock:
            self._numbers += 1
            return self._numbers

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
            self._answers[answer.pop("video")] = _result(answer)


class _WorkerVideo:
    def __init__(self, worker: EncoderProcess, number: int) -> None:
        self._worker = worker
        self._number = number
        self._rings: list[FrameRing] = []

    def add_camera(self, name: str, shape: tuple[int, int, int]) -> CameraStream:
        number, ring = self._worker.add_camera(self._number, name, shape)
        self._rings.append(ring)
        return _WorkerCamera(self._worker, number, ring)

    def close(self, *, waits: int = 0, cut_ns: int | None = None) -> None:
        self._worker.send(CLOSE, self._number, waits, NO_CUT if cut_ns is None else cut_ns)

    def result(self, timeout_s: float) -> VideoResult:
        result = self._worker.answer(self._number, timeout_s)
        for ring in self._rings:
            if result.cameras is not None:
                self._worker.release(ring)
            else:  # the worker may still write its counter
                ring.close()
        return result


class _WorkerCamera:
    def __init__(self, worker: EncoderProcess, number: int, ring: FrameRing) -> None:
        self._worker = worker
        self._number = number
        self._ring = ring
        self._produced = 0

    def put(self, frame: NDArray[np.uint8], t_ns: int, *, wait: bool = True) -> int:
        waited_ns = 0
        if self._produced - self._ring.consumed >= self._ring.slots:
            if not wait:
                return -1
            waited_ns = self._wait_for_slot()
        np.copyto(self._ring.slot(self._produced), frame)
        self._worker.send(FRAME, self._number, self._produced, t_ns)
        self._produced += 1
        return waited_ns

    def _wait_for_slot(self) -> int:
        begin = time.perf_counter_ns()
        while True:
            if not self._worker.alive:
                raise BrokenPipeError("the encoder process died")
            waited_ns = time.perf_counter_ns() - begin
            if self._produced - self._ring.consumed < self._ring.slots:
                return max(1, waited_ns)
            if waited_ns > _FULL_RING_LIMIT_NS:
                raise TimeoutError("the encoder hangs")
            time.sleep(_FULL_RING_POLL_S)


class _ThreadVideo:
    """The same on a thread, where no process may be started."""

    def __init__(self, path: Path, settings: VideoSettings) -> None:
        self._path = path
        self._settings = settings
        self._cameras: list[tuple[str, tuple[int, int, int]]] = []
        self._cut_ns: int | None = None
        self.frames: queue.Queue[tuple[int, NDArray[np.uint8], int] | None] = queue.Queue(maxsize=_THREAD_SLOTS)
        self._result = VideoResult(None, "the encoder thread did not finish in time")
        self._thread = threading.Thread(target=self._run, name="robotrace-encoder", daemon=True)
        self._thread.start()

    def add_camera(self, name: str, shape: tuple[int, int, int]) -> CameraStream:
        self._cameras.append((name, shape))
        return _ThreadCamera(self.frames, len(self._cameras) - 1)

    def close(self, *, waits: int = 0, cut_ns: int | None = None) -> None:
        del waits
        self._cut_ns = cut_ns
        _queue_or_fail(self.frames, None)

    def result(self, timeout_s: float) -> VideoResult:
        self._thread.join(timeout_s)
        return self._result

    def _run(self) -> None:
        try:
            with unforked():
                from robotrace.capture.encoding import Encoding
        except Exception as exc:  # PyAV is missing, or broken: the steps are recorded without pictures
            self._result = VideoResult((), f"{type(exc).__name__}: {exc}")
            while self.frames.get() is not None:
                pass
            return
        encoding = Encoding(self._path, self._settings, FIRST_PRESET)
        declared = 0
        while (item := self.frames.get()) is not None:
            declared = self._declare(encoding, declared)
            encoding.add(*item)
        self._declare(encoding, declared)
        self._result = _result(encoding.close(self._cut_ns))

    def _declare(self, encoding: Encoding, declared: int) -> int:
        for name, shape in self._cameras[declared:]:
            encoding.add_camera(name, shape)
            declared += 1
        return declared


class _ThreadCamera:
    def __init__(self, frames: queue.Queue[tuple[int, NDArray[np.uint8], int] | None], number: int) -> None:
        self._frames = frames
        self._number = number

    def put(self, frame: NDArray[np.uint8], t_ns: int, *, wait: bool = True) -> int:
        item = (self._number, np.array(frame), t_ns)
        try:
            self._frames.put_nowait(item)
            return 0
        except queue.Full:
            if not wait:
                return -1
        begin = time.perf_counter_ns()
        _queue_or_fail(self._frames, item)
        return max(1, time.perf_counter_ns() - begin)


def _queue_or_fail(
    frames: queue.Queue[tuple[int, NDArray[np.uint8], int] | None], item: tuple[int, NDArray[np.uint8], int] | None
) -> None:
    try:
        frames.put(item, timeout=_FULL_RING_LIMIT_NS / 1e9)
    except queue.Full:
        raise TimeoutError("the encoder hangs") from None


def _result(answer: Mapping[str, Any]) -> VideoResult:
    return VideoResult(tuple(answer["cameras"]), answer["error"], answer["preset"], answer["offset_ns"])


def open_video(worker: EncoderProcess | None, path: Path, settings: VideoSettings) -> VideoStream:
    """Begin a video in the worker process, or on a thread where there is none.

    Args:
        worker: The process, None where it could not be started.
        path: The file.
        settings: Of all its cameras.
    """
    if worker is not None:
        return worker.open(path, settings)
    return _ThreadVideo(path, settings)
