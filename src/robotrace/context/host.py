"""The process and the machine an episode comes from."""

from __future__ import annotations

import os
import platform
import socket
import sys
from functools import lru_cache
from importlib import metadata as packages
from typing import Any

from robotrace._version import __version__

__all__ = ["host_facts", "versions"]

_PACKAGES = (
    "numpy",
    "gymnasium",
    "av",
    "torch",
    "mujoco",
    "stable_baselines3",
    "sb3_contrib",
    "lightning",
    "pytorch_lightning",
)
"""What decides whether a rollout can be repeated; only what is imported anyway is looked up."""


def host_facts() -> dict[str, Any]:
    """Host name, process, operating system and processor."""
    return {
        "hostname": socket.gethostname(),
        "pid": os.getpid(),
        "platform": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
    }


def versions() -> dict[str, str]:
    """Versions of Python, of this package, and of those of the deciding packages that are imported."""
    return dict(_versions(tuple(name for name in _PACKAGES if name in sys.modules)))


@lru_cache(maxsize=8)
def _versions(imported: tuple[str, ...]) -> dict[str, str]:
    # Kept: looking one up reads files, 0.17 ms each, and this is asked once an episode.
    found = {"python": platform.python_version(), "robotrace": __version__}
    for name in imported:
        try:
            found[name] = packages.version(name)
        except packages.PackageNotFoundError:
            continue
    return found
