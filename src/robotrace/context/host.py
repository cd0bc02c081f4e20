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
    *("numpy", "gymnasium", "av", "torch", "jax", "mujoco", "stable_baselines3", "sb3_contrib"),
    *("lightning", "pytorch_lightning", "lerobot", "hydra"),
)
"""What decides whether a rollout can be repeated; only what is imported anyway is looked up."""
_DISTRIBUTIONS = {"hydra": "hydra-core"}


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
    found = {"python": platform.python_version(), "robotrace": __version__}
    for name in imported:
        # Its own word first: to look it up in the package's metadata reads files, 0.17 to 0.4 ms each.
        version = getattr(sys.modules.get(name), "__version__", None)
        try:
            found[name] = str(version) if isinstance(version, str) else packages.version(_DISTRIBUTIONS.get(name, name))
        except packages.PackageNotFoundError:
            continue
    return found
