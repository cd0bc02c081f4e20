"""A video made later is the one that a live recording would have made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")
av = pytest.importorskip("av")

import numpy as np  # noqa: E402
from recorded import RecordedEpisode  # noqa: E402
from reruns import record, rerun  # noqa: E402
from unsteady_envs import ARM  # noqa: E402

from robotrace.reroll.jobs import VideoRequest  # noqa: E402

pytestmark = pytest.mark.usefixtures("arm")


def decoded(path: Path) -> tuple[list[np.ndarray], list[int], list[int]]:
    """Pictures, times in µs, and which are keyframes."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [round(float(frame.pts * frame.time_base) * 1e6) for frame in frames]
    keys = [number for number, frame in enumerate(frames) if frame.key_frame]
    return [frame.to_ndarray(format="rgb24") for frame in frames], times, keys


def assert_equal_videos(ours: Path, live: Path) -> None:
    (pictures, times, keys), (expected, expected_times, expected_keys) = decoded(ours), decoded(live)
    assert len(pictures) == len(expected)
    assert times == expected_times
    assert keys == expected_keys
    for number, (one, other) in enumerate(zip(pictures, expected, strict=True)):
        assert np.array_equal(one, other), f"frame {number}"


def newest(name: str) -> str:
    """Older versions of an env warn."""
    return max(env_id for env_id in gym.registry if env_id.rpartition("-v")[0] == name)


def make(env_id: str, render_mode: str | None) -> Any:
    if env_id == "arm":
        return gym.make(ARM, render_mode=render_mode)
    if env_id == "HalfCheetah-v5":
        pytest.importorskip("mujoco")
        if int(gym.__version__.split(".")[0]) < 1:
            pytest.skip("HalfCheetah-v5 came with Gymnasium 1.0")
        return gym.make(env_id, render_mode=render_mode, width=160, height=120, max_episode_steps=6)
    pytest.importorskip("pygame")
    if env_id == "LunarLander":
        pytest.importorskip("Box2D")
    return gym.make(newest(env_id), render_mode=render_mode, max_episode_steps=70)


@pytest.mark.parametrize("env_id", ["arm", "CartPole", "Pendulum", "FrozenLake", "LunarLander", "HalfCheetah-v5"])
def test_a_deferred_video_equals_the_live_one_frame_by_frame(
    env_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if env_id == "HalfCheetah-v5":
        if os.environ.get("MUJOCO_GL") not in (None, "egl"):
            pytest.skip(f"MUJOCO_GL is {os.environ['MUJOCO_GL']}")
        monkeypatch.setenv("MUJOCO_GL", "egl")
        probe = make(env_id, "rgb_array")
        try:
            probe.reset()
            probe.render()
        except Exception as exc:
            pytest.skip(f"no GL here: {type(exc).__name__}: {exc}")
        probe.close()
    (live,) = record(make(env_id, "rgb_array"), [{"seed": 11}], 70, video=True, video_trigger=1)
    (blind,) = record(make(env_id, None), [{"seed": 11}], 70)
    assert not (blind.folder / "video.mp4").exists()
    preset = live.metadata["video"]["preset"]
    made = tmp_path / "later.mp4"
    verdict = rerun(blind, VideoRequest(str(made), preset=preset))
    assert (verdict.verdict, verdict.video_fault) == ("reproduced", None)
    assert_equal_videos(made, live.folder / "video.mp4")
    told = live.metadata["video"]["cameras"][0]
    video = verdict.video
    assert video is not None
    assert (video.frames, video.width, video.height) == (told["frames"], told["width"], told["height"])
    assert (video.preset, video.size, video.path) == (preset, made.stat().st_size, str(made))


@pytest.mark.parametrize(
    ("live_options", "request_options"),
    [({"video_every_n_steps": 5}, {"every_n_steps": 5}), ({"video_size": 32}, {"max_edge": 32})],
)
def test_it_has_the_frames_and_the_size_that_were_asked_for(
    live_options: dict[str, Any], request_options: dict[str, Any], tmp_path: Path
) -> None:
    (live,) = record(make("arm", "rgb_array"), [{"seed": 1}], video=True, video_trigger=1, **live_options)
    (blind,) = record(make("arm", None), [{"seed": 1}])
    made = tmp_path / "later.mp4"
    preset = live.metadata["video"]["preset"]
    assert rerun(blind, VideoRequest(str(made), preset=preset, **request_options)).verdict == "reproduced"
    assert_equal_videos(made, live.folder / "video.mp4")


def test_frames_a_second_are_of_the_episodes_clock(tmp_path: Path) -> None:
    made = tmp_path / "later.mp4"
    rerun(arms()[0], VideoRequest(str(made), fps=5.0))
    # 20 steps a second, 12 steps: every fourth, and the last one is one of them.
    assert decoded(made)[1] == [0, 200_000, 400_000, 600_000]


def arms(**options: Any) -> list[RecordedEpisode]:
    return record(gym.make(ARM, **options), [{"seed": 5}])


def test_of_an_episode_that_comes_out_differently_there_is_no_video(tmp_path: Path) -> None:
    made = tmp_path / "later.mp4"
    verdict = rerun(arms(mood="random", at=6)[0], VideoRequest(str(made)))
    assert verdict.video is None
    assert verdict.divergence is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("request_options", "why"),
    [
        ({"camera": "wrist"}, "cannot be built here: TypeError"),
        ({"path": "/dev/null/later.mp4"}, "the video cannot be written"),
        ({"preset": "sloth"}, "the video cannot be written"),
    ],
)
def test_why_there_is_no_video_is_said(request_options: dict[str, Any], why: str, tmp_path: Path) -> None:
    options = {"path": "later.mp4", **request_options}
    options["path"] = str(tmp_path / options["path"])
    verdict = rerun(arms()[0], VideoRequest(**options))
    assert (verdict.verdict, verdict.video) == ("reproduced", None)
    assert why in str(verdict.video_fault)
    assert list(tmp_path.iterdir()) == []


def test_a_camera_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    if int(gym.__version__.split(".")[0]) < 1:
        pytest.skip("HalfCheetah-v5 came with Gymnasium 1.0")
    (episode,) = record(make("HalfCheetah-v5", None), [{"seed": 1}])
    verdict = rerun(episode, VideoRequest(str(tmp_path / "later.mp4"), camera="nosuch"))
    assert verdict.verdict == "reproduced"
    assert "there is no camera 'nosuch'" in str(verdict.video_fault)
    assert "track" in str(verdict.video_fault)  # what there is


class Blind(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Its renderer breaks at a step."""

    def __init__(self, env: Any, breaks_at: int) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, breaks_at=breaks_at)
        gym.Wrapper.__init__(self, env)
        self.breaks_at = breaks_at

    def render(self) -> Any:
        if self.env.unwrapped.count >= self.breaks_at:
            raise RuntimeError("no GL context")
        return self.env.render()


def test_a_broken_renderer_costs_the_video_not_the_verdict(tmp_path: Path) -> None:
    (episode,) = record(Blind(gym.make(ARM), breaks_at=3), [{"seed": 1}])
    verdict = rerun(episode, VideoRequest(str(tmp_path / "later.mp4")))
    assert (verdict.verdict, verdict.steps, verdict.video) == ("reproduced", 12, None)
    assert verdict.video_fault == "rendering step 3 failed: RuntimeError: no GL context"
    assert list(tmp_path.iterdir()) == []
