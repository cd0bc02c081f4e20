"""In place of ``robotrace.reroll.worker``: a process that does what the episode's ``metadata.stand_in`` says.

``steps``: how many it reports. ``until``: a file; before the last step it makes ``<until>.waits`` (its process id), and
goes on when the file is there. ``writes``: a file, which becomes the video. ``verdict``: of what it answers.
``dies``: it does not.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    for line in connection.makefile("rb"):
        _answer(connection, json.loads(line))


def _answer(connection: socket.socket, job: dict[str, Any]) -> None:
    told = job["metadata"]["stand_in"]
    steps = told.get("steps", 3)
    Path("trace").touch()  # in its working directory
    for step in range(1, steps + 1):
        _send(connection, {"progress": [step, steps]})
        if step == steps - 1 and "until" in told:
            _wait(Path(told["until"]))
    if told.get("dies"):
        print("it broke in the middle", file=sys.stderr)
        os._exit(3)
    verdict = {"verdict": "reproduced", "steps": steps, "total_steps": steps, **told.get("verdict", {})}
    if "writes" in told:
        path = Path(job["video"]["path"])
        shutil.copy(told["writes"], path)
        verdict["video"] = {
            "path": str(path),
            "frames": 4711,  # nobody believes it
            "width": 1,
            "height": 1,
            "preset": "medium",
            "size": path.stat().st_size,
        }
    _send(connection, verdict)


def _wait(until: Path) -> None:
    waits = until.with_name(f"{until.name}.waits")
    waits.with_suffix(".part").write_text(str(os.getpid()))
    waits.with_suffix(".part").replace(waits)
    while not until.exists():
        time.sleep(0.005)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")
