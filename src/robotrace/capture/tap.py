"""Recording an environment without wrapping it: callables stand before its own methods until they are taken away.

The environment stays the object it was: every alias of it is recorded, its type, ``isinstance`` and ``spec`` are
unchanged, and copies of it (pickle, cloudpickle, deepcopy) are working ones that nobody records. Not so ``copy.copy``:
it shares its attributes, and so the methods, with its original.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import os
import sys
import types
import weakref
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, TypeVar

from robotrace.capture.attributes import has_attributes, own_attribute, own_values

__all__ = ["Steps", "attached_recorder", "call_own", "check_attachable", "install", "uninstall"]

_E = TypeVar("_E")

_MISSING: Any = object()


class Steps(Protocol):
    """A recorder, as far as the tap calls it: the order is that of :mod:`robotrace.plugin`."""

    recording: bool
    before_step: Callable[[Any], None]
    after_step: Callable[[Any], None]

    def before_reset(self, seed: Any, options: Mapping[str, Any] | None) -> None:
        """A reset is about to happen."""

    def after_reset(self, result: tuple[Any, Any]) -> None:
        """What it returned."""

    def failed(self, error: BaseException) -> None:
        """The environment raised."""

    def close(self, error: BaseException | None = None) -> None:
        """The environment is closed, or nobody records it any more."""


class _Held:
    """What the calls of a tap need: no reference to the tap itself, which would be a cycle.

    Attributes:
        recorder: Is told of each call.
        function: The method, as a function of the environment.
        env: The environment.
        pid: The process that attached; in a forked one the environment is another's.
    """

    __slots__ = ("env", "function", "pid", "recorder")

    def __init__(self, recorder: Any, function: Callable[..., Any], env: weakref.ref[Any]) -> None:
        self.recorder = recorder
        self.function = function
        self.env = env
        self.pid = os.getpid()


class _Tap(functools.partial[Any]):
    """Stands in for the method ``name`` of one environment.

    A ``partial`` of nothing: called by C, at half of what a ``__call__`` costs; a plain function could not tell a copy
    of its environment from the original.
    """

    name: str
    group: weakref.WeakSet[_Tap]
    _held: _Held
    _before: Any

    def __new__(cls, around: Callable[[_Held], Callable[..., Any]], env: Any, name: str, recorder: Any) -> _Tap:
        before = _own_of_instance(env, name)
        held = _Held(recorder, _function_of(env, name, before), weakref.ref(env))
        tap = super().__new__(cls, around(held))
        tap.name, tap._held, tap._before = name, held, before
        return tap

    @property
    def recorder(self) -> Any:
        """As given; one that does nothing once the tap is taken away."""
        return self._held.recorder

    @property
    def below(self) -> _Tap | None:
        """The tap that this one was put before."""
        return self._before if isinstance(self._before, _Tap) else None

    def restore(self, env: Any) -> None:
        """Take the tap away; what somebody else has put in its place stays, and may go on calling it."""
        self._held.recorder = _SILENT
        if own_attribute(env, self.name) is not self:
            return
        if self._before is _MISSING:
            object.__delattr__(env, self.name)
        else:
            object.__setattr__(env, self.name, self._before)

    @property
    def __wrapped__(self) -> Any:
        """The environment's own method: ``inspect.signature`` looks here."""
        return types.MethodType(self._held.function, self._held.env())

    def __getattr__(self, name: str) -> Any:
        # __name__, __func__, __self__ and whatever else somebody asks a method for.
        if name in _HALF_BUILT:
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __reduce__(self) -> Any:
        """A copy of the environment has its own method again."""
        env = self._held.env()
        return (_own_method, (env, self.name)) if self._before is _MISSING else (_same, (self._before,))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """As :meth:`__reduce__`, for the copy that is being made."""
        if self._before is not _MISSING:
            return copy.deepcopy(self._before, memo)
        env = self._held.env()
        return _own_method(memo.get(id(env), env), self.name)


_HALF_BUILT = frozenset({"_before", "_held", "__wrapped__"})
"""Asked for before they are there, they must not be looked for in themselves."""


def _around_step(held: _Held) -> Callable[..., Any]:
    function, env = held.function, held.env

    def step(action: Any) -> Any:
        recorder = held.recorder
        if not recorder.recording:
            return function(env(), action)
        recorder.before_step(action)
        try:
            result = function(env(), action)
        except BaseException as error:
            recorder.failed(error)
            raise
        recorder.after_step(result if type(result) is tuple and len(result) == 5 else _five(result))
        return result

    return step


def _around_other_step(held: _Held) -> Callable[..., Any]:
    """Of a ``step`` that takes more, or under other names; the first argument is the action."""

    def step(*args: Any, **kwargs: Any) -> Any:
        recorder = held.recorder
        if not recorder.recording:
            return held.function(held.env(), *args, **kwargs)
        recorder.before_step(args[0] if args else next(iter(kwargs.values()), None))
        try:
            result = held.function(held.env(), *args, **kwargs)
        except BaseException as error:
            recorder.failed(error)
            raise
        recorder.after_step(_five(result))
        return result

    return step


def _around_reset(held: _Held) -> Callable[..., Any]:
    def reset(*args: Any, **kwargs: Any) -> Any:
        recorder = held.recorder
        if held.pid != os.getpid():
            return held.function(held.env(), *args, **kwargs)
        recorder.before_reset(kwargs.get("seed"), kwargs.get("options"))
        try:
            result = held.function(held.env(), *args, **kwargs)
        except BaseException as error:
            recorder.failed(error)
            raise
        recorder.after_reset(_two(result))
        return result

    return reset


def _around_close(held: _Held) -> Callable[..., Any]:
    def close(*args: Any, **kwargs: Any) -> Any:
        held.recorder.close(sys.exc_info()[1])
        return held.function(held.env(), *args, **kwargs)

    return close


def _around_render(held: _Held) -> Callable[..., Any]:
    """Only of an environment that collects its pictures."""

    def render(*args: Any, **kwargs: Any) -> Any:
        if held.recorder is _SILENT:
            return held.function(held.env(), *args, **kwargs)
        return held.recorder.renderer.render()

    return render


def _around_step_async(held: _Held) -> Callable[..., Any]:
    """The first half of a vector's step."""

    def step_async(*args: Any, **kwargs: Any) -> Any:
        recorder = held.recorder
        if recorder.recording:
            recorder.before_step(args[0] if args else next(iter(kwargs.values()), None))
        try:
            return held.function(held.env(), *args, **kwargs)
        except BaseException as error:
            recorder.failed(error)
            raise

    return step_async


def _around_step_wait(held: _Held) -> Callable[..., Any]:
    """The second half."""

    def step_wait(*args: Any, **kwargs: Any) -> Any:
        recorder = held.recorder
        try:
            result = held.function(held.env(), *args, **kwargs)
        except BaseException as error:
            recorder.failed(error)
            raise
        if recorder.recording:
            recorder.after_step(_five(result))
        return result

    return step_wait


def _around_reset_async(held: _Held) -> Callable[..., Any]:
    """The first half of a vector's reset."""

    def reset_async(*args: Any, **kwargs: Any) -> Any:
        if held.pid == os.getpid():
            given = dict(zip(("seed", "options"), args, strict=False)) | kwargs
            held.recorder.before_reset(given.get("seed"), given.get("options"))
        try:
            return held.function(held.env(), *args, **kwargs)
        except BaseException as error:
            held.recorder.failed(error)
            raise

    return reset_async


def _around_reset_wait(held: _Held) -> Callable[..., Any]:
    """The second half."""

    def reset_wait(*args: Any, **kwargs: Any) -> Any:
        try:
            result = held.function(held.env(), *args, **kwargs)
        except BaseException as error:
            held.recorder.failed(error)
            raise
        if held.pid == os.getpid():
            held.recorder.after_reset(_two(result))
        return result

    return reset_wait


class _Silent:
    """Stands in for the recorder that was taken away."""

    recording = False

    def before_reset(self, seed: Any, options: Any) -> None: ...

    def after_reset(self, result: Any) -> None: ...

    def failed(self, error: BaseException) -> None: ...

    def close(self, error: BaseException | None = None) -> None: ...


_SILENT = _Silent()

_Around = Callable[[_Held], Callable[..., Any]]
_HALVES: dict[str, tuple[_Around, _Around]] = {
    "step": (_around_step_async, _around_step_wait),
    "reset": (_around_reset_async, _around_reset_wait),
}
_WHOLES: dict[str, _Around] = {"reset": _around_reset, "step": _around_other_step, "close": _around_close}
_NAMES = (*_WHOLES, "render", *(f"{whole}_{half}" for whole in _HALVES for half in ("async", "wait")))


def check_attachable(env: Any) -> None:
    """Refuse what nothing can be attached to.

    Raises:
        TypeError: It has no ``__dict__``, no ``reset`` or no ``step``.
    """
    if not has_attributes(env):
        raise TypeError(
            f"{type(env).__qualname__} objects have no __dict__ (their class has __slots__), so that nothing can be "
            "attached; wrap it in a class of your own"
        )
    for name in ("reset", "step"):
        if not callable(getattr(env, name, None)):
            raise TypeError(f"{type(env).__qualname__} has no {name}(); only an environment can be recorded")


def install(
    env: _E, recorder: Steps, *, renders: bool = False, vector: bool = False, names: Collection[str] = ()
) -> _E:
    """Have ``recorder`` called around the environment's ``reset``, ``step`` and ``close``.

    Args:
        env: Passed by :func:`check_attachable`.
        recorder: Called in the order of :class:`Steps`.
        renders: Whether ``render`` is the recorder's ``renderer``'s too.
        vector: Its step and reset may be called in two halves, ``step_async`` and ``step_wait``.
        names: Of these methods only; none for all.

    Returns:
        The same object.

    Raises:
        TypeError: Its class forbids that a method is replaced.
    """
    taps = {name: around for name, around in _WHOLES.items() if callable(getattr(env, name, None))}
    if _takes_one_action(env):
        taps["step"] = _around_step
    if renders:
        taps["render"] = _around_render
    if vector:
        # Where there are halves, the whole is made of them (and so seen once).
        for whole in ("step", "reset"):
            halves = {f"{whole}_async": _HALVES[whole][0], f"{whole}_wait": _HALVES[whole][1]}
            if all(callable(getattr(env, name, None)) for name in halves):
                taps = {name: around for name, around in taps.items() if name != whole} | halves
    if names:
        taps = {name: around for name, around in taps.items() if name in names}
    group: weakref.WeakSet[_Tap] = weakref.WeakSet()  # weakly: no cycle
    for name, around in taps.items():
        tap = _Tap(around, env, name, recorder)
        tap.group = group
        group.add(tap)
        if not _put(env, name, tap):
            uninstall(env)
            raise TypeError(
                f"{name} of {type(env).__qualname__} cannot be replaced in an instance; nothing is attached"
            )
    return env


def attached_recorder(env: Any) -> Any:
    """The recorder :func:`install` was given for this object; None where there is none."""
    tap = _any_tap(env)
    return None if tap is None else tap.recorder


def uninstall(env: _E, recorder: Any = None) -> _E:
    """Undo :func:`install`; the environment's own attributes are what they were before.

    Args:
        env: The environment.
        recorder: Whose taps are taken away, where there are several's; None: those of the last one that came. Below
            another one's they fall silent instead.

    Returns:
        The same object; untouched where nothing was attached.
    """
    found = _any_tap(env)
    while found is not None and recorder is not None and found.recorder is not recorder:
        found = found.below
    for tap in () if found is None else list(found.group):
        tap.restore(env)
    return env


def _any_tap(env: Any) -> _Tap | None:
    return next((item for item in (own_attribute(env, name) for name in _NAMES) if isinstance(item, _Tap)), None)


def call_own(env: Any, name: str) -> Any:
    """Call a method of the environment as if nothing were attached."""
    tap = own_attribute(env, name)
    return tap.__wrapped__() if isinstance(tap, _Tap) else getattr(env, name)()


def _takes_one_action(env: Any) -> bool:
    try:
        parameters = list(inspect.signature(env.step).parameters.values())
    except (TypeError, ValueError):
        return False
    return [(item.name, item.kind) for item in parameters] == [("action", inspect.Parameter.POSITIONAL_OR_KEYWORD)]


def _own_of_instance(env: Any, name: str) -> Any:
    """What the instance itself, not its class, holds under a name."""
    value = own_attribute(env, name, _MISSING)
    if value is inspect.getattr_static(type(env), name, _MISSING):
        return _MISSING
    return value if any(value is item for item in own_values(env)) else _MISSING


def _put(env: Any, name: str, tap: _Tap) -> bool:
    """Whether the instance has it from now on; a property of its class wins over what the instance has."""
    if hasattr(inspect.getattr_static(type(env), name, None), "__set__"):
        return False
    with contextlib.suppress(TypeError):  # a base class that is not Python's, with a way of its own to set attributes
        object.__setattr__(env, name, tap)
    return getattr(env, name) is tap


def _function_of(env: Any, name: str, own: Any) -> Callable[..., Any]:
    """The method as a function of the environment, so that the tap holds it weakly: no cycle, and no leak."""
    if own is _MISSING or (isinstance(own, types.MethodType) and own.__self__ is env):
        function = getattr(type(env), name, None) if own is _MISSING else own.__func__
        if isinstance(function, types.FunctionType):
            return function
    # A callable that somebody put there, or a method that is no function: it keeps the environment as it did before.
    method = getattr(env, name)
    return lambda _, *args, **kwargs: method(*args, **kwargs)


def _own_method(env: Any, name: str) -> Any:
    method = getattr(type(env), name, None)
    return functools.partial(_forwarded, env, name) if method is None else method.__get__(env, type(env))


def _forwarded(env: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Of a class that has no such method, and gives that of what it wraps."""
    return type(env).__getattr__(env, name)(*args, **kwargs)


def _same(value: Any) -> Any:
    return value


def _two(result: Any) -> tuple[Any, Any]:
    """What ``reset`` returned; environments of the old ``gym`` give the observation alone."""
    if isinstance(result, tuple) and len(result) == 2:
        info = result[1]
        if type(info) is dict or isinstance(info, Mapping):  # the second takes 0.2 µs
            return result
    return result, {}


def _five(result: Any) -> Any:
    """What ``step`` returned; environments of the old ``gym`` give one ``done`` for both ends. Never raises."""
    if not isinstance(result, (tuple, list)) or len(result) != 4:
        return result
    observation, reward, done, info = result
    try:
        terminated, truncated = _ends(done, info)
    except Exception:  # values of another kind: the recorder says so, and the loop goes on
        return result
    return observation, reward, terminated, truncated, info


def _ends(done: Any, info: Any) -> tuple[Any, Any]:
    """(terminated, truncated) of one ``done``, or of one an environment."""
    if not getattr(done, "shape", ()):
        truncated = bool(done) and isinstance(info, Mapping) and bool(info.get("TimeLimit.truncated", False))
        return bool(done) and not truncated, truncated
    if isinstance(info, Mapping):  # one value an environment: the old gym's vectors, and Isaac Gym's tensors
        done = done != 0
        told = next((info[key] for key in ("TimeLimit.truncated", "time_outs") if key in info), None)
        truncated = done & False if told is None else done & (told != 0)
    else:  # Stable-Baselines3's: one info an environment
        truncated = done & [bool(one.get("TimeLimit.truncated", False)) for one in info]
    return done & ~truncated, truncated
