"""``attach`` on Gymnasium's environments: same object, same spec, one record per episode."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RenderCollection, TimeLimit
from gymnasium_envs import LoggingEnv, read_barcode
from recorded import RecordedEpisode, sealed

from robotrace import session
from robotrace.plugin import attach, detach
from robotrace_gymnasium import RoboTraceRecorder

SETTINGS: dict[str, Any] = {"video_trigger": 1, "max_per_minute": None}


def rollout(env: gym.Env, seed: int | None = 5) -> None:
    env.reset(seed=seed)
    while not any(env.step(env.action_space.sample())[2:4]):
        pass


def episodes() -> list[RecordedEpisode]:
    assert session.flush()
    return sealed()


def test_an_env_of_make_keeps_its_spec_and_its_type_and_is_recorded() -> None:
    env = gym.make("CartPole-v1", render_mode="rgb_array")
    spec, kind = env.spec, type(env)
    assert attach(env, **SETTINGS, policy_version="random") is env
    assert (type(env), env.spec) == (kind, spec)
    assert "RoboTrace" not in json.dumps(json.loads(env.spec.to_json()))
    rollout(env)
    (episode,) = episodes()
    steps = episode.metadata["outcome"]["steps"]
    assert len(episode.frames()[0]) == steps + 1
    assert len(episode.arrays("sensors")["observation/value"]) == steps + 1
    assert episode.create["env_version"].startswith("CartPole-v1 gymnasium-")
    assert episode.metadata["reproduce"]["reproducible"] is True
    assert episode.metadata["adapter"] == "attach"
    detach(env)
    assert "step" not in vars(env)


def test_the_streams_are_what_the_wrapper_records() -> None:
    bare = LoggingEnv(length=12)
    attach(bare, **SETTINGS)
    rollout(bare)
    wrapped = RoboTraceRecorder(LoggingEnv(length=12), **SETTINGS)
    wrapped.action_space.seed(0)
    bare.action_space.seed(0)
    rollout(bare)
    rollout(wrapped)
    by_adapter = {episode.metadata["adapter"]: episode for episode in episodes()}
    ours, theirs = by_adapter["attach"].arrays("sensors"), by_adapter["gymnasium"].arrays("sensors")
    assert ours.keys() == theirs.keys()
    np.testing.assert_array_equal(ours["observation.pose/value"], theirs["observation.pose/value"])


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: cloudpickle.loads(cloudpickle.dumps(env)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("make", [lambda: gym.make("CartPole-v1"), lambda: LoggingEnv(length=3)], ids=["make", "own"])
def test_t3_copies_of_an_attached_env_work_and_are_not_recorded(copied: Any, make: Any) -> None:
    env = attach(make(), **SETTINGS)
    env.reset(seed=1)
    env.step(env.action_space.sample())
    twin = copied(env)
    assert type(twin) is type(env)
    rollout(twin)
    detach(env)
    assert episodes() == []


@pytest.mark.parametrize("outside", [True, False])
def test_wrapper_and_tap_together_make_one_record(outside: bool) -> None:
    inner = LoggingEnv(length=3)
    if outside:
        env: gym.Env = attach(RoboTraceRecorder(inner, **SETTINGS), **SETTINGS, policy_version="tap")
    else:
        env = RoboTraceRecorder(attach(inner, **SETTINGS, policy_version="tap"), **SETTINGS, policy_version="wrapper")
    rollout(env)
    rollout(env)
    assert [episode.create["policy_version"] for episode in episodes()] == ["tap" if outside else "wrapper"] * 2


def test_a_recorder_in_a_recorder_makes_one_record() -> None:
    env = RoboTraceRecorder(TimeLimit(RoboTraceRecorder(LoggingEnv(length=9), **SETTINGS), 3), **SETTINGS)
    rollout(env)
    (episode,) = episodes()
    assert episode.metadata["outcome"]["truncated"] is True


def test_t16_collected_frames_come_to_the_user_as_without_us() -> None:
    env = attach(RenderCollection(LoggingEnv(length=4)), **SETTINGS)
    env.reset()
    for _ in range(4):
        env.step(np.zeros(2))
    assert [read_barcode(frame) for frame in env.render()] == [0, 1, 2, 3, 4]
    assert env.render() == []
    (episode,) = episodes()
    assert [read_barcode(frame) for frame in episode.frames()[0]] == [0, 1, 2, 3, 4]
    detach(env)
    env.reset()
    assert len(env.render()) == 1


def test_the_checkers_of_gymnasium_are_content() -> None:
    import warnings

    from gymnasium.utils.env_checker import check_env

    env = attach(gym.make("CartPole-v1").unwrapped, **SETTINGS)
    assert list(inspect.signature(env.reset).parameters) == ["seed", "options"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about the env
        check_env(env, skip_render_check=True)
