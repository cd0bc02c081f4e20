"""What a worker process of Gymnasium's ``AsyncVectorEnv`` finds out about the environment in it, when it is asked.

:mod:`robotrace.capture.workers` has the question ride on a message that the vector sends anyway, so that this runs
while the worker unpickles the message: right before the environment is reset, or takes its first step. It only looks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from robotrace.capture.environment import EnvFacts, ResetRecord

__all__ = ["Moment", "answer", "facts_file", "reset_file"]

Moment = Literal["before", "after"]
"""Of a reset."""

_VECTOR = "gymnasium.vector.async_vector_env"
_WORKERS = ("_async_worker", "_worker", "_worker_shared_memory")
"""Its own functions that run in a worker process; the last two in Gymnasium 0.29."""
_MAX_FRAMES = 16
_TWICE = "the vector resets the environment again in its first step (Gymnasium's, with shared_memory=False)"


class _Latest:
    """What was found before the latest reset that was asked about, until it is asked about again."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.number = -1
        self.record = ResetRecord()
        self.found: dict[str, Any] = {}


_latest: _Latest | None = None


def facts_file(folder: str, index: int) -> Path:
    """Where a worker says what stays the same for all episodes of its environment."""
    return Path(folder, f"{index}.facts.json")


def reset_file(folder: str, index: int) -> Path:
    """Where it says what its latest reset started from."""
    return Path(folder, f"{index}.reset.json")


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
                _write(facts_file(folder, index), vars(EnvFacts(env)))
        elif _latest is not None and (_latest.folder, _latest.number) == (folder, number):
            found = _look_after(_latest, env)
            if resets_itself:
                found["reason"] = _TWICE
            _write(reset_file(folder, index), {"number": number, "found": found})
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
            values = frame.f_locals
            found = values["env"], bool(values.get("autoreset", False))
            if type(values) is dict:  # before Python 3.13 a copy that the frame keeps, and with it what is in it
                values.clear()
            return found
        frame = frame.f_back
    raise LookupError("this is no worker of AsyncVectorEnv")


def _write(file: Path, said: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(said, default=repr), encoding="utf-8")
