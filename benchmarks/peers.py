"""Python environments for the peers, each made when it is first needed and kept."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from plan import Environment

__all__ = ["PeerMissing", "describe", "provide"]


class PeerMissing(Exception):
    """The environment cannot be made here; the message says why in one line."""


def provide(environment: Environment, home: Path, *, make: bool = True) -> str:
    """The environment's Python.

    Args:
        environment: Which one.
        home: The folder that holds all of them.
        make: Whether it may be made (it comes from PyPI).

    Raises:
        PeerMissing: It is not there and may not be made, or could not be.
    """
    if not environment.requirements:
        return sys.executable
    folder = home.absolute() / environment.name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = hashlib.sha256(json.dumps(environment.requirements).encode()).hexdigest()
    ready = folder / "ready"
    if ready.exists() and ready.read_text() == wanted:
        return str(python)
    if not make:
        raise PeerMissing("its environment is not made (--no-peers)")
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    for group in environment.requirements:
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *group])
    ready.write_text(wanted)
    return str(python)


def _run(command: list[str]) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        lines = [line for line in run.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")]
        raise PeerMissing((errors or lines or [f"{command[0]} failed"])[-1][:300])


_DESCRIBE = """
import importlib.metadata, json, platform
print(json.dumps({"python": platform.python_version(), "packages": {
    d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}}))
"""
_TOLD = (
    "av", "gymnasium", "lerobot", "minari", "moviepy", "mujoco", "numpy", "opencv-python-headless", "rerun-sdk",
    "robotrace-dev", "stable_baselines3", "torch",
)  # fmt: skip


def describe(python: str, *, with_ours: bool) -> dict[str, Any]:
    """Its Python and the versions that matter; ours is this checkout, whatever is installed."""
    run = subprocess.run([python, "-c", _DESCRIBE], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    told = {name: found["packages"][name] for name in _TOLD if name in found["packages"]}
    if with_ours:
        told.pop("robotrace-dev", None)
    return {"python": found["python"], "packages": told}
