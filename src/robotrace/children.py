"""Starting a module of ours in an interpreter of its own, and how many of them make sense."""

from __future__ import annotations

import os
import sys

__all__ = ["python_command", "usable_cores"]

_BOOTSTRAP = (
    "import sys; from importlib import import_module; "
    "sys.path[:] = sys.argv.pop(1).split(chr(10)); import_module(sys.argv.pop(1)).main()"
)
"""Not ``-m``: that would put the working directory first, and a user's own ``queue.py`` there before ours. Nor
``multiprocessing``: its children run a ``__main__`` without a guard again."""


def python_command(module: str, *arguments: str, path: list[str] | None = None) -> list[str]:
    """The command that calls ``main()`` of a module, which imports what this interpreter could.

    Args:
        module: Its dotted name.
        *arguments: Its ``sys.argv[1:]``.
        path: Instead of ``sys.path``.
    """
    search = sys.path if path is None else path
    return [sys.executable, "-W", "ignore", "-c", _BOOTSTRAP, "\n".join(search), module, *arguments]


def usable_cores() -> int:
    """Processor cores that this process may use; fewer than the machine has in a container or a batch job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
