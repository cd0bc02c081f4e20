"""What a program pays that is not recorded, from its start to its end: milliseconds of its CPU time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["measure"]

_INTEGRATIONS = str(Path(__file__).parents[2] / "integrations")
_APP = """
import hydra

@hydra.main(version_base=None, config_path=None)
def main(cfg):
    pass

main()
"""
_PLAIN = "pass\n"


def measure(contestant: str, *, what: str, steps: int) -> dict[str, Any]:
    """``cpu_ms``, ``start_ms``: the least of ``steps`` programs; what else runs on the machine only ever adds to it.

    ``what``: ``hydra``, an app with the plugin installed and switched off; ``run``, a program that imports no framework
    below ``robotrace run``.
    """
    with tempfile.TemporaryDirectory(prefix="robotrace-bench-") as folder:
        script = Path(folder) / "train.py"
        script.write_text(_APP if what == "hydra" else _PLAIN)
        environment = dict(os.environ)
        path = environment["PYTHONPATH"].split(os.pathsep)
        if contestant == "bare":
            environment["PYTHONPATH"] = os.pathsep.join(entry for entry in path if entry != _INTEGRATIONS)
        elif what == "run":
            from robotrace import auto

            startup = str(Path(auto.__file__).parent / "startup")
            environment["PYTHONPATH"] = os.pathsep.join((startup, *path))
            environment["ROBOTRACE_INSTRUMENT"] = "gymnasium,lightning,pytorch_lightning,stable_baselines3 {}"
        times, cpu = [], []
        for _ in range(steps):
            began, used = time.perf_counter(), _children_s()
            subprocess.run([sys.executable, str(script)], cwd=folder, env=environment, check=True, timeout=60)
            times.append(1e3 * (time.perf_counter() - began))
            cpu.append(1e3 * (_children_s() - used))
        return {"cpu_ms": min(cpu), "start_ms": min(times)}


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
