from __future__ import annotations

import copy
import gc
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from gymnasium_envs import LoggingEnv, read_barcode
from recorded import sealed
from trainings import run

from robotrace import session
from robotrace.deliver.spool import open_spool
from robotrace.errors import ConfigurationError
from robotrace.serve.stream_facts import StreamFacts
from robotrace_gymnasium import RoboTraceRecorder


def recorder(env: gym.Env, **options: Any) -> RoboTraceRecorder:
    return RoboTraceRecorder(env, **{"video_trigger": 1, "max_per_minute": None, **options})


def rollout(env: gym.Env, *, seed: int | None = 5) -> None:
    rng = np.random.default_rng(0)
    env.reset(seed=seed)
    done = False
    while not done:
        _, _, terminated, truncated, _ = env.step(rng.uniform(-1, 1, 2))
        done = terminated or truncated


def test_an_episode_holds_what_happened_in_its_own_dtype_on_the_envs_clock() -> None:
    env = LoggingEnv(length=20)
    wrapped = recorder(env, policy_version="act-v7")
    rollout(wrapped)
    wrapped.flush()
    (episode,) = sealed()
    truth = env.log[0]
    sensors, actions = episode.arrays("sensors"), episode.arrays("actions")
    poses, flags = zip(*truth["observations"], strict=True)
    assert sensors["observation.pose/value"].dtype == np.float32
    np.testing.assert_array_equal(sensors["observation.pose/value"], poses)
    assert sensors["observation.flag/value"].dtype == np.int64
    np.testing.assert_array_equal(sensors["observation.flag/value"], flags)
    assert actions["action/value"].dtype == np.float64
    np.testing.assert_array_equal(actions["action/value"], truth["actions"])
    np.testing.assert_array_equal(sensors["reward/value"], truth["rewards"])
    assert sensors["terminated/value"].tolist() == [False] * 19 + [True]
    assert sensors["truncated/value"].tolist() == [False] * 20
    clock = np.arange(21) * 50_000_000
    np.testing.assert_array_equal(sensors["observation.pose/_t_ns"], clock)
    np.testing.assert_array_equal(actions["action/_t_ns"], clock[:-1])
    np.testing.assert_array_equal(sensors["reward/_t_ns"], clock[1:])
    assert (np.diff(sensors["wall_clock/value"]) >= 0).all()
    assert {array.dtype for key, array in sensors.items() if key.endswith("_t_ns")} == {np.dtype(np.int64)}


def test_there_are_n_plus_1_frames_in_order_at_their_times_and_red_is_red() -> None:
    wrapped = recorder(LoggingEnv(length=70))
    rollout(wrapped)
    wrapped.flush()
    (episode,) = sealed()
    frames, times = episode.frames()
    assert [read_barcode(frame) for frame in frames] == list(range(71))
    np.testing.assert_allclose(times, np.arange(71) * 0.05, atol=1e-6)
    for frame in frames:
        assert np.abs(frame[60, 100].astype(int) - (255, 0, 0)).max() <= 6
    video = episode.metadata["video"]
    assert (video["frames_submitted"], video["frames"]) == (71, 71)
    assert episode.create["fps"] == 20.0


def test_the_four_things_that_make_it_reproducible_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robotrace.context import git

    monkeypatch.setattr("robotrace.capture.decisions.find_git_sha", lambda: git.read_checkout(tmp_path).sha)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("a" * 40)
    env = recorder(gym.make("CartPole-v1"), policy_version="pd-v2")
    env.reset(seed=41)
    while not any(env.step(0)[2:4]):
        pass
    env.flush()
    (episode,) = sealed()
    assert episode.create["policy_version"] == "pd-v2"
    assert episode.create["env_version"] == f"CartPole-v1 gymnasium-{gym.__version__}"
    assert episode.create["git_sha"] == "a" * 40
    assert episode.create["seed"] == 41
    reproduce = episode.metadata["reproduce"]
    assert (reproduce["reproducible"], reproduce["seed"], reproduce["resets_since_seed"]) == (True, 41, 0)
    assert reproduce["env_spec"]["id"] == "CartPole-v1"


def test_the_recorded_generator_state_gives_the_same_reset_again() -> None:
    env = gym.make("CartPole-v1")
    wrapped = recorder(env)
    wrapped.reset(seed=3)
    first = wrapped.reset()[0]
    while not any(wrapped.step(1)[2:4]):
        pass
    wrapped.flush()
    (episode,) = sealed()
    assert "seed" not in episode.create  # this reset had none of its own
    state = episode.metadata["reproduce"]["generator_state"]
    bits = np.random.PCG64()
    bits.state = {**state, "state": {key: int(value) for key, value in state["state"].items()}}
    again = gym.make("CartPole-v1")
    again.reset()
    again.unwrapped.np_random = np.random.Generator(bits)
    np.testing.assert_array_equal(again.reset()[0], first)


class ForgetsItsArguments(gym.Wrapper):
    """As many wrappers in training scripts: Gymnasium's make refuses a spec with one in it."""


def test_what_cannot_be_made_again_is_not_called_reproducible() -> None:
    env = recorder(ForgetsItsArguments(gym.make("CartPole-v1")))
    env.reset(seed=1)
    while not any(env.step(0)[2:4]):
        pass
    env.flush()
    (episode,) = sealed()
    assert episode.metadata["reproduce"]["reproducible"] is False
    assert "ForgetsItsArguments" in episode.metadata["reproduce"]["reason"]
    with pytest.raises(ValueError, match="ForgetsItsArguments"):
        gym.make(env.env.spec)


def test_a_reset_whose_seed_is_none_of_ours_does_not_get_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")

    class NamedSeeds(LoggingEnv):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return super().reset(seed=None if isinstance(seed, str) else seed, options=options)

    env = recorder(NamedSeeds(length=2))
    rollout(env, seed=5)
    rollout(env, seed="monday")  # type: ignore[arg-type]
    env.flush()
    assert [episode.create.get("seed") for episode in sealed()] == [5, None]
    assert [episode.metadata["reproduce"].get("seed") for episode in sealed()] == [5, None]


def test_a_killed_encoder_costs_the_rest_of_the_video_and_nothing_that_was_encoded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    env = recorder(LoggingEnv(length=120))
    env.reset(seed=1)
    for step in range(120):
        env.step(np.zeros(2))
        if step == 90:
            process = session.recording_process()
            assert process is not None
            assert process._encoder is not None
            process._encoder._process.kill()
            process._encoder._process.wait(30)
    env.flush()
    (episode,) = sealed()
    assert len(episode.arrays("sensors")["reward/value"]) == 120
    frames, _ = episode.frames()
    assert [read_barcode(frame) for frame in frames] == list(range(len(frames)))
    assert len(frames) >= 60  # 20 a second: all but the second that was not written yet, and what was in the ring
    assert episode.metadata["video"]["frames"] == len(frames)
    assert "died" in episode.metadata["incomplete"]["video"]
    rollout(env)  # the next episode has a new encoder
    env.flush()
    assert len(sealed()[1].frames()[0]) == 121


def test_where_pyav_is_missing_the_steps_are_recorded_and_every_episode_is_sealed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    (tmp_path / "av.py").write_text("raise ImportError('no PyAV here')")
    body = """
env = make()
for _ in range(4):
    rollout(env)
env.close()
assert env.flush(30)
"""
    done = run(body, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert done.returncode == 0, done.stderr
    found = sealed()
    assert [len(episode.arrays("sensors")["reward/value"]) for episode in found] == [30] * 4
    assert all("video" in episode.metadata["incomplete"] for episode in found)
    assert "no PyAV here" in found[-1].metadata["incomplete"]["video"]


def test_unknown_fields_stay_empty() -> None:
    env = recorder(LoggingEnv(length=2))
    rollout(env, seed=None)
    env.flush()
    (episode,) = sealed()
    assert "policy_version" not in episode.create
    assert "seed" not in episode.create
    assert episode.metadata["reproduce"]["reproducible"] is False
    assert "no spec" in episode.metadata["reproduce"]["reason"]
    assert episode.metadata["outcome"]["success"] is True


def test_the_loop_is_the_same_with_and_without_us() -> None:
    def run(wrap: bool) -> tuple[list[Any], Any]:
        random.seed(1)
        np.random.seed(1)
        env = gym.make("CartPole-v1", render_mode="rgb_array")
        env = recorder(env) if wrap else env
        env.action_space.seed(3)
        seen = []
        for episode in range(4):
            seen.append(env.reset(seed=9 if episode == 0 else None))
            done = False
            while not done:
                result = env.step(env.action_space.sample())
                seen.append(result)
                done = result[2] or result[3]
        state = (random.random(), np.random.random(), env.unwrapped.np_random.random())
        env.close()
        return seen, state

    bare, bare_state = run(wrap=False)
    ours, our_state = run(wrap=True)
    assert our_state == bare_state
    assert len(ours) == len(bare)
    for mine, theirs in zip(ours, bare, strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        assert mine[1:] == theirs[1:]
        assert [type(item) for item in mine] == [type(item) for item in theirs]
    session.flush()
    assert len(sealed()) == 4


@pytest.mark.parametrize(("length", "status", "success"), [(20, "ready", True), (21, "failed", False)])
def test_success_is_what_the_env_says_at_the_end(length: int, status: str, success: bool) -> None:
    env = recorder(LoggingEnv(length=length))
    rollout(env)
    env.flush()
    (episode,) = sealed()
    assert episode.finalize["status"] == status
    assert episode.metadata["outcome"]["success"] is success
    assert ("failure_reason" in episode.metadata) is not success
    if not success:
        assert episode.metadata["failure_reason"] == "is_success is false at the end (terminated at step 21)"
        assert episode.finalize["failure_time_s"] == pytest.approx(21 * 0.05)


def test_truncation_without_a_signal_is_unknown_not_failure() -> None:
    env = recorder(gym.make("CartPole-v1", max_episode_steps=3))
    env.reset(seed=1)
    while not env.step(0)[3]:
        pass
    env.flush()
    (episode,) = sealed()
    assert episode.finalize["status"] == "ready"
    assert episode.metadata["outcome"] == {
        "success": None,
        "reward_total": 3.0,
        "steps": 3,
        "terminated": False,
        "truncated": True,
    }


def test_failure_is_asked_when_given() -> None:
    env = recorder(gym.make("CartPole-v1"), failure=lambda end: end.terminated and end.steps < 100)
    env.reset(seed=1)
    while not any(env.step(0)[2:4]):
        pass
    env.flush()
    assert sealed()[0].finalize["status"] == "failed"


def test_an_exception_in_the_env_is_raised_and_ends_the_episode_as_failed() -> None:
    env = recorder(LoggingEnv(raises_at=7))
    with pytest.raises(RuntimeError, match="on fire"):
        rollout(env)
    env.flush()
    (episode,) = sealed()
    assert episode.finalize["status"] == "failed"
    assert episode.finalize["failure_time_s"] == pytest.approx(0.35)
    assert episode.metadata["failure_reason"] == "RuntimeError: the gripper is on fire"
    assert "in step" in "\n".join(episode.metadata["exception"]["traceback"])
    assert len(episode.arrays("sensors")["observation.pose/value"]) == 8
    assert len(episode.arrays("actions")["action/value"]) == 8  # the one that did it included
    assert len(episode.frames()[0]) == 8


def test_an_exception_in_the_loop_is_seen_when_the_env_is_closed_on_its_way() -> None:
    env = recorder(LoggingEnv())
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the loop is the point
        env.reset()
        try:
            env.step(np.zeros(2))
            _ = 1 // 0
        finally:
            env.close()
    session.flush()
    (episode,) = sealed()
    assert episode.metadata["failure_reason"].startswith("ZeroDivisionError")


@pytest.mark.parametrize(("keep", "kept"), [("failures", 0), ("never", 0), ("always", 1)])
def test_an_episode_closed_in_the_middle_follows_keep_partial(keep: str, kept: int) -> None:
    env = recorder(LoggingEnv(), keep_partial=keep)
    env.reset()
    env.step(np.zeros(2))
    env.close()
    session.flush()
    assert len(sealed()) == kept
    assert all(episode.metadata["partial"] is True for episode in sealed())


@pytest.mark.parametrize(("keep", "kept"), [("failures", 0), ("always", 1)])
def test_an_env_that_is_dropped_without_close_leaves_no_killed_process_behind(
    keep: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robotrace.capture.recording._BLOCK_STEPS", 1)
    env = recorder(LoggingEnv(), keep_partial=keep)
    env.reset()
    env.step(np.zeros(2))
    del env
    gc.collect()
    session.reset()
    spool = open_spool()
    assert spool.recording_folders() == []
    assert [episode.metadata.get("partial") for episode in sealed()] == [True] * kept


def test_keep_partial_never_drops_what_an_exception_ended() -> None:
    env = recorder(LoggingEnv(raises_at=3), keep_partial="never")
    with pytest.raises(RuntimeError):
        rollout(env)
    env.flush()
    assert sealed() == []


def test_a_reset_in_the_middle_ends_the_old_episode_and_begins_a_new_one() -> None:
    env = recorder(LoggingEnv(length=4), keep_partial="always")
    env.reset()
    env.step(np.zeros(2))
    rollout(env)
    env.flush()
    assert [episode.metadata["outcome"]["steps"] for episode in sealed()] == [1, 4]


def test_unsampled_episodes_are_neither_recorded_nor_rendered() -> None:
    inner = LoggingEnv(length=3)
    env = recorder(inner, every_n_episodes=3)
    for _ in range(7):
        rollout(env)
    env.flush()
    assert [episode.metadata["episode_index"] for episode in sealed()] == [0, 3, 6]
    assert inner.rendered == 3 * 4


def test_max_episodes_is_the_end_of_it() -> None:
    env = recorder(LoggingEnv(length=2), max_episodes=2)
    for _ in range(5):
        rollout(env)
    env.flush()
    assert len(sealed()) == 2


def test_video_is_sampled_apart_from_the_sensors() -> None:
    env = recorder(LoggingEnv(length=2), video_trigger=2)
    for _ in range(4):
        rollout(env)
    env.flush()
    assert [(episode.folder / "video.mp4").exists() for episode in sealed()] == [True, False, True, False]


def test_without_a_render_mode_there_is_no_video_and_no_call_of_render() -> None:
    inner = LoggingEnv(render_mode=None, length=2)
    env = recorder(inner)
    rollout(env)
    env.flush()
    assert not (sealed()[0].folder / "video.mp4").exists()
    assert inner.rendered == 0


class BrokenRenderer(LoggingEnv):
    def render(self) -> np.ndarray:
        if self._step >= 3:
            raise OSError("no GL context")
        return super().render()


def test_a_renderer_that_breaks_costs_the_video_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    env = recorder(BrokenRenderer(length=6))
    rollout(env)
    env.flush()
    (episode,) = sealed()
    assert len(episode.arrays("sensors")["reward/value"]) == 6
    assert "no GL context" in episode.metadata["incomplete"]["video"]
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 2
    assert "no GL context" in caplog.text


class TextReward(LoggingEnv):
    """The reward is no number from step 3 on."""

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, reward if self._step < 3 else "much", *rest


def test_a_reward_that_is_no_number_is_named_and_costs_nothing_else() -> None:
    env = recorder(TextReward(length=6))
    rollout(env)
    env.flush()
    (episode,) = sealed()
    assert "missing in row 2" in episode.metadata["incomplete"]["reward/value"]
    assert episode.metadata["outcome"]["reward_total"] is None
    assert len(episode.arrays("sensors")["observation.pose/value"]) == 7


def test_a_fault_of_ours_ends_our_recording_not_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")

    def fails(*_: object) -> None:
        raise ValueError("ours")

    monkeypatch.setattr("robotrace.capture.recording.Recording._outcome", fails)
    env = recorder(LoggingEnv(length=6))
    rollout(env)
    rollout(env)
    env.flush()
    assert "the run goes on" in caplog.text
    assert [episode.metadata["incomplete"]["*"][:10] for episode in sealed()] == ["ValueError"] * 2


def test_a_failure_callable_that_raises_costs_the_verdict_not_the_episode(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    env = recorder(LoggingEnv(length=6), failure=lambda end: end.info["no such key"])
    rollout(env)
    env.flush()
    (episode,) = sealed()
    assert episode.finalize["status"] == "ready"
    assert episode.metadata["outcome"]["steps"] == 6
    assert "KeyError" in episode.metadata["incomplete"]["*"]
    assert "no such key" in caplog.text


class OldStyle(LoggingEnv):
    """Four values instead of five, and an info that is no dict."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, _ = super().step(action)
        return (
            (observation, reward, terminated or truncated, None)
            if self._step > 2
            else (observation, reward, False, False, None)
        )


def test_a_step_that_returns_something_else_is_the_loops_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    env = recorder(OldStyle(length=4))
    env.reset()
    assert [len(env.step(np.zeros(2))) for _ in range(4)] == [5, 5, 4, 4]
    env.flush()
    (episode,) = sealed()
    assert "ValueError" in episode.metadata["incomplete"]["*"]
    assert len(episode.arrays("sensors")["reward/value"]) == 2


def test_a_spool_that_cannot_be_written_is_one_warning_and_the_loop_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ROBOTRACE_SPOOL_DIR", str(tmp_path / "file" / "spool"))
    env = recorder(LoggingEnv(length=3))
    for _ in range(3):
        rollout(env)
    env.close()
    warnings = [record for record in caplog.records if record.name == "robotrace"]
    assert len(warnings) == 1
    assert "cannot be written" in warnings[0].getMessage()


def test_switched_off_the_env_comes_back_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    env = LoggingEnv()
    assert RoboTraceRecorder(env, enabled=False) is env
    monkeypatch.setenv("ROBOTRACE_MODE", "disabled")
    assert RoboTraceRecorder(env) is env


def test_switched_off_around_a_recorder_it_does_not_become_its_own_env() -> None:
    # Mechanism: Python calls __init__ on what __new__ gives back, when that is of the class.
    inside = recorder(LoggingEnv(length=3))
    assert RoboTraceRecorder(inside, enabled=False) is inside
    rollout(inside)
    inside.flush()
    assert len(sealed()) == 1


def test_bad_input_is_one_clear_line_before_anything_is_opened() -> None:
    with pytest.raises(ConfigurationError, match=r"^video=True needs .*render_mode='rgb_array'.* has None$"):
        RoboTraceRecorder(LoggingEnv(render_mode=None), video=True)
    with pytest.raises(TypeError, match="unknown option 'polcy_version'; did you mean 'policy_version'"):
        RoboTraceRecorder(LoggingEnv(), polcy_version="x")
    with pytest.raises(TypeError, match="environments of Gymnasium, and this is str"):
        RoboTraceRecorder("CartPole-v1")
    assert sealed() == []


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: cloudpickle.loads(cloudpickle.dumps(env)),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_records_for_itself(copied: Any) -> None:
    env = recorder(gym.make("CartPole-v1"), policy_version="x")
    env.reset(seed=1)
    env.step(0)
    twin = copied(env)
    twin.reset(seed=2)
    while not any(twin.step(1)[2:4]):
        pass
    twin.flush()
    assert [episode.create["seed"] for episode in sealed()] == [2]


def test_the_spec_builds_the_wrapped_env_again() -> None:
    env = RoboTraceRecorder(gym.make("CartPole-v1"), policy_version="x", every_n_episodes=3, trigger=lambda start: True)
    json.loads(env.spec.to_json())
    again = gym.make(env.spec)
    assert isinstance(again, RoboTraceRecorder)
    assert again._options.policy_version == "x"
    again.close()


def test_t1_live_objects_among_the_options_stay_out_of_the_spec() -> None:
    live = {"lock": threading.Lock(), "when": np.float32(1.5)}
    env = recorder(gym.make("CartPole-v1"), metadata=live, failure=lambda end: False, policy_version="x")
    assert set(env.spec.additional_wrappers[-1].kwargs) == {"policy_version", "video_trigger", "max_per_minute"}
    json.loads(env.spec.to_json())
    assert env._options.metadata is live


def test_t2_a_spec_is_made_without_us_where_recording_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = recorder(gym.make("CartPole-v1")).spec
    monkeypatch.setenv("ROBOTRACE_MODE", "disabled")
    again = gym.make(spec)
    assert not isinstance(again, RoboTraceRecorder)
    again.reset()
    again.step(0)


def test_t3_a_copy_that_comes_out_where_recording_is_switched_off_records_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = pickle.dumps(recorder(gym.make("CartPole-v1")))
    monkeypatch.setenv("ROBOTRACE_ENABLED", "0")
    twin = pickle.loads(stored)
    assert isinstance(twin, RoboTraceRecorder)
    twin.reset(seed=1)
    while not any(twin.step(1)[2:4]):
        pass
    assert session._current is None


def test_attributes_of_the_env_are_still_there_and_missing_ones_are_missing() -> None:
    env = recorder(LoggingEnv(length=9))
    assert env.length == 9
    with pytest.raises(AttributeError):
        _ = env.no_such_thing
    with pytest.raises(AttributeError):
        _ = env._private


def test_gymnasiums_own_checker_is_content() -> None:
    import warnings

    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about the env, and that it is wrapped
        check_env(recorder(gym.make("CartPole-v1").unwrapped), skip_render_check=True)


def test_labels_change_from_the_next_episode_on() -> None:
    env = recorder(LoggingEnv(length=2), policy_version="ppo@0", metadata={"task": "lift"})
    rollout(env)
    env.recorder.set(policy_version="ppo@20000", metadata={"stage": 2})
    rollout(env)
    env.flush()
    assert [episode.create["policy_version"] for episode in sealed()] == ["ppo@0", "ppo@20000"]
    assert sealed()[1].metadata["stage"] == 2
    assert sealed()[1].metadata["task"] == "lift"


def test_labels_set_in_the_middle_are_the_next_episodes() -> None:
    env = recorder(LoggingEnv(length=3), policy_version="old", video=False)
    env.reset()
    env.recorder.set(policy_version="new")
    while not env.step(np.zeros(2))[2]:
        pass
    rollout(env)
    env.flush()
    assert [episode.create["policy_version"] for episode in sealed()] == ["old", "new"]


def test_what_the_wire_has_no_room_for_does_not_cost_the_episode() -> None:
    env = recorder(LoggingEnv(length=2))
    env.recorder.set(policy_version="p" * 500)
    rollout(env, seed=2**70)
    env.flush()
    (episode,) = sealed()
    assert episode.create["policy_version"] == "p" * 200
    assert "seed" not in episode.create
    assert episode.metadata["reproduce"]["seed"] == str(2**70)


def test_the_callers_metadata_wins_and_nan_is_null() -> None:
    env = recorder(LoggingEnv(length=2), metadata={"adapter": "mine", "gain": float("nan")}, tags=["night"])
    rollout(env)
    env.flush()
    (episode,) = sealed()
    assert episode.metadata["adapter"] == "mine"
    assert episode.metadata["gain"] is None
    assert episode.metadata["robotrace"]["sanitized"] == ["gain"]
    assert episode.metadata["tags"] == ["night"]


def test_the_active_trace_is_attached() -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    context = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(0))
    env = recorder(LoggingEnv(length=2))
    with trace.use_span(trace.NonRecordingSpan(context)):
        env.reset()
    while not env.step(np.zeros(2))[2]:
        pass
    env.flush()
    assert sealed()[0].create["otel"]["trace_id"] == f"{0xABC:032x}"


def test_each_episode_has_a_span_of_its_own_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    exporting = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(exporting.SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "get_tracer", lambda *names, **more: provider.get_tracer(*names))
    env = recorder(LoggingEnv(length=3, ends="truncated"), otel_spans=True, policy_version="p")
    rollout(env)
    with pytest.raises(RuntimeError):
        rollout(recorder(LoggingEnv(raises_at=1), otel_spans=True))
    env.reset()
    env.close()  # discarded: there is no episode the span could lead to
    env.flush()
    first, second = memory.get_finished_spans()
    ids = {episode.metadata["client_episode_id"]: episode for episode in sealed()}
    episode = ids[first.attributes["robotrace.episode.id"]]
    assert first.name == "robotrace.episode"
    assert first.attributes["robotrace.episode.length"] == 3
    assert first.attributes["robotrace.episode.outcome"] == "failure"  # is_success is false at step 3
    assert first.attributes["robotrace.policy.version"] == "p"
    assert episode.create["otel"]["span_id"] == f"{first.context.span_id:016x}"
    assert first.end_time > first.start_time
    assert second.status.status_code is trace.StatusCode.ERROR
    assert second.events[0].attributes["exception.type"] == "RuntimeError"
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_importing_and_wrapping_starts_no_thread_and_opens_nothing(tmp_path: Path) -> None:
    code = (
        "import threading, os, gymnasium as gym\n"
        "from robotrace_gymnasium import RoboTraceRecorder\n"
        "env = RoboTraceRecorder(gym.make('CartPole-v1'))\n"
        "print(threading.active_count(), os.path.exists(os.environ['ROBOTRACE_HOME']))\n"
    )
    import os

    environment = {**os.environ, "ROBOTRACE_HOME": str(tmp_path / "none"), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("ROBOTRACE_SPOOL_DIR", None)
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["1", "False"]


def test_what_actions_are_called_is_recorded_where_the_env_says_it() -> None:
    for meanings in (lambda: ["left", "right"], lambda language: [], lambda: [0, 1], None):
        env = gym.make("CartPole-v1")
        if meanings is not None:
            env.unwrapped.get_action_meanings = meanings
        recorded = recorder(env)
        recorded.reset(seed=5)
        while not any(recorded.step(1)[2:4]):
            pass
        recorded.close()
    session.flush()
    facts = [StreamFacts(episode.metadata) for episode in sealed()]
    assert [one.about("action", 1) for one in facts] == [{"meanings": ["left", "right"]}, {}, {}, {}]
    for known in (one.about("observation", 4) for one in facts):
        assert known["high"] == [pytest.approx(4.8), None, pytest.approx(0.41887903), None]
        assert known["low"] == [pytest.approx(-4.8), None, pytest.approx(-0.41887903), None]
