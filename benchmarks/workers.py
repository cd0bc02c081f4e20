"""The driver's side of a measuring process, and instruction counts where ``perf`` can."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from plan import Environment

__all__ = ["Worker", "count_instructions", "instructions_in", "no_counts_because", "worker_variables"]

_HERE = Path(__file__).parent
_CHECKOUT = _HERE.parent
_PASSED = ("ROBOTRACE_BENCH_DATABASE", "ROBOTRACE_BENCH_STORAGE")
"""What the cases of the deployment may stand on."""


def worker_variables(environment: Environment, home: Path) -> dict[str, str]:
    """A worker's environment variables: a home and spool of its own, this checkout, and no setting of the user's."""
    ours = [str(_CHECKOUT / "src"), str(_CHECKOUT / "integrations")] if environment.with_ours else []
    kept = {
        key: value
        for key, value in os.environ.items()
        if key in _PASSED or not key.startswith(("ROBOTRACE_", "PYTHON"))
    }
    return kept | {
        "PYTHONPATH": os.pathsep.join([str(_HERE), *ours]),
        "PYTHONHASHSEED": "0",
        "HOME": str(home),
        "ROBOTRACE_HOME": str(home / "robotrace"),
        "ROBOTRACE_SPOOL_DIR": str(home / "spool"),
        "ROBOTRACE_MODE": "offline",
        "MINARI_DATASETS_PATH": str(home / "minari"),
        "HF_HUB_OFFLINE": "1",
        "SDL_VIDEODRIVER": "dummy",
        "OMP_NUM_THREADS": "1",  # one thread a training: two cores, and the same sums in the same order
    }


class Worker:
    """One process of one Python environment; measurements come one at a time."""

    def __init__(self, environment: Environment, python: str) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="robotrace-bench-", ignore_cleanup_errors=True)
        home = Path(self._home.name)
        self._log = (home / "worker.log").open("w+")
        self._process = subprocess.Popen(
            [python, str(_HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=worker_variables(environment, home),
            cwd=home,
        )

    def measure(self, module: str, contestant: str, size: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """``figures`` and ``facts``, or ``error``: a reason in one line. A worker that died or hangs is at its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = json.dumps({"module": module, "contestant": contestant, "size": dict(size)})
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                self._process.kill()
                return {"error": f"took longer than {timeout_s:.0f} s"}
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        code = self._process.wait()
        self._log.seek(0)
        last = self._log.read().strip().rpartition("\n")[2]
        return {"error": f"its process ended with {code}: {last}"[:300]}

    @property
    def alive(self) -> bool:
        """Whether it can still measure."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process and remove its home."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()
        self._home.cleanup()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def no_counts_because() -> str | None:
    """Why instructions cannot be counted here; None where they can."""
    try:
        run = subprocess.run(
            ["perf", "stat", "-x,", "-e", "instructions:u", "--", "true"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return "perf is not installed"
    if run.returncode != 0:
        return f"perf stat: {run.stderr.strip().partition(chr(10))[0]}"
    return None if instructions_in(run.stderr) is not None else "perf stat counts no instructions on this machine"


def instructions_in(text: str) -> int | None:
    """The count in the output of ``perf stat -x, -e instructions:u``; None where it says it has none."""
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[2].startswith("instructions"):
            return int(fields[0]) if fields[0].isdigit() else None
    return None


def count_instructions(environment: Environment, python: str, request: Mapping[str, Any]) -> int | None:
    """User-space instructions of a whole measuring process for one request; None where it failed."""
    with tempfile.TemporaryDirectory(prefix="robotrace-bench-", ignore_cleanup_errors=True) as home:
        counts = Path(home) / "perf"
        command = ["perf", "stat", "-x,", "-e", "instructions:u", "-o", str(counts), "--"]
        run = subprocess.run(
            [*command, python, str(_HERE / "worker.py"), "--once", json.dumps(dict(request))],
            capture_output=True,
            text=True,
            env=worker_variables(environment, Path(home)),
            cwd=home,
            check=False,
        )
        if run.returncode != 0 or "error" in json.loads(run.stdout.strip() or '{"error": ""}'):
            return None
        return instructions_in(counts.read_text())
