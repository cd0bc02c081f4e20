"""How episodes end, in order and out of it, and which are kept (T20, T28)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium_envs import LoggingEnv
from recorded import sealed

from robotrace import session
from robotrace_gymnasium import RoboTraceRecorder


def recorder(env: gym.Env, **options: Any) -> RoboTraceRecorder:
    return RoboTraceRecorder(env, **{"video_trigger": 1, "max_per_minute": None, **options})


def rollout(env: gym.Env, **reset: Any) -> None:
    env.reset(**reset)
    while not any(env.step(np.zeros(2))[2:4]):
        pass


def outcomes() -> list[tuple[str, bool | None, int]]:
    session.flush()
    return [
        (episode.finalize["status"], episode.metadata["outcome"]["success"], episode.metadata["outcome"]["steps"])
        for episode in sealed()
    ]


class Interrupted(LoggingEnv):
    """Raises ``error`` at step 3, or in each reset after the first."""

    def __init__(self, error: BaseException, *, where: str = "step", **options: Any) -> None:
        super().__init__(**options)
        self.error = error
        self.where = where

    def reset(self, **given: Any) -> Any:
        if self.where == "reset" and self.log:
            raise self.error
        return super().reset(**given)

    def step(self, action: Any) -> Any:
        if self.where == "step" and self._step == 3:
            raise self.error
        return super().step(action)


@pytest.mark.parametrize("error", [RuntimeError("on fire"), AssertionError()])
def test_t20_an_exception_in_step_passes_and_ends_the_episode_as_failed(error: Exception) -> None:
    env = recorder(Interrupted(error))
    with pytest.raises(type(error)) as caught:
        rollout(env)
    assert caught.value is error
    assert outcomes() == [("failed", False, 3)]
    (episode,) = sealed()
    assert episode.metadata["exception"]["type"] == type(error).__name__
    assert episode.metadata["exception"]["traceback"][-1].startswith(type(error).__name__)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2)])
def test_t28_ctrl_c_and_exit_pass_and_say_nothing_of_the_policy(error: BaseException) -> None:
    env = recorder(Interrupted(error))
    with pytest.raises(type(error)):
        rollout(env)
    assert outcomes() == [("failed", None, 3)]
    assert sealed()[0].metadata["exception"]["type"] == type(error).__name__


def test_t20_an_exception_in_reset_passes_and_the_env_may_be_used_again() -> None:
    inner = Interrupted(RuntimeError("no contact"), where="reset", length=4)
    env = recorder(inner, keep_partial="always")
    env.reset()
    env.step(np.zeros(2))
    with pytest.raises(RuntimeError, match="no contact"):
        env.reset()
    inner.where = "nowhere"
    rollout(env)
    assert [steps for _, _, steps in outcomes()] == [1, 4]


def test_t20_reset_twice_and_close_without_reset() -> None:
    env = recorder(LoggingEnv(length=3))
    env.reset()
    env.reset()
    rollout(env)
    env.close()
    env.close()
    recorder(LoggingEnv()).close()
    assert [steps for _, _, steps in outcomes()] == [3]


def test_t20_a_step_before_the_reset_is_the_envs_own_error() -> None:
    env = recorder(gym.make("CartPole-v1"))
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    assert outcomes() == []


def test_t20_steps_after_the_end_belong_to_no_episode() -> None:
    env = recorder(LoggingEnv(length=3))
    rollout(env)
    for _ in range(5):
        env.step(np.zeros(2))
    rollout(env)
    assert [steps for _, _, steps in outcomes()] == [3, 3]


def test_a_generator_that_is_closed_early_is_no_failure() -> None:
    def steps(env: gym.Env) -> Iterator[int]:
        try:
            env.reset()
            for step in range(10):
                env.step(np.zeros(2))
                yield step
        finally:
            env.close()

    running = steps(recorder(LoggingEnv(), keep_partial="always"))
    next(running)
    running.close()
    assert outcomes() == [("ready", None, 1)]
    assert "exception" not in sealed()[0].metadata


# --- only


class Alternating(LoggingEnv):
    """Succeeds in every other episode; says nothing where ``silent``."""

    silent = False

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        info = {"is_success": len(self.log) % 2 == 0} if (terminated or truncated) and not self.silent else {}
        return observation, reward, terminated, truncated, info


@pytest.mark.parametrize(("only", "numbers"), [("failures", [0, 2, 4]), ("successes", [1, 3, 5]), ("all", [*range(6)])])
def test_only_keeps_the_half_that_was_asked_for(only: str, numbers: list[int]) -> None:
    env = recorder(Alternating(length=4), only=only)
    for _ in range(6):
        rollout(env)
    session.flush()
    assert [episode.metadata["episode_index"] for episode in sealed()] == numbers
    assert all(len(episode.frames()[0]) == 5 for episode in sealed())


def test_a_truncation_that_says_nothing_is_neither_a_failure_nor_a_success() -> None:
    for only in ("failures", "successes"):
        inner = Alternating(length=3, ends="truncated")
        inner.silent = True
        rollout(recorder(inner, only=only))
    assert outcomes() == []


def test_only_failures_keeps_an_exception_and_what_failure_says() -> None:
    with pytest.raises(RuntimeError):
        rollout(recorder(LoggingEnv(raises_at=2), only="failures"))
    env = recorder(LoggingEnv(length=3, ends="truncated"), only="failures", failure=lambda end: end.steps == 3)
    rollout(env)
    assert [(status, steps) for status, _, steps in outcomes()] == [("failed", 2), ("failed", 3)]


def test_a_discarded_episode_leaves_neither_folder_nor_video() -> None:
    env = recorder(Alternating(length=4), only="successes")
    rollout(env)
    session.flush()
    process = session.recording_process()
    assert process is not None
    assert [path.name for path in process.folder.iterdir() if path.is_dir()] == []
    assert sealed() == []


def test_with_only_the_limit_counts_what_is_kept() -> None:
    env = recorder(Alternating(length=2), only="failures", max_episodes=2)
    for _ in range(8):
        rollout(env)
    session.flush()
    assert [episode.metadata["episode_index"] for episode in sealed()] == [0, 2]
