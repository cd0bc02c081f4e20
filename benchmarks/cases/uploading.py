"""A pure-Python loop while its process uploads, to a server that takes what comes and to a slow one."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from robotrace.config import DeliveryLimits, Target
from robotrace.deliver.pace import Pace
from robotrace.deliver.spool import open_spool
from robotrace.deliver.uploader import Uploader
from robotrace.testing.episodes import seal_one

__all__ = ["measure"]

_SLOW_BYTES_PER_S = 1e6
_VIDEO_BYTES = 64 * 1024**3
_CHUNK = 5_000
"""Turns between two looks at the clock."""
_SLICE_S = 0.25


def measure(contestant: str, *, seconds: int) -> dict[str, Any]:
    """``bare``: nothing uploads; ``fast``, ``slow``: with the default cap; ``uncapped``: fast, without one.

    ``speed`` is that of the loop over its own while the upload is held, slice by slice in turn, and its median: what
    else runs on the machine falls on both alike.
    """
    pace = _HeldPace(None if contestant in ("bare", "uncapped") else DeliveryLimits().upload_bytes_per_s)
    if contestant == "bare":
        return _speeds(seconds, pace)
    with tempfile.TemporaryDirectory(prefix="robotrace-bench-") as folder:
        spool = open_spool(Path(folder))
        with (seal_one(spool, video=b"video").folder / "video.mp4").open("r+b") as file:
            file.truncate(_VIDEO_BYTES)  # sparse: no disk is measured here
        with _server(contestant) as url:
            target = Target(url, "rt_bench")
            uploader = Uploader(spool, lambda: target, pace=pace)
            uploader.start()
            while not pace.sent:
                time.sleep(0.01)
            figures = _speeds(seconds, pace)
        uploader.stop(30.0)  # its connection has just broken
        return figures


class _HeldPace(Pace):
    """Counts, and can be held."""

    def __init__(self, bytes_per_s: float | None) -> None:
        super().__init__(bytes_per_s)
        self.sent = 0
        self.going = threading.Event()
        self.going.set()

    def spend(self, nbytes: int) -> None:
        self.sent += nbytes
        if not self.going.is_set():
            self.going.wait()
            self._free_at = self._clock()  # what was not sent meanwhile is not caught up
        super().spend(nbytes)


def _speeds(seconds: int, pace: _HeldPace) -> dict[str, Any]:
    ratios, moved, took = [], 0, 0.0
    pairs = max(2, int(seconds / (2 * _SLICE_S)))
    for number in range(pairs):
        speeds = {}
        for held in (True, False) if number % 2 else (False, True):  # in turn, so that a trend falls on both
            (pace.going.clear if held else pace.going.set)()
            before, began = pace.sent, time.perf_counter()
            speeds[held] = _loop()
            if not held:
                moved += pace.sent - before
                took += time.perf_counter() - began
        ratios.append(speeds[False] / speeds[True])
    pace.going.set()
    return {"speed": statistics.median(ratios), "uploaded_mb_s": moved / took / 1e6}


def _loop() -> float:
    """Arithmetic, dicts and calls, as a pure-Python environment has them; turns a second."""
    state, turns = {"x": 0.0, "v": 0.1}, 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < _SLICE_S:
        for _ in range(_CHUNK):
            state["x"] += 0.02 * state["v"]
            state["v"] = min(1.0, state["v"] * 0.999 + 0.001)
        turns += _CHUNK
    return turns / took


_SERVE = """
import sys
from robotrace.testing import Fault, FaultServer
server = FaultServer(keep_bytes=1)
server.check_claims = False
if float(sys.argv[1]):
    server.fault = lambda method, path: Fault(kind="slow", bytes_per_s=float(sys.argv[1])) if method == "PUT" else None
print(server.url, flush=True)
sys.stdin.read()
server.close()
"""


@contextlib.contextmanager
def _server(contestant: str) -> Iterator[str]:
    """In a process of its own: it must not share the loop's interpreter lock."""
    slow = str(_SLOW_BYTES_PER_S if contestant == "slow" else 0)
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE, slow], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
