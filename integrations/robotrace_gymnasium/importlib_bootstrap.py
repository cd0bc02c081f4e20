"""The frames that stand between a program and Gymnasium while it is recorded automatically.

The name of this file is not free. Where ``warnings`` counts frames to find the line that a warning is about, it leaves
out files with "importlib" and "_bootstrap" in their name: so Gymnasium's warnings name the line that they always named,
and come as often.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import CodeType
from typing import Any

__all__ = ["INSIDE", "Standin", "around_constructor", "code_of"]

Standin = tuple[Callable[..., Any], Callable[[Any], None]]
"""The function as it was, and what is called with each environment that it makes; it may not raise."""


class _Inside(threading.local):
    """How many of these calls this thread is in: an environment made within another one is part of it."""

    depth = 0
    recorded = False
    """Whether somebody has asked for a recorder meanwhile, in a function that a vector calls."""


INSIDE = _Inside()
STANDINS: dict[str, Standin] = {}


def make(*args: Any, **kwargs: Any) -> Any:
    from robotrace_gymnasium.importlib_bootstrap import called  # the globals are those of Gymnasium's module

    return called("make", args, kwargs)


def make_vec(*args: Any, **kwargs: Any) -> Any:
    from robotrace_gymnasium.importlib_bootstrap import called

    return called("make_vec", args, kwargs)


def called(name: str, args: Any, kwargs: Any) -> Any:
    """Call Gymnasium's own function, and tell of what comes out of it."""
    original, made = STANDINS[name]
    INSIDE.depth += 1
    try:
        env = original(*args, **kwargs)
    finally:
        INSIDE.depth -= 1
    if not INSIDE.depth:
        made(env)
    return env


def code_of(name: str, standin: Standin) -> CodeType:
    """Code to stand in for that of a function of Gymnasium's, ``make`` or ``make_vec``."""
    STANDINS[name] = standin
    code: CodeType = {"make": make, "make_vec": make_vec}[name].__code__
    return code


def around_constructor(original: Callable[..., None], made: Callable[[Any, bool], None]) -> Callable[..., None]:
    """A constructor that calls ``made`` with what it has constructed, and with whether something in it is recorded."""

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        before, INSIDE.recorded = INSIDE.recorded, False
        INSIDE.depth += 1
        try:
            original(self, *args, **kwargs)
        finally:
            INSIDE.depth -= 1
            recorded, INSIDE.recorded = INSIDE.recorded, before
        made(self, recorded)

    return __init__
