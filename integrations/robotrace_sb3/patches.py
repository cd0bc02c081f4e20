"""Where Stable-Baselines3 is changed, and nowhere else: ``learn``, ``_setup_learn`` and ``evaluate_policy``.

A callback comes too late and goes too early: the first reset is before any callback's first call, an exception leaves
``learn`` without telling one, and ``evaluate_policy`` knows of none. So these functions are stood in for by ones that
call them and tell :mod:`robotrace_sb3.training`; of a model that nobody records they do that and nothing else.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from robotrace.auto import is_stood_in, stand_in
from robotrace.plugin import report_fault
from robotrace_sb3.callback import RoboTraceCallback, find_settings
from robotrace_sb3.settings import Settings
from robotrace_sb3.training import begin_learning, end_learning, fail_learning, forget_all, training_of

__all__ = ["install", "instrument", "stand_in_for_evaluations", "uninstrument"]

_EVALUATIONS = ("stable_baselines3.common.evaluation", "sb3_contrib.common.maskable.evaluation")
_NAME = "evaluate_policy"

_automatic: Settings | None = None
_inside: set[int] = set()
"""Models whose ``learn`` is running: it may call that of its base class."""


def instrument(**arguments: Any) -> None:
    """Record every training and evaluation of this process, as if each ``learn`` were given a callback.

    A training that is given a :class:`RoboTraceCallback` of its own goes by that one.

    Args:
        **arguments: As :class:`RoboTraceCallback`'s.

    Raises:
        TypeError: One is unknown.
        ConfigurationError: A value does not fit.
    """
    global _automatic
    _automatic = RoboTraceCallback(**arguments).settings
    install()


def uninstrument() -> None:
    """Undo :func:`instrument`: no training to come is recorded, and none that is recorded for no other reason."""
    global _automatic
    before, _automatic = _automatic, None
    if before is not None:
        forget_all(before)


def install() -> None:
    """Stand in for the methods of all algorithms that there are, and of those to come; a second time for new ones."""
    pending: list[Any] = [BaseAlgorithm]
    while pending:
        kind = pending.pop()
        _patch_class(kind)
        pending += kind.__subclasses__()
    if "__init_subclass__" not in BaseAlgorithm.__dict__:
        BaseAlgorithm.__init_subclass__ = classmethod(_on_subclass)  # type: ignore
    stand_in_for_evaluations()


def stand_in_for_evaluations() -> None:
    """Stand in for each ``evaluate_policy`` that there is by now, under all the names that it has anywhere."""
    for home in _EVALUATIONS:
        function: Any = getattr(sys.modules.get(home), _NAME, None)
        if function is not None and not is_stood_in(function):
            stand_in(function, functools.partial(_evaluating, inspect.signature(function)))


def _on_subclass(cls: type[BaseAlgorithm], **kwargs: Any) -> None:
    super(BaseAlgorithm, cls).__init_subclass__(**kwargs)
    _patch_class(cls)


def _patch_class(kind: type[BaseAlgorithm]) -> None:
    for name, around in (("learn", _around_learn), ("_setup_learn", _around_setup)):
        function = kind.__dict__.get(name)
        if inspect.isfunction(function) and not _is_ours(function):
            setattr(kind, name, around(function))


def _around_learn(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def learn(self: BaseAlgorithm, *args: Any, **kwargs: Any) -> Any:
        if id(self) in _inside:
            return function(self, *args, **kwargs)
        _inside.add(id(self))
        try:
            result = function(self, *args, **kwargs)
        except BaseException as error:
            fail_learning(self, error)
            raise
        finally:
            _inside.discard(id(self))
        end_learning(self)
        return result

    return _ours(learn)


def _around_setup(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def _setup_learn(self: BaseAlgorithm, total_timesteps: int, callback: Any = None, *args: Any, **kwargs: Any) -> Any:
        settings = find_settings(callback) or _automatic
        if settings is not None:
            stand_in_for_evaluations()
        begin_learning(self, settings)
        return function(self, total_timesteps, callback, *args, **kwargs)

    return _ours(_setup_learn)


def _evaluating(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Callable[[Any, BaseException | None], None]:
    evaluation = None
    try:
        given = signature.bind_partial(*args, **kwargs).arguments
        training = training_of(given.get("model"), _automatic)
        if training is not None and "env" in given:
            evaluation = training.evaluate(
                given["env"],
                deterministic=bool(given.get("deterministic", True)),
                n_eval_episodes=int(given.get("n_eval_episodes", signature.parameters["n_eval_episodes"].default)),
            )
    except Exception as exc:
        report_fault("an evaluation is not recorded", exc)

    def finish(_: Any, error: BaseException | None) -> None:
        if evaluation is not None:
            try:
                evaluation.end(error)
            except Exception as exc:
                report_fault("the episodes of an evaluation could not be ended", exc)

    return finish


def _ours(function: Callable[..., Any]) -> Callable[..., Any]:
    function.__dict__["_robotrace"] = True
    return function


def _is_ours(function: Any) -> bool:
    return bool(getattr(function, "__dict__", {}).get("_robotrace"))


install()
