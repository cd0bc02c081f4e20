"""Looking into the functions that run, or have raised, without leaving anything in them.

Before Python 3.13 ``frame.f_locals`` of a function is a copy that the frame keeps. Of a function that catches an
exception and lets it go on, the copy holds that exception: a cycle of the exception, its traceback and the frame, with
all that is in them. With the message to a dead worker in it, the garbage collector of Python 3.12.1 ends the process:
https://github.com/python/cpython/issues/111049
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FrameType
from typing import Any

from robotrace.capture.attributes import layers

__all__ = ["raised_in", "read_locals"]


def read_locals(frame: FrameType, *names: str) -> list[Any]:
    """The values of local variables of a function, None where it has none of that name (now)."""
    values = frame.f_locals
    found = [values.get(name) for name in names]
    if type(values) is dict and frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # a module's are no copy
        values.clear()
    return found


def raised_in(env: Any, error: BaseException) -> bool:
    """Whether an exception came out of a method of this environment, or of one inside it; of None it never did."""
    if env is None:
        return False
    own = list(layers(env))
    return any(any(body is layer for layer in own) for body in _bodies(error))


def _bodies(error: BaseException) -> Iterator[Any]:
    """Whose methods an exception came through, from the outermost on."""
    traceback = error.__traceback__
    while traceback is not None:
        (body,) = read_locals(traceback.tb_frame, "self")
        if body is not None:
            yield body
        traceback = traceback.tb_next
