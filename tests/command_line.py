"""``robotrace …`` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["child_environment", "one_line", "robotrace"]


def robotrace(
    *arguments: str, stdin: str = "", cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "robotrace", *arguments],
        env=child_environment(environment),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def child_environment(more: dict[str, str]) -> dict[str, str]:
    """This process's environment and import path, and ``more``."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1", **more}


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """The one clear line a failed command ends with."""
    assert result.returncode == 1, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("robotrace: ")
    return line
