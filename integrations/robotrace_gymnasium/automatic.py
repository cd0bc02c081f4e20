"""Where Gymnasium is changed, and nowhere else: ``make``, ``make_vec`` and the constructors of its vectors.

What is recorded is what ``make`` returns, by a recorder that nobody has asked for: one that the program or another
plugin puts around it has the episodes instead.
"""

from __future__ import annotations

import logging
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium.envs import registration

from robotrace.auto import around_function, stand_in
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

__all__ = ["instrument", "note_recorder", "uninstrument"]

_log = logging.getLogger("robotrace")

_ADAPTER = "gymnasium"
_FUNCTIONS = ("make", "make_vec")
_VECTORS = ("SyncVectorEnv", "AsyncVectorEnv")
_MAX_LAYERS = 64
_WORKERS = frozenset({"gymnasium.vector.async_vector_env", "stable_baselines3.common.vec_env.subproc_vec_env"})
"""Modules whose workers call the functions that make environments: those are recorded in the process of the vector."""


class _Inside(threading.local):
    """How many of these calls this thread is in: an environment made within another one is part of it."""

    depth = 0
    recorded = False
    """Whether somebody has asked for a recorder meanwhile, in a function that a vector calls."""


_inside = _Inside()
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
            _undo.append(stand_in(getattr(registration, name), _making))
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


def note_recorder() -> None:
    """A recorder was asked for, by a program's own code."""
    _inside.recorded = True


def _replace_constructor(kind: Any) -> None:
    original = kind.__dict__["__init__"]
    kind.__init__ = ours = around_function(original, _constructing)

    def undo() -> None:
        if kind.__dict__["__init__"] is ours:
            kind.__init__ = original

    _undo.append(undo)


def _making(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[Any, BaseException | None], None]:
    """``make`` or ``make_vec`` is called."""
    _inside.depth += 1
    return _made


def _constructing(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[[Any, BaseException | None], None]:
    """The constructor of a vector is called."""
    before, _inside.recorded = _inside.recorded, False
    _inside.depth += 1

    def finish(_: None, error: BaseException | None) -> None:
        _inside.depth -= 1
        recorded, _inside.recorded = _inside.recorded, before
        if error is None:
            _constructed(args[0], recorded)

    return finish


def _made(env: Any, error: BaseException | None) -> None:
    """``make`` or ``make_vec`` returns it."""
    _inside.depth -= 1
    if _inside.depth or error is not None:
        return
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
