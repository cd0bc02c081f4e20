"""Pictures: collected ones are given back (T16), missing ones are left out (T18), unsampled ones are not made (T22)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordVideo, RenderCollection
from gymnasium_envs import LoggingEnv, read_barcode
from recorded import sealed

from robotrace import session
from robotrace_gymnasium import RoboTraceRecorder


def recorder(env: gym.Env, **options: Any) -> RoboTraceRecorder:
    return RoboTraceRecorder(env, **{"video_trigger": 1, "max_per_minute": None, **options})


def collecting(length: int = 4, **options: Any) -> gym.Env:
    return RenderCollection(LoggingEnv(length=length), **options)


def walk(env: gym.Env, asks: tuple[int, ...], episodes: int = 2) -> list[list[int]]:
    """The pictures each ``render()`` of the user gave, called after these steps."""
    seen = []
    for _ in range(episodes):
        env.reset()
        step, done = 0, False
        while not done:
            done = any(env.step(np.zeros(2))[2:4])
            step += 1
            if step in asks:
                seen.append([read_barcode(frame) for frame in env.render()])
    return seen


@pytest.mark.parametrize("asks", [(1, 2, 3, 4), (2, 4), (3,), ()])
@pytest.mark.parametrize("options", [{}, {"reset_clean": False}, {"pop_frames": False}])
def test_t16_collected_frames_come_to_the_user_as_without_us(asks: tuple[int, ...], options: dict[str, Any]) -> None:
    assert walk(recorder(collecting(**options)), asks) == walk(collecting(**options), asks)
    session.flush()
    assert [[read_barcode(frame) for frame in episode.frames()[0]] for episode in sealed()] == [[0, 1, 2, 3, 4]] * 2


def test_t16_frames_nobody_asks_for_are_forgotten_at_the_reset() -> None:
    env = recorder(collecting())
    walk(env, (), episodes=5)
    assert len(env.render()) == 5


def test_t18_a_frame_that_is_none_is_left_out() -> None:
    class Blinking(LoggingEnv):
        def render(self) -> Any:
            return None if self._step % 2 else super().render()

    walk(recorder(Blinking(length=6)), (), episodes=1)
    session.flush()
    (episode,) = sealed()
    assert [read_barcode(frame) for frame in episode.frames()[0]] == [0, 2, 4, 6]


def test_t22_only_sampled_episodes_are_rendered() -> None:
    inner = LoggingEnv(length=3)
    walk(recorder(inner, every_n_episodes=2, video_trigger="every(4)"), (), episodes=8)
    assert inner.rendered == 2 * 4


def test_t22_every_nth_step_and_the_last_are_rendered() -> None:
    walk(recorder(LoggingEnv(length=7), video_every_n_steps=3), (), episodes=1)
    session.flush()
    (episode,) = sealed()
    frames, times = episode.frames()
    assert [read_barcode(frame) for frame in frames] == [0, 3, 6, 7]
    np.testing.assert_allclose(times, np.array([0, 3, 6, 7]) * 0.05, atol=1e-6)


@pytest.mark.parametrize("order", ["inside", "outside"])
@pytest.mark.parametrize("mode", ["rgb_array", "rgb_array_list"])
def test_t23_record_video_beside_us_gets_all_its_frames(order: str, mode: str, tmp_path: Any) -> None:
    pytest.importorskip("moviepy")

    def frames_of(wrapped: bool) -> list[int]:
        env: gym.Env = LoggingEnv(length=5) if mode == "rgb_array" else collecting(5)
        if wrapped and order == "inside":
            env = recorder(env)
        env = video = RecordVideo(env, str(tmp_path / ("ours" if wrapped else "bare")), episode_trigger=lambda _: True)
        if wrapped and order == "outside":
            env = recorder(env)
        seen: list[int] = []
        stop = video.stop_recording
        video.stop_recording = lambda: (seen.extend(map(read_barcode, video.recorded_frames)), stop())  # type: ignore[method-assign]
        walk(env, (), episodes=1)
        env.close()
        return seen

    assert frames_of(wrapped=True) == frames_of(wrapped=False)
    session.flush()
    (episode,) = sealed()
    assert [read_barcode(frame) for frame in episode.frames()[0]] == [0, 1, 2, 3, 4, 5]
