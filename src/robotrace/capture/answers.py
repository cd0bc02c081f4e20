"""What a worker process of Gymnasium's ``AsyncVectorEnv`` finds out about the environment in it, when it is asked.

:mod:`robotrace.capture.workers` has the question ride on a message that the vector sends anyway, so that this runs
while the worker unpickles the message: right before the environment is reset, or takes its first step. It only looks.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Literal

from robotrace.capture.calls import read_locals
from robotrace.capture.environment import EnvFacts, ResetRecord

__all__ = ["Moment", "answer", "facts_file", "read_answer", "reset_file"]

Moment = Literal["before", "after"]
"""Of a reset."""

_VECTOR = "gymnasium.vector.async_vector_env"
_WORKERS = ("_async_worker", "_worker", "_worker_shared_memory")
"""Its own functions that run in a worker process; the last two in Gymnasium 0.29."""
_MAX_FRAMES = 16
_READ_BYTES = 65536
_TWICE = "the vector resets the environment again in its first step (Gymnasium's, with shared_memory=False)"


class _Latest:
    """What was found before the latest reset that was asked about, until it is asked about again."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.number = -1
        self.record = ResetRecord()
        self.found: dict[str, Any] = {}


_latest: _Latest | None = None


def facts_file(folder: str, index: int) -> str:
    """Where a worker says what stays the same for all episodes of its environment."""
    return f"{folder}/{index}.facts.json"


def reset_file(folder: str, index: int) -> str:
    """Where it says what its latest reset started from."""
    return f"{folder}/{index}.reset.json"


def read_answer(file: str, number: int | None = None) -> dict[str, Any] | None:
    """What a worker has said.

    Args:
        file: Of :func:`facts_file` or :func:`reset_file`.
        number: The reset's; None: whichever it is of.

    Returns:
        None where there is no answer, or one to another question, or half a one.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            text = piece = os.read(descriptor, _READ_BYTES)
            while piece and b"\n" not in piece:
                piece = os.read(descriptor, _READ_BYTES)
                text += piece
        finally:
            os.close(descriptor)
        first, said, last = json.loads(text.partition(b"\n")[0])
    except (OSError, ValueError, TypeError):
        return None
    whole = first == last and number in (None, first) and isinstance(said, dict)
    return said if whole else None


def answer(folder: str, index: int, number: int, moment: Moment, message: Any, facts: bool) -> None:
    """Answer into a file. Raises nothing but Ctrl-C: an exception would end the worker, and the user's training.

    Args:
        folder: Whoever asks listens here.
        index: The environment's.
        number: The reset's, as whoever asks counts them.
        moment: Whether the message makes the worker reset its environment, or take the first step after that.
        message: What the vector has sent, (command, data).
        facts: Whether to say what stays the same, too.
    """
    try:
        env, resets_itself = _inside()
        if moment == "before":
            _look_before(_latest_of(folder), env, number, message, resets_itself)
            if facts:
                _write(facts_file(folder, index), number, vars(EnvFacts(env)))
        elif _latest is not None and (_latest.folder, _latest.number) == (folder, number):
            found = _look_after(_latest, env)
            if resets_itself:
                found["reason"] = _TWICE
            _write(reset_file(folder, index), number, found)
    except KeyboardInterrupt:
        raise
    except BaseException:  # not even what a property of the user's may raise, SystemExit for one
        return


def _latest_of(folder: str) -> _Latest:
    global _latest
    if _latest is None or _latest.folder != folder:
        _latest = _Latest(folder)
    return _latest


def _look_before(latest: _Latest, env: Any, number: int, message: Any, resets_itself: bool) -> None:
    latest.number = -1
    command, data = message
    if command == "reset":
        latest.found = latest.record.before(env, data.get("seed"), data.get("options"))
    elif resets_itself:
        latest.found = latest.record.before(env, None, None)
    else:
        raise ValueError("the environment is not reset in this step")
    latest.number = number


def _look_after(latest: _Latest, env: Any) -> dict[str, Any]:
    latest.number = -1
    latest.record.after(env, latest.found)
    return latest.found


def _inside() -> tuple[Any, bool]:
    """The environment of this worker, and whether its next step resets it: locals of Gymnasium's own function."""
    module = sys.modules[_VECTOR]
    own = [getattr(getattr(module, name, None), "__code__", None) for name in _WORKERS]
    frame: Any = sys._getframe(1)
    for _ in range(_MAX_FRAMES):
        if any(frame.f_code is code for code in own):
            env, autoreset = read_locals(frame, "env", "autoreset")
            if env is not None:
                return env, bool(autoreset)
        frame = frame.f_back
    raise LookupError("this is no worker of AsyncVectorEnv")


def _write(file: str, number: int, said: dict[str, Any]) -> None:
    # Over what was there: to cut a file short takes ext4 190 µs, of 192. The number at both ends shows a whole answer.
    line = json.dumps([number, said, number], default=repr).encode() + b"\n"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
