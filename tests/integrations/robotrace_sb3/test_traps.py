"""The traps of Stable-Baselines3 that no other test has in its name, and that every one of T28 to T38 has a test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("stable_baselines3")

import gymnasium as gym
from recorded import RecordedEpisode, sealed
from reruns import rerun
from sb3_envs import assert_recorded, makers
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

import robotrace
from robotrace_sb3 import RoboTraceCallback

TESTS = Path(__file__).parents[2]


def everything(**options: Any) -> RoboTraceCallback:
    return RoboTraceCallback(**{"every_n_episodes": 1, "max_per_minute": None, **options})


def found() -> list[RecordedEpisode]:
    assert robotrace.flush()
    return sealed()


def test_every_trap_of_stable_baselines_has_a_test_that_names_it() -> None:
    named = set()
    for file in Path(__file__).parent.glob("test_*.py"):
        for name in re.findall(r"^ *def test_((?:t\d+_)+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            named.update(int(number) for number in re.findall(r"t(\d+)_", name))
    assert set(range(28, 39)) - named == set()


def test_t31_the_rewards_that_an_algorithm_changes_are_recorded_as_they_were(tmp_path: Path) -> None:
    # A2C adds the value of the last observation to the reward of an episode that was truncated.
    env = DummyVecEnv(makers(tmp_path / "diary", 1))
    A2C("MlpPolicy", env, n_steps=8, seed=9, device="cpu").learn(64, callback=everything())
    logs = assert_recorded(found(), tmp_path / "diary", 1)[0]
    assert any(log[-1]["truncated"] for log in logs)


@pytest.mark.parametrize("start_method", ["fork", "forkserver"])
def test_t36_environments_in_other_processes_are_asked_nothing_while_a_step_is_under_way(
    start_method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []
    own = SubprocVecEnv.env_method

    def env_method(self: SubprocVecEnv, name: str, *args: Any, **kwargs: Any) -> Any:
        asked.append((name, self.waiting))
        return own(self, name, *args, **kwargs)

    monkeypatch.setattr(SubprocVecEnv, "env_method", env_method)
    env = SubprocVecEnv(makers(tmp_path / "diary", 2, reuses=False, render_mode="rgb_array"), start_method=start_method)
    model = A2C("MlpPolicy", env, n_steps=8, seed=9, device="cpu").learn(32, callback=everything())
    assert_recorded(found(), tmp_path / "diary", 2)
    assert asked == [("__str__", False)]
    assert not any("video" in one.metadata for one in found())
    # A learn that begins in the middle of a step of somebody's asks nothing at all.
    env.step_async(model.env.action_space.sample()[None].repeat(2, axis=0))  # type: ignore[union-attr]
    model.learn(16, callback=everything(tags=["other"]), reset_num_timesteps=False)
    env.close()
    assert asked == [("__str__", False)]


def test_t36_the_names_of_environments_in_other_processes_are_known() -> None:
    env = make_vec_env("CartPole-v1", 2, vec_env_cls=SubprocVecEnv)
    A2C("MlpPolicy", env, n_steps=8, seed=9, device="cpu").learn(160, callback=everything(max_episodes=3))
    env.close()
    for one in found():
        assert one.create["env_version"] == "CartPole-v1"
        assert one.create["name"].startswith(f"CartPole-v1 env {one.metadata['vector']['index']} #")
        assert one.metadata["reproduce"]["reproducible"] is False
        assert "another process" in one.metadata["reproduce"]["reason"]


def test_t31_episodes_of_a_normalised_training_happen_again_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Monitor keeps no record of its arguments, and changes nothing that is recorded."""
    monkeypatch.chdir(tmp_path)
    model = A2C("MlpPolicy", VecNormalize(make_vec_env("CartPole-v1", 2)), n_steps=8, seed=9, device="cpu")
    model.learn(200, callback=everything(video=False))
    evaluate_policy(model, Monitor(gym.make("CartPole-v1")), n_eval_episodes=2)
    episodes = found()
    train = [one for one in episodes if one.metadata["phase"] == "train"]
    chosen = [train[0], train[-1], *(one for one in episodes if one.metadata["phase"] == "eval")]
    assert [one.metadata["reproduce"]["resets_since_seed"] for one in chosen[:1]] == [0]
    for one in chosen:
        verdict = rerun(one)
        assert verdict.in_short == f"reproduced to the bit, {one.metadata['outcome']['steps']} steps"
