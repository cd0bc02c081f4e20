"""What a figure depends on besides the code: the machine, its load, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["commit", "load", "machine"]


def machine() -> dict[str, Any]:
    """Cores, model, memory, system. Nothing that names the machine."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor() or None,
        "memory": _field("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def load() -> list[float] | None:
    """Processes that wanted a core over the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def commit() -> dict[str, Any]:
    """The checkout's commit, and whether files of the package differ from it."""
    root = Path(__file__).parent.parent

    def git(*arguments: str) -> str | None:
        try:
            run = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return run.stdout.strip() if run.returncode == 0 else None

    changed = git("status", "--porcelain", "--", "src", "integrations", "benchmarks/cases")
    return {"commit": git("rev-parse", "HEAD"), "changed": None if changed is None else bool(changed)}


def _field(path: str, name: str) -> str | None:
    try:
        text = Path(path).read_text()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(name)), None)
