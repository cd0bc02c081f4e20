"""Where Gymnasium is changed, and nowhere else: ``make``, ``make_vec`` and the constructors of its vectors.

``make`` is given other code, and stays the function it is: so it is the same under every name that a program has given
it by then (``from gymnasium import make``, a ``partial``, the globals of a function that came out of a pickle), it can be
pickled as before, and nothing has to be looked for to undo it.

What is recorded is what ``make`` returns, by a recorder that nobody has asked for: one that the program or another
plugin puts around it has the episodes instead.
"""

from __future__ import annotations

import inspect
import logging
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.envs import registration

from robotrace.errors import ConfigurationError
from robotrace.plugin import (
    EpisodeRecorder,
    Options,
    Series,
    VectorRecorder,
    attach_recorder,
    detach,
    find_recorder,
    is_enabled,
    report_fault,
    resolve_options,
)
from robotrace_gymnasium.importlib_bootstrap import around_constructor, code_of

__all__ = ["instrument", "uninstrument"]

_log = logging.getLogger("robotrace")

_ADAPTER = "gymnasium"
_FUNCTIONS = ("make", "make_vec")
_VECTORS = ("SyncVectorEnv", "AsyncVectorEnv")
_MAX_LAYERS = 64
_WORKERS = frozenset({"gymnasium.vector.async_vector_env", "stable_baselines3.common.vec_env.subproc_vec_env"})
"""Modules whose workers call the functions that make environments: those are recorded in the process of the vector."""

_options: Options | None = None
_series = Series()
_attached: dict[int, tuple[weakref.ref[Any], EpisodeRecorder | VectorRecorder]] = {}
"""By the id of the environment, for as long as it lives."""
_undo: list[Callable[[], None]] = []


def instrument(*, phases: object = None, **options: Any) -> None:
    """Record every environment that this process makes from here on.

    Args:
        phases: Of no concern here: what a loop of one's own does is its business. Trainings go by them.
        **options: See :class:`robotrace.plugin.Options`. Limits and numbers are of all environments together.

    Raises:
        TypeError: One is unknown.
        ConfigurationError: A value does not fit.
    """
    global _options, _series
    _options, _series = resolve_options(options), Series()
    if not _undo and _options.enabled is not False:
        for name in _FUNCTIONS:
            _replace_function(name)
        for name in _VECTORS:
            _replace_constructor(getattr(gym.vector, name))


def uninstrument() -> None:
    """Undo :func:`instrument`; episodes that are open still end as closed in the middle."""
    global _options
    _options = None
    while _undo:
        _undo.pop()()
    for env, recorder in list(_attached.values()):
        alive = env()
        if alive is not None:
            detach(alive, recorder)
    _attached.clear()


def _replace_function(name: str) -> None:
    function: Any = getattr(registration, name, None)  # 0.29 has no make_vec in some of its builds
    if not isinstance(function, types.FunctionType) or function.__closure__:
        return
    code = function.__code__
    original = types.FunctionType(code, function.__globals__, name, function.__defaults__)
    original.__kwdefaults__ = function.__kwdefaults__
    signature = inspect.signature(function)
    function.__code__ = standin = code_of(name, (original, _made))
    function.__signature__ = signature  # type: ignore[attr-defined]

    def undo() -> None:
        if function.__code__ is standin:
            function.__code__ = code
            del function.__signature__

    _undo.append(undo)


def _replace_constructor(kind: Any) -> None:
    original = kind.__dict__["__init__"]
    kind.__init__ = ours = around_constructor(original, _constructed)

    def undo() -> None:
        if kind.__dict__["__init__"] is ours:
            kind.__init__ = original

    _undo.append(undo)


def _made(env: Any) -> None:
    """``make`` or ``make_vec`` returns it."""
    try:
        if _is_wanted() and find_recorder(env, automatic=True) is None:
            _attach(env)
    except Exception as exc:
        report_fault("an environment is not recorded", exc)


def _constructed(vector: Any, recorded: bool) -> None:
    """A vector has been constructed: its episodes are recorded there, not in the environments in it."""
    try:
        if recorded or not _is_wanted() or find_recorder(vector, automatic=True) is not None:
            return
        envs = getattr(vector, "envs", ())
        if any(find_recorder(env) is not None for env in envs):
            return
        for env in envs:
            _leave(env)
        _attach(vector)
    except Exception as exc:
        report_fault("an environment is not recorded", exc)


def _attach(env: Any) -> None:
    assert _options is not None
    try:
        recorder = attach_recorder(env, _options, adapter=_ADAPTER, series=_series, automatic=True)
    except (ConfigurationError, TypeError) as exc:  # no __dict__; video=True, and it cannot be rendered
        _log.warning("an environment is not recorded: %s", exc)
        return
    key = id(env)
    _attached[key] = weakref.ref(env, lambda _: _attached.pop(key, None)), recorder


def _leave(env: Any) -> None:
    """Take away the recorder that nobody has asked for, of an environment or one inside it."""
    for _ in range(_MAX_LAYERS):
        if env is None:
            return
        _, recorder = _attached.pop(id(env), (None, None))
        if recorder is not None:
            detach(env, recorder)
        env = getattr(env, "env", None)


def _is_wanted() -> bool:
    return _options is not None and is_enabled(_options) and not _is_worker()


def _is_worker() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") in _WORKERS:
            return True
    return False
