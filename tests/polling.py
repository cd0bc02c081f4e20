"""Waiting for something that happens on another thread or process: poll with a deadline, never a bare sleep."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["eventually"]


def eventually(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Return once ``condition()`` is true; fail when it has not become so in ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
