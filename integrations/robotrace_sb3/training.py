"""What is recorded of a model: its training's environments while it learns, an evaluation's while it is evaluated."""

from __future__ import annotations

import logging
import weakref
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from robotrace.errors import ConfigurationError
from robotrace.plugin import Series, report_fault
from robotrace_sb3.environments import AttachedVecEnv, attach_silence, base_of
from robotrace_sb3.labels import ModelLabels
from robotrace_sb3.settings import Settings

__all__ = ["Training", "begin_learning", "end_learning", "fail_learning", "forget", "forget_all", "training_of"]

_log = logging.getLogger("robotrace")

_trainings: weakref.WeakKeyDictionary[BaseAlgorithm, Training] = weakref.WeakKeyDictionary()
"""Not on the model: ``model.save`` writes its attributes down."""


class Training:
    """Of one model, from its first ``learn`` with a callback on.

    Args:
        model: Kept weakly.
        settings: Of the callback.
    """

    def __init__(self, model: BaseAlgorithm, settings: Settings) -> None:
        self.settings = settings
        self._model = weakref.ref(model)
        self._series, self._evaluated = Series(), Series()
        self._labels = ModelLabels(model, "train", hash_policy=settings.hash_policy)
        self._attached: AttachedVecEnv | None = None
        self._evaluations = 0

    def begin(self, env: Any) -> None:
        """``learn`` begins, and may reset ``env``; again in the same call it changes nothing."""
        attached = self._attached
        if attached is not None and attached.env() is env:
            attached.ask(self._labels)
            attached.resume()
            return
        self.leave()
        settings = self.settings
        if env is not None and "train" not in settings.phases:
            self._attached = attach_silence(env, settings.train, self._labels)
        elif env is not None:
            self._attached = AttachedVecEnv(
                env,
                settings.train,
                self._labels,
                self._series,
                policy_observations=settings.policy_observations,
            )

    def end(self) -> None:
        """``learn`` is over: its open episodes go on in the next one, if that does not reset."""
        if self._attached is not None:
            self._attached.ask(None)
            self._attached.suspend()

    def fail(self, error: BaseException) -> None:
        """``learn`` was left by an exception."""
        if self._attached is not None:
            self._attached.failed(error)
        self.end()

    def leave(self) -> None:
        """Leave the training's environments as they were."""
        attached, self._attached = self._attached, None
        if attached is not None:
            attached.detach()

    def evaluate(self, env: Any, *, deterministic: bool, n_eval_episodes: int | None) -> Evaluation | None:
        """An evaluation begins; None where none is recorded."""
        model = self._model()
        if model is None:
            return None
        facts = {"index": self._evaluations, "deterministic": deterministic, "n_eval_episodes": n_eval_episodes}
        self._evaluations += 1
        labels = ModelLabels(model, "eval", hash_policy=self.settings.hash_policy, evaluation=facts)
        mine = self._attached
        shared = mine is not None and mine.base() is base_of(env)
        if shared:
            self.leave()
        attached: AttachedVecEnv | None
        try:
            if "eval" not in self.settings.phases:
                attached = attach_silence(env, self.settings.evaluation, labels)
            else:
                attached = AttachedVecEnv(
                    env,
                    self.settings.evaluation,
                    labels,
                    self._evaluated,
                    policy_observations=self.settings.policy_observations,
                )
        except ConfigurationError as exc:  # in the middle of a training
            _log.warning("an evaluation is not recorded: %s", exc)
            attached = None
        if attached is None and not shared:
            return None
        return Evaluation(attached, (lambda: self._go_on(mine)) if shared else None)

    def _go_on(self, before: AttachedVecEnv | None) -> None:
        """The training's own environments were evaluated in."""
        env = None if before is None else before.env()
        self.begin(env)
        if not _is_learning(self._model()):
            self.end()


class Evaluation:
    """One call of ``evaluate_policy``."""

    def __init__(self, attached: AttachedVecEnv | None, after: Any) -> None:
        self._attached = attached
        self._after = after

    def end(self, error: BaseException | None = None) -> None:
        """It is over; what is still open in the other environments was left in the middle."""
        if self._attached is not None:
            if error is not None:
                self._attached.failed(error)
            self._attached.detach()
        if self._after is not None:
            self._after()


_learning: weakref.WeakSet[BaseAlgorithm] = weakref.WeakSet()


def _is_learning(model: BaseAlgorithm | None) -> bool:
    return model is not None and model in _learning


def training_of(model: Any, otherwise: Settings | None = None) -> Training | None:
    """The training of a model; None where nobody records it.

    Args:
        model: An algorithm; of a policy alone, or of anything else with ``predict``, there is none.
        otherwise: Of a model that has learned nothing here: the settings it is recorded with from now on.
    """
    if not isinstance(model, BaseAlgorithm):
        return None
    found = _trainings.get(model)
    if found is None and otherwise is not None and otherwise.enabled:
        found = _trainings[model] = Training(model, otherwise)
    return found


def begin_learning(model: BaseAlgorithm, settings: Settings | None) -> None:
    """``learn`` begins, before it resets anything.

    Args:
        model: Whose.
        settings: Of the callback it was given; None: it was given none.

    Raises:
        ConfigurationError: An option's value does not fit the training's environments.
    """
    try:
        training = _trainings.get(model)
        if settings is None or not settings.enabled:
            if training is not None:
                forget(model)
            return
        if training is None or not training.settings.same_as(settings):
            forget(model)
            training = _trainings[model] = Training(model, settings)
        _learning.add(model)
        training.begin(model.env)
    except ConfigurationError:
        forget(model)
        raise
    except Exception as exc:
        report_fault("a training is not recorded", exc)


def end_learning(model: BaseAlgorithm) -> None:
    """``learn`` is over; a second time it changes nothing."""
    _learning.discard(model)
    training = _trainings.get(model)
    if training is not None:
        try:
            training.end()
        except Exception as exc:
            report_fault("the episodes of a training could not be set aside", exc)


def fail_learning(model: BaseAlgorithm, error: BaseException) -> None:
    """``learn`` was left by an exception."""
    _learning.discard(model)
    training = _trainings.get(model)
    if training is not None:
        try:
            training.fail(error)
        except Exception as exc:
            report_fault("the open episodes of a training could not be ended", exc)


def forget(model: BaseAlgorithm) -> None:
    """Record nothing of a model any more."""
    training = _trainings.pop(model, None)
    if training is not None:
        training.leave()


def forget_all(settings: Settings) -> None:
    """Record nothing any more of the models that are recorded with these very settings."""
    for model in [model for model, training in list(_trainings.items()) if training.settings is settings]:
        forget(model)
