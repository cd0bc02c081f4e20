"""``video="deferred"``: nothing is rendered while it runs, and every episode that can be run again is marked for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium_envs import LoggingEnv
from recorded import RecordedEpisode, sealed
from vector_envs import VERSION, modes, vectorize

from robotrace import session
from robotrace.capture.recording import Recording
from robotrace.errors import ConfigurationError
from robotrace.plugin import attach
from robotrace_gymnasium import RoboTraceRecorder

DEFERRED: dict[str, Any] = {"video": "deferred", "max_per_minute": None}
MARK = {"deferred": True, "every_n_steps": 1, "max_edge": None}

ways = pytest.mark.parametrize("record", [RoboTraceRecorder, attach], ids=["wrapper", "attach"])


class Blind(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Must not be asked for a picture."""

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def render(self) -> Any:
        raise AssertionError("rendered")


def cartpole(render_mode: str | None = None) -> gym.Env:
    return Blind(gym.make("CartPole-v1", render_mode=render_mode, max_episode_steps=6))


def walk(env: gym.Env, episodes: int = 3) -> None:
    for _ in range(episodes):
        env.reset()
        while not any(env.step(env.action_space.sample())[2:4]):
            pass


def episodes() -> list[RecordedEpisode]:
    assert session.flush()
    return sealed()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if "can be made later" in record.getMessage()]
    assert {(record.name, record.levelno) for record in records} <= {("robotrace", logging.WARNING)}
    return [record.getMessage() for record in records]


@ways
@pytest.mark.parametrize("render_mode", [None, "rgb_array", "rgb_array_list"])
def test_every_episode_is_marked_and_nothing_is_rendered(
    record: Callable[..., gym.Env], render_mode: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    env = record(cartpole(render_mode), **DEFERRED)
    walk(env)
    env.close()
    found = episodes()
    assert [episode.create["metadata"]["video"] for episode in found] == [MARK] * 3
    for episode in found:
        assert episode.metadata["reproduce"]["reproducible"] is True
        assert "video" not in episode.finalize["metadata"]
        assert "incomplete" not in episode.metadata
        assert not (episode.folder / "video.mp4").exists()
    assert warnings_of(caplog) == []


@ways
def test_the_mark_says_which_frames_a_live_recording_would_have_made(record: Callable[..., gym.Env]) -> None:
    env = record(cartpole(), video_every_n_steps=5, video_size=320, video_trigger="every(2)", **DEFERRED)
    walk(env)
    marks = [episode.metadata.get("video") for episode in episodes()]
    mark = {"deferred": True, "every_n_steps": 5, "max_edge": 320}
    assert marks == [mark, None, mark]


@ways
def test_the_loop_makes_the_calls_that_it_makes_without_video(
    record: Callable[..., gym.Env], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Any, str]] = []
    step_calls = Recording.step_calls

    def watched(self: Recording, picture: Any, *rest: Any) -> Any:
        before_step, after_step = step_calls(self, picture, *rest)
        given.append((picture, after_step.__qualname__))
        return before_step, after_step

    monkeypatch.setattr(Recording, "step_calls", watched)
    for video in (False, "deferred"):
        walk(record(cartpole("rgb_array"), **{**DEFERRED, "video": video}), episodes=1)
    assert given == [(None, "Recording._flat_calls.<locals>.after_step")] * 2


@ways
def test_what_cannot_be_run_again_is_not_marked_and_said_once(
    record: Callable[..., gym.Env], caplog: pytest.LogCaptureFixture
) -> None:
    inner = LoggingEnv(length=3)  # not made by gymnasium.make: nobody could make it again
    env = record(inner, **DEFERRED)
    for _ in range(3):
        env.reset(seed=1)
        while not any(env.step(np.zeros(2))[2:4]):
            pass
    assert inner.rendered == 0
    found = episodes()
    assert len(found) == 3
    for episode in found:
        reproduce = episode.metadata["reproduce"]
        assert reproduce["reproducible"] is False
        assert episode.metadata["video"] == {"deferred": False, "reason": reproduce["reason"]}
        assert len(episode.arrays("sensors")["reward/value"]) == 3
    (said,) = warnings_of(caplog)
    assert found[0].metadata["reproduce"]["reason"] in said
    assert "video=True or 'auto'" in said
    assert "render_mode='rgb_array'" in said


def test_each_recorder_says_it_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        env = RoboTraceRecorder(LoggingEnv(length=2), **DEFERRED)
        env.reset()
        while not any(env.step(np.zeros(2))[2:4]):
            pass
    assert len(warnings_of(caplog)) == 2


def test_an_episode_nobody_wants_a_video_of_is_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    env = RoboTraceRecorder(LoggingEnv(length=2), video_trigger=lambda start: False, **DEFERRED)
    env.reset()
    while not any(env.step(np.zeros(2))[2:4]):
        pass
    (episode,) = episodes()
    assert "video" not in episode.metadata
    assert warnings_of(caplog) == []


def test_an_episode_that_is_not_kept_is_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    env = RoboTraceRecorder(LoggingEnv(length=4), only="failures", failure=lambda end: False, **DEFERRED)
    env.reset()
    while not any(env.step(np.zeros(2))[2:4]):
        pass
    assert episodes() == []
    assert warnings_of(caplog) == []


@pytest.mark.skipif(VERSION < (1, 0), reason="AutoResetWrapper resets within the step")
def test_an_env_that_resets_itself_is_marked_in_every_episode() -> None:
    env = RoboTraceRecorder(gym.wrappers.Autoreset(cartpole()), keep_partial="always", **DEFERRED)
    env.reset(seed=4)
    for _ in range(40):
        env.step(env.action_space.sample())
    env.close()
    found = episodes()
    assert len(found) > 3
    assert [episode.metadata["video"] for episode in found] == [MARK] * len(found)


class Camera(gym.Env):
    """Sees pictures of a size that would become video."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012 - Gymnasium's form
    observation_space = gym.spaces.Box(0, 255, (96, 128, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def _observe(self) -> np.ndarray:
        self.seen.append(self.np_random.integers(0, 256, (96, 128, 3), np.uint8))
        return self.seen[-1]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        return self._observe(), 0.0, len(self.seen) > 3, False, {}


@ways
def test_image_observations_are_kept_to_the_bit(record: Callable[..., gym.Env]) -> None:
    camera = Camera()
    walk(record(camera, **DEFERRED), episodes=1)
    (episode,) = episodes()
    np.testing.assert_array_equal(episode.arrays("sensors")["observation/value"], camera.seen)
    assert not (episode.folder / "video.mp4").exists()


@pytest.mark.parametrize("video_envs", [0, 1])
@pytest.mark.parametrize("mode", modes)
@ways
def test_of_a_vector_every_environment_is_marked(
    record: Callable[..., Any], mode: str, video_envs: int, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = {} if len(modes) == 1 else {"autoreset_mode": mode}
    envs = gym.vector.SyncVectorEnv([lambda: cartpole("rgb_array")] * 3, **chosen)
    env = record(envs, video_envs=video_envs, keep_partial="always", **DEFERRED)
    env.reset(seed=3)
    for _ in range(20):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        done = terminated | truncated
        if mode == "Disabled" and done.any():
            env.reset(options={"reset_mask": done})
    env.close()
    found = episodes()
    assert len(found) >= 6
    for episode in found:
        assert episode.metadata["reproduce"]["reproducible"] is True
        assert episode.metadata["video"] == MARK
        assert not (episode.folder / "video.mp4").exists()
    assert {episode.metadata["vector"]["index"] for episode in found} == {0, 1, 2}
    assert warnings_of(caplog) == []


def in_other_processes(**chosen: Any) -> list[RecordedEpisode]:
    # What make_vec of Gymnasium 0.29 gives is of no public class; attach takes anything.
    envs = gym.make_vec("CartPole-v1", 2, vectorization_mode="async", vector_kwargs={"context": "fork", **chosen})
    env = attach(envs, keep_partial="always", **DEFERRED)
    env.reset(seed=3)
    for _ in range(60):
        env.step(np.zeros(2, np.int64))
    env.close()
    return [episode for episode in episodes() if episode.metadata["outcome"]["steps"]]


@pytest.mark.skipif("NextStep" not in modes, reason="Gymnasium 0.29 resets within the step")
def test_of_a_vector_in_other_processes_the_episodes_are_marked(caplog: pytest.LogCaptureFixture) -> None:
    found = in_other_processes()
    assert len(found) >= 4
    assert [episode.metadata["video"] for episode in found] == [MARK] * len(found)
    assert list(warnings_of(caplog)) == []


@pytest.mark.skipif("SameStep" not in modes, reason="Gymnasium 1.0 resets in the next step")
def test_of_a_vector_that_resets_within_the_step_in_other_processes_the_seeded_episodes_are_marked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = in_other_processes(**({} if len(modes) == 1 else {"autoreset_mode": "SameStep"}))
    reasons = [episode.metadata["reproduce"].get("reason") for episode in found]
    assert reasons.count(None) == 2
    assert len(reasons) >= 4
    for episode, reason in zip(found, reasons, strict=True):
        assert episode.metadata["video"] == (MARK if reason is None else {"deferred": False, "reason": reason})
    (said,) = warnings_of(caplog)
    assert "in another process" in said


def test_a_vectors_steps_are_those_without_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robotrace.capture.vector import VectorRecorder

    asked: list[Any] = []
    monkeypatch.setattr(VectorRecorder, "_show_all", lambda *args: asked.append(args))
    calls = []
    for video in (False, "deferred", "auto"):
        envs = vectorize(tmp_path / str(video), 2, render_mode="rgb_array")
        env = RoboTraceRecorder(envs, **{**DEFERRED, "video": video})
        env.reset(seed=1)
        for _ in range(10):
            env.step(np.zeros((2, 2)))
        env.close()
        calls.append(len(asked))
    assert calls == [0, 0, 10]


@ways
@pytest.mark.parametrize("make", [cartpole, lambda: gym.vector.SyncVectorEnv([cartpole])], ids=["single", "vector"])
@pytest.mark.parametrize(("option", "value"), [("source", "real"), ("last_seconds", 5.0), ("images", "video")])
def test_what_cannot_go_together_is_named_before_anything_is_recorded(
    record: Callable[..., Any], make: Callable[[], Any], option: str, value: Any
) -> None:
    env = make()
    with pytest.raises(ConfigurationError, match=option):
        record(env, **{option: value}, **DEFERRED)
    env.close()
    assert episodes() == []
