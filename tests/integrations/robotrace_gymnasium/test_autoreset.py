"""A single environment that resets itself: its episodes are told apart without a call of reset."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium_envs import LoggingEnv, read_barcode
from recorded import RecordedEpisode, sealed

from robotrace import session
from robotrace.plugin import attach
from robotrace_gymnasium import RoboTraceRecorder

SAME_STEP = not hasattr(gym.wrappers, "Autoreset")
SETTINGS: dict[str, Any] = {"video_trigger": 1, "max_per_minute": None}


class Lasting(LoggingEnv):
    """Its observations outlast its reset: what is overwritten in the same step nobody can record."""

    def _observe(self) -> dict[str, Any]:
        observation = super()._observe()
        return {**observation, "pose": observation["pose"].copy()}


def resetting(env: gym.Env) -> gym.Env:
    return gym.wrappers.AutoResetWrapper(env) if SAME_STEP else gym.wrappers.Autoreset(env)


def steps(env: gym.Env, episodes: int, length: int) -> None:
    """So many whole episodes, after one reset."""
    env.reset(seed=3)
    for _ in range(episodes * (length if SAME_STEP else length + 1)):
        env.step(np.zeros(2))


def episodes() -> list[RecordedEpisode]:
    assert session.flush()
    return sealed()


@pytest.mark.parametrize("how", ["wrapper", "tap"])
def test_every_episode_is_recorded_with_its_own_steps(how: str) -> None:
    inner = Lasting(length=4)
    env = resetting(inner)
    env = attach(env, **SETTINGS) if how == "tap" else RoboTraceRecorder(env, **SETTINGS)
    steps(env, episodes=3, length=4)
    found = episodes()
    assert [episode.metadata["outcome"]["steps"] for episode in found] == [4, 4, 4]
    for episode, truth in zip(found, inner.log, strict=False):
        sensors = episode.arrays("sensors")
        np.testing.assert_array_equal(
            sensors["observation.pose/value"], [pose for pose, _ in truth["observations"]][: 4 + 1]
        )
        np.testing.assert_array_equal(sensors["reward/value"], truth["rewards"])
        numbers = [read_barcode(frame) for frame in episode.frames()[0]]
        assert numbers == ([0, 1, 2, 3] if SAME_STEP else [0, 1, 2, 3, 4])
    assert [episode.metadata["outcome"]["success"] for episode in found] == [True] * 3
    assert [episode.metadata["reproduce"]["resets_since_seed"] for episode in found] == [0, 1, 2]
    assert ["generator_state" in episode.metadata["reproduce"] for episode in found] == [False] + [not SAME_STEP] * 2


def test_episodes_that_are_not_sampled_are_followed_too() -> None:
    inner = LoggingEnv(length=3)
    steps(RoboTraceRecorder(resetting(inner), **SETTINGS, every_n_episodes=2), episodes=5, length=3)
    found = episodes()
    assert [episode.metadata["episode_index"] for episode in found] == [0, 2, 4]
    assert all(episode.metadata["outcome"]["steps"] == 3 for episode in found)


def test_a_reset_in_between_is_one() -> None:
    env = RoboTraceRecorder(resetting(LoggingEnv(length=3)), **SETTINGS, keep_partial="always")
    steps(env, episodes=1, length=3)
    env.reset()
    env.step(np.zeros(2))
    env.reset()
    for _ in range(3):
        env.step(np.zeros(2))
    assert [episode.metadata["outcome"]["steps"] for episode in episodes() if episode.metadata["outcome"]["steps"]] == [
        3,
        1,
        3,
    ]


def test_a_recorder_in_a_recorder_makes_one_record() -> None:
    env = RoboTraceRecorder(RoboTraceRecorder(resetting(LoggingEnv(length=3)), **SETTINGS), **SETTINGS)
    steps(env, episodes=2, length=3)
    assert [episode.metadata["outcome"]["steps"] for episode in episodes()] == [3, 3]


def test_a_fault_of_ours_costs_one_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")

    class Odd(LoggingEnv):
        def step(self, action: Any) -> Any:
            observation, reward, *rest = super().step(action)
            return observation, "much" if len(self.log) == 2 and self._step == 2 else reward, *rest

    steps(RoboTraceRecorder(resetting(Odd(length=3)), **SETTINGS), episodes=3, length=3)
    assert ["incomplete" in episode.metadata for episode in episodes()] == [False, True, False]
