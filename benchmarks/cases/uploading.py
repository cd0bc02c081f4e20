"""A pure-Python loop while its process uploads, to a server that takes what comes and to a slow one. Loops a second."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
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
_CHUNK = 20_000
"""Turns between two looks at the clock."""


def measure(contestant: str, *, seconds: int) -> dict[str, Any]:
    """``bare``: nothing uploads; ``fast``, ``slow``: with the default cap; ``uncapped``: fast, without one."""
    if contestant == "bare":
        return {"loops_per_s": _loop(seconds), "uploaded_mb_s": 0.0}
    with tempfile.TemporaryDirectory(prefix="robotrace-bench-") as folder:
        spool = open_spool(Path(folder))
        with (seal_one(spool, video=b"video").folder / "video.mp4").open("r+b") as file:
            file.truncate(_VIDEO_BYTES)  # sparse: no disk is measured here
        pace = _CountingPace(None if contestant == "uncapped" else DeliveryLimits().upload_bytes_per_s)
        with _server(contestant) as url:
            target = Target(url, "rt_bench")
            uploader = Uploader(spool, lambda: target, pace=pace)
            uploader.start()
            while not pace.sent:
                time.sleep(0.01)
            before, began = pace.sent, time.perf_counter()
            speed = _loop(seconds)
            moved, took = pace.sent - before, time.perf_counter() - began
        uploader.stop(30.0)  # its connection has just broken
        return {"loops_per_s": speed, "uploaded_mb_s": moved / took / 1e6}


class _CountingPace(Pace):
    sent = 0

    def spend(self, nbytes: int) -> None:
        self.sent += nbytes
        super().spend(nbytes)


def _loop(seconds: int) -> float:
    """Arithmetic, dicts and calls, as a pure-Python environment has them."""
    state, turns = {"x": 0.0, "v": 0.1}, 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
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
