"""Recorders before the environments of a model, and away again.

Never a wrapper in the stack: ``EvalCallback`` compares the stacks of training and evaluation. What is in this process
(``DummyVecEnv``) is recorded environment by environment, below every ``VecEnv``: rewards in float64, terminated and
truncated apart, the terminal frame there. Everything else is recorded at the ``VecEnv`` that all wrappers end at.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecEnvWrapper

from robotrace.plugin import (
    Attached,
    EpisodeRecorder,
    Labels,
    Options,
    Series,
    VectorRecorder,
    attach_recorder,
    detach,
    find_recorders,
    observe,
)

__all__ = ["AttachedVecEnv", "attach_silence", "base_of"]

_ADAPTER = "sb3"
_INNERMOST = re.compile(r"<([^<>]+)>+$")
_RECORDERS = ("RoboTraceRecorder",)
"""Wrappers that record by themselves, in the process they are in."""
_SEEN = "policy_observation"


def base_of(env: Any) -> Any:
    """What all wrappers of a ``VecEnv`` end at; the environment itself where it is none."""
    while isinstance(env, VecEnvWrapper):
        env = env.venv
    return env


class AttachedVecEnv(Attached):
    """The recorders of one ``VecEnv`` (or of one environment), while they are attached.

    Args:
        env: As the model, or ``evaluate_policy``, has it.
        options: Of its episodes.
        labels: Asked about them.
        series: Shared by all of them.
        policy_observations: Whether what ``env`` gives is recorded too, where wrappers make it something else.

    Raises:
        ConfigurationError: An option's value does not fit.
    """

    def __init__(
        self, env: Any, options: Options, labels: Labels, series: Series, *, policy_observations: bool = False
    ) -> None:
        super().__init__()
        base = base_of(env)
        self.env = weakref.ref(env)
        self.base = weakref.ref(base)
        self._seen: Any = None
        self._stop: Callable[[], None] | None = None
        for layer, found in find_recorders(env):
            self.add(layer, found, ours=False)
        if not self:
            watches = policy_observations and env is not base
            for one, recorder in _attach(base, options, series, self._row_of if watches else None):
                self.add(one, recorder, ours=True)
            if watches and self:
                self._stop = observe(env, self._see)
        self.ask(labels)

    def detach(self) -> None:
        """Leave the environments as they were; what is still open was left in the middle."""
        super().detach()
        if self._stop is not None:
            self._stop()

    def _see(self, observation: Any) -> None:
        self._seen = observation

    def _row_of(self, index: int | None) -> Callable[[], Mapping[str, Any]]:
        """What the policy saw: all rows, or that of one environment."""

        def seen() -> Mapping[str, Any]:
            now = self._seen
            if now is None:
                return {}
            if index is None:
                return {_SEEN: now}
            return {_SEEN: {key: rows[index] for key, rows in now.items()} if isinstance(now, Mapping) else now[index]}

        return seen


def attach_silence(env: Any, options: Options, labels: Labels) -> AttachedVecEnv | None:
    """Of episodes that are not wanted: where automatic recorders have the environments, one in their place without any.

    Args:
        env: As :class:`AttachedVecEnv`'s.
        options: Of its episodes, were they wanted.
        labels: For nobody.
    """
    if not find_recorders(env, automatic=True):
        return None
    return AttachedVecEnv(env, replace(options, max_episodes=0), labels, Series())


def _inside(base: Any) -> list[Any]:
    envs = getattr(base, "envs", None) if isinstance(base, VecEnv) else None
    return list(envs) if isinstance(envs, (list, tuple)) and len(envs) == base.num_envs else []


def _attach(
    base: Any, options: Options, series: Series, beside: Callable[[int | None], Callable[[], Mapping[str, Any]]] | None
) -> list[tuple[Any, EpisodeRecorder | VectorRecorder]]:
    inside = _inside(base)
    done: list[tuple[Any, EpisodeRecorder | VectorRecorder]] = []
    try:
        for index, env in enumerate(inside):
            if options.env_indices != "auto" and index not in options.env_indices:
                continue
            vector = {"index": index, "num_envs": len(inside), "autoreset_mode": "SameStep"}
            recorder = attach_recorder(
                env,
                options,
                adapter=_ADAPTER,
                series=series,
                vector=vector,
                beside=None if beside is None else beside(index),
            )
            done.append((env, recorder))
    except TypeError:  # one that nothing can be attached to: then it is seen from the vector
        for env, _ in done:
            detach(env)
        inside, done = [], []
    if inside:
        return done
    env_id = None
    if isinstance(base, SubprocVecEnv):
        names = _names(base)
        if any(name in text for text in names for name in _RECORDERS):
            return []
        found = _INNERMOST.search(names[0]) if names else None
        env_id = None if found is None else found.group(1).removesuffix(" instance")
    whole = None if beside is None or not isinstance(base, VecEnv) else beside(None)
    recorder = attach_recorder(base, options, adapter=_ADAPTER, series=series, env_id=env_id, beside=whole)
    return [(base, recorder)]


def _names(base: SubprocVecEnv) -> list[str]:
    """What the environments in other processes call themselves: ``<Monitor<TimeLimit<…<CartPole-v1>>>>``.

    A text can always be sent; a spec may hold functions, and the worker that has to send one dies of it. Nothing is
    asked while a step is under way: its answers come through the same pipes.
    """
    if getattr(base, "waiting", True) or getattr(base, "closed", True):
        return []
    return [str(text) for text in base.env_method("__str__")]
