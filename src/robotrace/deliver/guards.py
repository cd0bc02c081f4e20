"""The only process-wide hooks: at fork and at exit. Nothing else of the process is patched."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable

__all__ = ["is_child_of_multiprocessing", "on_exit", "on_fork_in_child", "on_multiprocessing_exit"]


def on_exit(callback: Callable[[], None]) -> None:
    """Call ``callback`` once when the interpreter ends.

    Callbacks run last in, first out: registered at import, before ``multiprocessing`` registers its own, ours runs
    after it has joined its children.
    """
    atexit.register(callback)


def is_child_of_multiprocessing() -> bool:
    """Whether this process was started by ``multiprocessing``."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def on_multiprocessing_exit(callback: Callable[[], None]) -> None:
    """Call ``callback`` at the end of this process where it is a child of ``multiprocessing``: those run no exit hooks.

    Such a child leaves by ``os._exit`` after its own finalizers, of which this becomes one. To be called in the child
    itself: a forked one forgets what its parent had registered.
    """
    if is_child_of_multiprocessing():
        sys.modules["multiprocessing.util"].Finalize(None, callback, exitpriority=0)


def on_fork_in_child(callback: Callable[[], None]) -> None:
    """Call ``callback`` in every child made by ``os.fork``."""
    os.register_at_fork(after_in_child=callback)
