"""The graphics processors of this machine, as their driver names them: no library is loaded or set up for it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

__all__ = ["read_gpus"]

_DRIVER = Path("/proc/driver/nvidia")
_MODEL = re.compile(r"^Model:\s*(.+?)\s*$", re.MULTILINE)
_VERSION = re.compile(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def read_gpus(driver: Path = _DRIVER) -> dict[str, Any]:
    """What NVIDIA's driver says, and which of them this process may use.

    Args:
        driver: Its folder.

    Returns:
        ``gpus`` (models, in the order of their addresses), ``gpu_driver`` and ``cuda_visible_devices``; empty without
        such a driver.
    """
    try:
        texts = [(path / "information").read_text() for path in sorted((driver / "gpus").iterdir())]
        version = _VERSION.search((driver / "version").read_text())
    except OSError:
        return {}
    models = [match[1] for text in texts if (match := _MODEL.search(text))]
    found: dict[str, Any] = {"gpus": models} if models else {}
    if version is not None:
        found["gpu_driver"] = version[1]
    visible = os.environ.get(_VISIBLE)
    return found if visible is None else {**found, "cuda_visible_devices": visible}
