"""Standing in for functions of a framework: whoever has one, under whatever name, calls ours from then on.

A function is given other code, and stays the object it is. So it is the same under every name that a program has given
it by then (``from gymnasium import make``, a ``partial``, the globals of a function that came out of a pickle), it is
pickled as before, and nothing has to be looked for, neither to do it nor to undo it.

The name of this file is not free. Where ``warnings`` counts frames to find the line that a warning is about, it leaves
out files with "importlib" and "_bootstrap" in their name: so the framework's warnings name the lines they always named,
and come as often.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

__all__ = ["Around", "around_function", "is_stood_in", "stand_in"]

Finish: TypeAlias = "Callable[[Any, BaseException | None], None]"
Around: TypeAlias = "Callable[[tuple[Any, ...], Mapping[str, Any]], Finish]"
"""Called with the arguments of a call, before it; what it returns is called with the result, or with the exception.
Neither may raise."""

_PLACE = "robotrace: which function"
_standins: dict[str, tuple[Callable[..., Any], Around]] = {}


def stand_in(function: Any, around: Around) -> Callable[[], None]:
    """Have ``around`` called around every call of a function.

    Args:
        function: Of a module, and without a closure.
        around: See there.

    Returns:
        Undoes it.

    Raises:
        TypeError: It is no such function.
    """
    if not isinstance(function, types.FunctionType) or function.__closure__ or is_stood_in(function):
        raise TypeError(f"nothing can stand in for {function!r}")
    code, key = function.__code__, f"{function.__module__}.{function.__qualname__}"
    original = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__)
    original.__kwdefaults__ = function.__kwdefaults__
    _standins[key] = original, around
    signature = inspect.signature(function)
    template = _template.__code__
    function.__code__ = ours = template.replace(
        co_name=code.co_name,
        co_consts=tuple(key if constant == _PLACE else constant for constant in template.co_consts),
    )
    function.__dict__["__signature__"] = signature

    def undo() -> None:
        if function.__code__ is ours:
            function.__code__ = code
            del function.__dict__["__signature__"]

    return undo


def is_stood_in(function: Any) -> bool:
    """Whether something stands in for a function."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == __file__ and _PLACE not in code.co_consts


def around_function(function: Callable[..., Any], around: Around) -> Callable[..., Any]:
    """Another function that calls this one: for a method, which a class can be given."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _call(function, around, args, kwargs)

    return call


def _template(*args: Any, **kwargs: Any) -> Any:
    # The globals are those of the function's own module.
    from robotrace.auto.importlib_bootstrap import _called

    return _called("robotrace: which function", args, kwargs)


def _called(key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return _call(*_standins[key], args, kwargs)


def _call(function: Callable[..., Any], around: Around, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    finish = around(args, kwargs)
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        finish(None, error)
        raise
    finish(result, None)
    return result
