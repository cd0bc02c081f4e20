"""Our own faults: swallowed and named once in a training, raised in our tests."""

from __future__ import annotations

import collections
import logging
import os
import threading

from robotrace.config import ENV_RAISE, is_true

__all__ = ["fault_counts", "report"]

_log = logging.getLogger("robotrace")
_counts: collections.Counter[str] = collections.Counter()
_lock = threading.Lock()


def report(cause: str, exc: Exception) -> None:
    """Take note of a fault of our own: one warning per cause and process, never an exception in a user's run."""
    if is_true(os.environ.get(ENV_RAISE)):
        raise exc
    with _lock:
        _counts[cause] += 1
        first = _counts[cause] == 1
    if first:
        _log.warning("%s: %s: %s (the run goes on)", cause, type(exc).__name__, exc)


def fault_counts() -> dict[str, int]:
    """How often each cause occurred in this process."""
    with _lock:
        return dict(_counts)
