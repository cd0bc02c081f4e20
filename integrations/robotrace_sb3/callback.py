"""The callback, which is no more than the carrier of its options: who records is in :mod:`robotrace_sb3.training`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from robotrace.errors import ConfigurationError

try:
    from stable_baselines3.common.callbacks import BaseCallback
except ModuleNotFoundError as exc:
    raise ConfigurationError("robotrace_sb3 needs stable_baselines3; run: pip install 'robotrace-dev[sb3]'") from exc

from robotrace_sb3.settings import Phase, Settings, resolve_settings
from robotrace_sb3.training import begin_learning, end_learning, training_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from robotrace.plugin import CaptureOptions

__all__ = ["RoboTraceCallback", "find_settings"]

_log = logging.getLogger("robotrace")

_MAX_DEPTH = 8
_INSIDE = ("callbacks", "callback", "callback_on_new_best")
"""Where ``CallbackList``, ``EventCallback`` and ``EvalCallback`` have others."""


class RoboTraceCallback(BaseCallback):
    """Records the episodes of a training, and those of its evaluations.

    The training is as without it: same weights, same returns. Every 20th episode of each training environment is
    recorded (30 a minute at the most), and every episode of ``EvalCallback`` and ``evaluate_policy``. Each has the
    policy's version (``PPO@120000``), the seed, the hyperparameters and its phase.

    Args:
        phases: Which episodes: ``train``, ``eval`` or both.
        hash_policy: Add a hash of the policy's parameters to its version, ``PPO@120000#1f2e3d4c5b6a``, and in full to
            the metadata.
        policy_observations: Record what the policy saw (normalised, stacked, transposed) as the stream
            ``policy_observation`` beside what the environment gave, where a ``VecEnv`` wrapper makes them differ.
        verbose: As every callback's; nothing is printed.
        **options: See :class:`robotrace.plugin.Options`. ``every_n_episodes``, ``trigger``, ``max_per_minute`` and
            ``max_episodes`` are of the training's episodes.

    Raises:
        TypeError: An option is unknown.
        ConfigurationError: An option's value does not fit.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from robotrace_sb3 import RoboTraceCallback
        >>> model = PPO("MlpPolicy", "CartPole-v1", n_steps=64)
        >>> model = model.learn(128, callback=RoboTraceCallback(tags=["first"]))
    """

    def __init__(
        self,
        *,
        phases: Sequence[Phase] = ("train", "eval"),
        hash_policy: bool = False,
        policy_observations: bool = False,
        verbose: int = 0,
        **options: Unpack[CaptureOptions],
    ) -> None:
        super().__init__(verbose)
        self.settings = resolve_settings(phases, hash_policy, policy_observations, options)

    def _init_callback(self) -> None:
        # learn() has told of it already, before its first reset; not so that of an algorithm unlike SB3's.
        if training_of(self.model) is None:
            begin_learning(self.model, self.settings)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        model: Any = getattr(self, "model", None)  # rl_zoo3 calls it for trainings that never began, too
        if model is not None:
            end_learning(model)


def find_settings(callback: Any) -> Settings | None:
    """The settings of the :class:`RoboTraceCallback` among the callbacks of a training; of several the first one's."""
    found = list(_callbacks(callback, 0))
    if len({id(one) for one in found}) > 1:
        _log.warning("%d RoboTraceCallbacks are in this training: the first one records", len(found))
    return found[0].settings if found else None


def _callbacks(callback: Any, depth: int) -> Iterator[RoboTraceCallback]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(callback, RoboTraceCallback):
        yield callback
    elif isinstance(callback, (list, tuple)):
        for one in callback:
            yield from _callbacks(one, depth + 1)
    elif isinstance(callback, BaseCallback):
        for name in _INSIDE:
            yield from _callbacks(callback.__dict__.get(name), depth + 1)
