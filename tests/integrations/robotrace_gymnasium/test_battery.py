"""Recorded = true: over many kinds of envs, every stream equals an independent log of the same run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")

import numpy as np  # noqa: E402
from equality import same  # noqa: E402
from gymnasium import spaces  # noqa: E402
from random_envs import Log, SamplingEnv  # noqa: E402
from recorded import RecordedEpisode, sealed  # noqa: E402

from robotrace.plugin import read_rows  # noqa: E402
from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402

VERSION = tuple(int(part) for part in gym.__version__.split(".")[:2])
STREAMS = {"observations": "observation", "rewards": "reward", "terminated": "terminated", "truncated": "truncated"}


def newest(name: str) -> str:
    """Older versions of an env warn."""
    return max(env_id for env_id in gym.registry if env_id.rpartition("-v")[0] == name)


CLASSIC = [newest(name) for name in ("CartPole", "Pendulum", "MountainCar", "MountainCarContinuous", "Acrobot")]
TOY_TEXT = [newest(name) for name in ("FrozenLake", "Taxi", "CliffWalking", "Blackjack")]
BOX2D = [newest("LunarLander"), newest("BipedalWalker")]
MUJOCO = [f"{name}-v5" for name in ("HalfCheetah", "Ant", "Reacher")] if VERSION >= (1, 0) else []
POINT = spaces.Box(-1, 1, (3,), np.float32)
SYNTHETIC: dict[str, Callable[[], Any]] = {
    "atari": lambda: spaces.Box(0, 255, (84, 84, 4), np.uint8),
    "atari, channels first": lambda: spaces.Box(0, 255, (4, 84, 84), np.uint8),
    "scalars": lambda: spaces.Dict({"speed": spaces.Box(-1, 1, (), np.float16), "gear": spaces.Discrete(5, start=-1)}),
    "dict": lambda: spaces.Dict(
        {
            "pose": POINT,
            "hand": spaces.Dict({"open": spaces.MultiBinary(4), "force": spaces.Box(0, 9, (2, 2), np.int16)}),
        }
    ),
    "tuple": lambda: spaces.Tuple((POINT, spaces.MultiDiscrete([3, 4]), spaces.Tuple((spaces.Discrete(2), POINT)))),
    "graph": lambda: spaces.Graph(node_space=POINT, edge_space=spaces.Discrete(3)),
    "graph without edges": lambda: spaces.Graph(node_space=spaces.Discrete(4), edge_space=None),
    "text": lambda: spaces.Text(12, charset="abcäöü€ "),
    "texts": lambda: spaces.Dict({"task": spaces.Text(9), "pose": POINT}),
    "sequence": lambda: spaces.Sequence(POINT),
    "sequence of dicts": lambda: spaces.Sequence(spaces.Dict({"kind": spaces.Discrete(3), "at": POINT})),
    "stacked sequence": lambda: spaces.Sequence(POINT, stack=True),
    "one of": lambda: spaces.OneOf((POINT, spaces.Discrete(3), spaces.Text(4))),
}


@pytest.fixture(autouse=True)
def _aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where it stands


def run(env: Any, steps: int = 30, **options: Any) -> tuple[Log, list[RecordedEpisode]]:
    """Two recorded episodes, one seeded and one not, and the log of the same run."""
    log = Log(env)
    recorder = RoboTraceRecorder(log, max_per_minute=None, keep_partial="always", video_trigger=1, **options)
    recorder.action_space.seed(1)
    for reset in ({"seed": 17}, {}):
        recorder.reset(**reset)
        for _ in range(steps):
            if any(recorder.step(recorder.action_space.sample())[2:4]):
                break
    recorder.close()
    recorder.flush()
    found = sealed()
    assert len(found) == len(log.episodes) == 2
    return log, found


def assert_equal(log: Log, found: list[RecordedEpisode]) -> None:
    for happened, episode in zip(log.episodes, found, strict=True):
        assert "incomplete" not in episode.metadata
        sensors, actions = episode.arrays("sensors"), episode.arrays("actions")
        for name, stream in STREAMS.items():
            assert_rows(read_rows(sensors, stream), happened[name], exact=name != "rewards")
        assert_rows(read_rows(actions, "action"), happened["actions"])
        steps = len(happened["actions"])
        assert episode.metadata["outcome"]["steps"] == steps
        stamps = sensors["reward/_t_ns"]
        assert len(stamps) == steps
        assert (np.diff(stamps) > 0).all()
        assert episode.metadata["outcome"]["reward_total"] == pytest.approx(sum(map(float, happened["rewards"])))


def assert_rows(recorded: list[Any], happened: list[Any], *, exact: bool = True) -> None:
    assert len(recorded) == len(happened)
    for row, (ours, theirs) in enumerate(zip(recorded, happened, strict=True)):
        # An env that returns an int now and a float then has its rewards in float64.
        assert same(ours, theirs) if exact else float(ours) == float(theirs), (row, ours, theirs)


@pytest.mark.parametrize("env_id", [*CLASSIC, *TOY_TEXT])
def test_envs_that_need_nothing_else(env_id: str) -> None:
    assert_equal(*run(gym.make(env_id)))


@pytest.mark.parametrize("env_id", BOX2D)
def test_box2d(env_id: str) -> None:
    pytest.importorskip("Box2D")
    assert_equal(*run(gym.make(env_id)))


@pytest.mark.parametrize("env_id", MUJOCO)
def test_mujoco(env_id: str) -> None:
    pytest.importorskip("mujoco")
    log, found = run(gym.make(env_id))
    assert_equal(log, found)
    # The simulator's own clock.
    stamps = found[0].arrays("sensors")["reward/_t_ns"]
    np.testing.assert_allclose(np.diff(stamps), log.unwrapped.dt * 1e9, rtol=1e-6)


@pytest.mark.parametrize("kind", SYNTHETIC)
def test_any_space_out_of_buffers_that_are_used_again(kind: str) -> None:
    if kind == "one of" and not hasattr(spaces, "OneOf"):
        pytest.skip("OneOf came with Gymnasium 1.0")
    space = SYNTHETIC[kind]()
    action = spaces.Dict({"arm": POINT, "grip": spaces.Discrete(2)})
    assert_equal(*run(SamplingEnv(space, action, length=9)))


def assert_frames(log: Log, found: list[RecordedEpisode]) -> None:
    for happened, episode in zip(log.episodes, found, strict=True):
        frames, times = episode.frames()
        assert len(frames) == len(happened["frames"]) == len(happened["actions"]) + 1
        assert times == sorted(set(times))
        truth = [frame.astype(np.int16) for frame in happened["frames"]]
        for index, ours in enumerate(frames):
            height, width = truth[index].shape[:2]
            errors = [np.abs(ours[:height, :width].astype(np.int16) - theirs).mean() for theirs in truth]
            assert errors[index] < 6  # lossy; red for blue is further away
            assert errors[index] < min(errors) * 1.5 + 0.1, index  # as is every other step's that looks different


@pytest.mark.parametrize("env_id", [newest("CartPole"), newest("Acrobot"), newest("FrozenLake"), newest("LunarLander")])
def test_every_frame_is_in_the_video(env_id: str) -> None:
    pytest.importorskip("pygame")
    if env_id in BOX2D:
        pytest.importorskip("Box2D")
    log, found = run(gym.make(env_id, render_mode="rgb_array"), steps=12)
    assert_equal(log, found)
    assert_frames(log, found)


def test_mujoco_with_egl(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    if os.environ.get("MUJOCO_GL") not in (None, "egl"):
        pytest.skip(f"MUJOCO_GL is {os.environ['MUJOCO_GL']}")
    monkeypatch.setenv("MUJOCO_GL", "egl")
    env = gym.make("HalfCheetah-v5", render_mode="rgb_array", width=160, height=120)
    try:
        env.reset()
        env.render()
    except Exception as exc:
        pytest.skip(f"no GL here: {type(exc).__name__}: {exc}")
    log, found = run(env, steps=5)
    assert_equal(log, found)
    assert_frames(log, found)
