"""What is found out about this process: at an episode's reset what costs nothing, and once, beside it, what takes time.

What takes time is looked for on a thread of its own, which the writer of the recording starts: a file system that
hangs holds up neither the training nor the episodes' way to the disk. It is in the episodes that are sealed once it
is known, and in none of those that were sealed before.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from robotrace import faults
from robotrace.context.changes import find_changes, read_remote
from robotrace.context.git import find_checkout
from robotrace.context.gpus import read_gpus
from robotrace.context.host import host_facts, versions

__all__ = ["begin_looking", "complete", "process_facts"]

_WAIT_S = 0.25
"""Once a process, at its first seal: the one episode of a short script has what is looked for too."""


class _Look:
    """One look of one process; what is found is ``None`` until then."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.until = time.monotonic() + _WAIT_S
        self.found: Mapping[str, Mapping[str, Any]] | None = None
        self.done = threading.Event()

    def run(self) -> None:
        try:
            checkout = find_checkout()
            git: dict[str, Any] = {}
            if checkout is not None:
                git = {"remote": read_remote(checkout), **find_changes(checkout)}
            self.found = {
                "git": {name: value for name, value in git.items() if value is not None},
                "host": read_gpus(),
            }
        except Exception as exc:
            faults.report("what this process runs could not be found out", exc)
        finally:
            self.done.set()


_look: _Look | None = None


def begin_looking() -> None:
    """Look for what takes time, once a process; called on the writer thread."""
    global _look
    # What a fork caught in its middle goes on in the parent alone.
    if _look is not None and (_look.found is not None or _look.pid == os.getpid()):
        return
    _look = _Look()
    try:
        threading.Thread(target=_look.run, name="robotrace-look", daemon=True).start()
    except RuntimeError:  # the interpreter is ending, or there is no thread to be had
        _look.done.set()


def process_facts() -> dict[str, dict[str, Any]]:
    """What is known now, for an episode's metadata: ``git`` (where there is a checkout), ``host``, ``versions``."""
    found = _quick()
    late = None if _look is None else _look.found
    for name, facts in (late or {}).items():
        if facts:
            found[name] = {**found.get(name, {}), **facts}
    return {**found, "versions": versions()}


def complete(create: dict[str, Any]) -> None:
    """Complete the payload of an episode that began before everything was known; called on the writer thread.

    What its caller said instead is left as it is.

    Args:
        create: With the ``metadata`` that :func:`process_facts` gave at its reset.
    """
    current = _look
    if current is None or current.pid != os.getpid():
        return
    current.done.wait(max(0.0, current.until - time.monotonic()))
    metadata = create.get("metadata", {})
    quick = _quick()
    for name, facts in (current.found or {}).items():
        if facts and metadata.get(name) == quick.get(name):
            metadata[name] = {**quick.get(name, {}), **facts}
    sha = (current.found or {}).get("git", {}).get("sha")
    if sha is not None:
        create.setdefault("git_sha", sha)


def _quick() -> dict[str, dict[str, Any]]:
    checkout = find_checkout()
    git = {} if checkout is None else {"sha": checkout.sha, "branch": checkout.branch}
    git = {name: value for name, value in git.items() if value is not None}
    return {**({"git": git} if git else {}), "host": host_facts()}
