"""The only process-wide hooks: at fork and at exit. Nothing else of the process is patched."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable

__all__ = ["on_exit", "on_fork_in_child"]


def on_exit(callback: Callable[[], None]) -> None:
    """Call ``callback`` once when the interpreter ends.

    Callbacks run last in, first out: registered at import, before ``multiprocessing`` registers its own, ours runs
    after it has joined its children.
    """
    atexit.register(callback)


def on_fork_in_child(callback: Callable[[], None]) -> None:
    """Call ``callback`` in every child made by ``os.fork``."""
    os.register_at_fork(after_in_child=callback)
