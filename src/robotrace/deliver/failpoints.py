"""Named places at which a test lets this process die, fail, wait or fork. Nothing is armed outside of tests.

``ROBOTRACE_FAILPOINTS`` holds ``name=action`` pairs with commas between them. The actions: ``kill`` (SIGKILL),
``raise``, ``enospc`` (the disk is full), ``sleep:SECONDS``, ``fork`` (the child leaves at once); ``@N`` after one means
that it happens the N-th time only. The kill matrix runs over :data:`FAILPOINTS`, so that a new step is covered by
being named.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter

from robotrace.errors import ConfigurationError

__all__ = ["ENV_FAILPOINTS", "FAILPOINTS", "arm", "reach"]

ENV_FAILPOINTS = "ROBOTRACE_FAILPOINTS"

FAILPOINTS = (
    "recording.after_mkdir",
    "recording.before_rename",
    "recording.after_rename",
    "seal.before_arrays",
    "seal.before_hash",
    "seal.before_manifest",
    "seal.before_rename",
    "seal.after_rename",
    "salvage.before_seal",
    "salvage.after_seal",
    "salvage.before_discard",
    "upload.before_create",
    "upload.after_create",
    "upload.before_put",
    "upload.after_put",
    "upload.before_finalize",
    "upload.after_finalize",
    "upload.before_verdict",
    "upload.after_verdict",
    "state.before_replace",
    "done.before_receipt",
    "done.after_receipt",
    "failed.before_rename",
    "failed.after_rename",
    "trash.after_rename",
)
"""Every step after which the disk, or the deployment, is in another state than before."""

_ACTIONS = ("kill", "raise", "enospc", "sleep", "fork")


def arm(text: str) -> None:
    """Arm failpoints as the variable's text says; nothing else is armed afterwards.

    Raises:
        ConfigurationError: A name or an action is unknown.
    """
    _armed.clear()
    _reached.clear()
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, action = pair.partition("=")
        verb, _, hit = action.partition("@")
        if name not in FAILPOINTS or verb.partition(":")[0] not in _ACTIONS:
            raise ConfigurationError(f"{ENV_FAILPOINTS} has {pair!r}; it takes NAME=ACTION of {', '.join(_ACTIONS)}")
        _armed[name] = (verb, int(hit or 0))


def reach(name: str) -> None:
    """Do what this place is armed for: nothing, outside of tests."""
    if not _armed or name not in _armed:
        return
    action, hit = _armed[name]
    _reached[name] += 1
    if hit and _reached[name] != hit:
        return
    verb, _, value = action.partition(":")
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "raise":
        raise RuntimeError(f"failpoint {name}")
    elif verb == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif verb == "sleep":
        time.sleep(float(value))
    elif os.fork() == 0:
        os._exit(0)


_armed: dict[str, tuple[str, int]] = {}
_reached: Counter[str] = Counter()
arm(os.environ.get(ENV_FAILPOINTS, ""))
