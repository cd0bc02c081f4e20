"""The only process-wide hooks of recording and delivery: at fork and at exit.

A forked child has the locks of all threads of its parent, as they were, and none of those threads. What our threads
are in the middle of at that moment must be nothing that a child waits for: the import of a module (Python holds one
lock for each, and a child that imports it too waits for ever), or OpenSSL's tables while it is being set up.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["is_child_of_multiprocessing", "on_exit", "on_exit_after_children", "on_fork_in_child", "unforked"]


_LONGEST_WAIT_S = 1.0
"""For what takes 20 ms (a TLS context) or 90 ms (the import of PyAV) on a quiet machine, once in a process."""
_after_children: Any = None
_unforked = threading.RLock()
_forking: set[int] = set()  # threads that fork now, and hold it


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


@contextlib.contextmanager
def unforked() -> Iterator[None]:
    """For our own threads: this process is not forked meanwhile. Whoever wants to waits, a second at the most."""
    with _unforked:
        yield


def _before_fork() -> None:
    if _unforked.acquire(timeout=_LONGEST_WAIT_S):
        _forking.add(threading.get_ident())


def _after_fork_in_parent() -> None:
    if threading.get_ident() in _forking:
        _forking.discard(threading.get_ident())
        _unforked.release()


def _after_fork_in_child() -> None:
    global _unforked
    _forking.clear()
    _unforked = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
