"""The only process-wide hooks: at fork and at exit. Nothing else of the process is patched."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["is_child_of_multiprocessing", "on_exit", "on_exit_after_children", "on_fork_in_child"]


_after_children: Any = None


def on_exit(callback: Callable[[], None]) -> None:
    """Call ``callback`` once when the interpreter ends, after ``multiprocessing`` has joined its children.

    Exit hooks run last in, first out. Registered before those of ``multiprocessing``, ours comes after them; where that
    was imported first, :func:`on_exit_after_children` sees to it.
    """

    def call() -> None:
        if _after_children is None or not _after_children.still_active():
            callback()

    atexit.register(call)


def is_child_of_multiprocessing() -> bool:
    """Whether this process was started by ``multiprocessing``."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def on_exit_after_children(callback: Callable[[], None]) -> None:
    """Call ``callback`` as one of the finalizers of ``multiprocessing``, where that is loaded.

    In a child of it they are all that runs: it leaves by ``os._exit``. In the parent they run after its children are
    joined, and the killed ones among them can be salvaged. To be called in the process itself: a forked one forgets
    what its parent had registered.
    """
    global _after_children
    util = sys.modules.get("multiprocessing.util")
    if util is not None and (_after_children is None or not _after_children.still_active()):
        _after_children = util.Finalize(None, callback, exitpriority=0 if is_child_of_multiprocessing() else -100)


def on_fork_in_child(callback: Callable[[], None]) -> None:
    """Call ``callback`` in every child made by ``os.fork``."""

    def forget_finalizer() -> None:
        global _after_children
        _after_children = None

    os.register_at_fork(after_in_child=forget_finalizer)
    os.register_at_fork(after_in_child=callback)
