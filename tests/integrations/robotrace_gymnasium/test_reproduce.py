"""``metadata.reproduce`` is enough: in a fresh process the same observations come again, to the bit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")

import numpy as np  # noqa: E402
from recorded import RecordedEpisode, sealed  # noqa: E402
from reruns import record, rerun  # noqa: E402

from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402

VERSION = tuple(int(part) for part in gym.__version__.split(".")[:2])


def newest(name: str) -> str:
    """Older versions of an env warn."""
    return max(env_id for env_id in gym.registry if env_id.rpartition("-v")[0] == name)


CLASSIC = ["CartPole-v1", "Pendulum-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1"]
TOY_TEXT = [newest(name) for name in ("FrozenLake", "Taxi", "CliffWalking", "Blackjack")]
BOX2D = [newest("LunarLander"), newest("BipedalWalker")]
MUJOCO = ["HalfCheetah-v5", "Ant-v5", "Humanoid-v5", "Reacher-v5"] if VERSION >= (1, 0) else []


@pytest.fixture(autouse=True)
def _aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where it stands


def make(env_id: str, **kwargs: Any) -> Any:
    if env_id in BOX2D:
        pytest.importorskip("Box2D")
    if env_id in MUJOCO:
        pytest.importorskip("mujoco")
    return gym.make(env_id, **{"max_episode_steps": 25, **kwargs})


def episodes(env: Any, resets: list[dict[str, Any]]) -> list[RecordedEpisode]:
    """One recorded episode for each reset."""
    return record(env, resets)


def assert_it_happens_again(episode: RecordedEpisode) -> None:
    verdict = rerun(episode)
    assert verdict.divergence is None
    assert (verdict.verdict, verdict.in_short) == ("reproduced", f"reproduced to the bit, {verdict.total_steps} steps")
    assert verdict.compared == ("observation", "reward", "terminated", "truncated")
    assert (verdict.not_compared, verdict.differences) == ({}, ())
    assert verdict.steps == episode.metadata["outcome"]["steps"] > 0


@pytest.mark.parametrize("env_id", [*CLASSIC, *TOY_TEXT, *BOX2D, *MUJOCO])
def test_every_episode_happens_again_seeded_or_not(env_id: str) -> None:
    unseeded: dict[str, Any] = {}
    found = episodes(make(env_id), [unseeded, unseeded, {"seed": 2**31 + 7}, unseeded, unseeded])
    assert [episode.metadata["reproduce"]["resets_since_seed"] for episode in found] == [1, 2, 0, 1, 2]
    assert found[0].metadata["reproduce"]["stream_seed"].isdigit()
    for index in (0, 2, 4):  # never seeded, seeded, the third reset since
        reproduce = found[index].metadata["reproduce"]
        if env_id.startswith("BipedalWalker") and index:
            assert (reproduce["reproducible"], "Box2D world" in reproduce["reason"]) == (False, True)
        else:
            assert_it_happens_again(found[index])


class EveryOther(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """A wrapper of the user's own that keeps account of its arguments."""

    def __init__(self, env: Any, *, every: int, scale: tuple[float, ...]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, every=every, scale=scale)
        gym.Wrapper.__init__(self, env)
        self.every, self.scale, self.count = every, scale, 0
        assert isinstance(scale, tuple)

    def reset(self, **kwargs: Any) -> Any:
        self.count = 0
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        self.count += 1
        observation, reward, *rest = super().step(action)
        return observation * np.float32(self.scale[self.count % self.every]), reward, *rest


def wrapped(kind: str) -> Any:
    w = gym.wrappers
    if kind == "clip":
        return w.ClipAction(make("Pendulum-v1"))
    if kind == "rescale":
        return w.RescaleAction(make("Pendulum-v1"), min_action=-0.5, max_action=0.5)
    if kind == "stack":
        if VERSION < (1, 0):
            return w.FrameStack(make("CartPole-v1"), 3)
        return w.FrameStackObservation(make("CartPole-v1"), 3)
    if kind == "limit":
        return w.TimeLimit(make("Pendulum-v1", max_episode_steps=None), 7)
    if kind == "reshape":
        if VERSION < (1, 0):
            pytest.skip("ReshapeObservation came with Gymnasium 1.0")
        return w.ReshapeObservation(make("CartPole-v1"), (2, 2))
    if kind == "kwargs":
        return make("FrozenLake-v1", map_name="8x8", is_slippery=True)
    if kind == "normalised":
        return w.NormalizeObservation(make("CartPole-v1"))
    assert kind == "own"
    return EveryOther(w.ClipAction(make("Pendulum-v1")), every=2, scale=(1.0, 0.5))


@pytest.mark.filterwarnings("ignore:.*precision lowered:UserWarning")  # Gymnasium's, of RescaleAction's floats
@pytest.mark.parametrize("kind", ["clip", "rescale", "stack", "limit", "reshape", "kwargs", "own"])
def test_wrappers_and_arguments_are_built_again(kind: str) -> None:
    found = episodes(wrapped(kind), [{"seed": 11}, {}])
    for episode in found:
        assert_it_happens_again(episode)


def test_what_the_reset_was_given_is_given_again() -> None:
    options = {"x_init": 0.5, "y_init": 0.25}
    found = episodes(make("Pendulum-v1"), [{"seed": 1, "options": options}, {"options": options}])
    for episode in found:
        assert episode.metadata["reproduce"]["reset_options"] == options
        assert_it_happens_again(episode)


def test_statistics_of_earlier_episodes_are_named_and_the_first_one_has_none() -> None:
    first, second = episodes(wrapped("normalised"), [{"seed": 1}, {"seed": 2}])
    assert_it_happens_again(first)
    assert second.metadata["reproduce"]["reproducible"] is False
    assert "NormalizeObservation" in second.metadata["reproduce"]["reason"]


def test_an_env_of_a_script_is_found_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "arms.py").write_text(
        textwrap.dedent(
            """
            import gymnasium as gym
            import numpy as np

            __version__ = "1.0"  # a version makes no installed package of it

            class Arm(gym.Env):
                observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
                action_space = gym.spaces.Discrete(3)

                def __init__(self, gain=1.0, render_mode=None):
                    self.gain, self.render_mode = gain, render_mode

                def reset(self, *, seed=None, options=None):
                    super().reset(seed=seed)
                    self.pose = self.np_random.standard_normal(2)
                    return self.pose.copy(), {}

                def step(self, action):
                    self.pose = self.pose * self.gain + self.np_random.standard_normal(2) * action
                    return self.pose.copy(), float(self.pose[0]), False, False, {}
            """
        )
    )
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import gymnasium as gym
            from arms import Arm
            from robotrace_gymnasium import RoboTraceRecorder

            class Leg(Arm):
                pass

            gym.register("Arm-v0", entry_point="arms:Arm", max_episode_steps=9)
            gym.register("Leg-v0", entry_point=Leg, max_episode_steps=9)

            if __name__ == "__main__":
                for env_id in ("Arm-v0", "Leg-v0"):
                    env = RoboTraceRecorder(gym.make(env_id, gain=0.5), name=env_id)
                    env.reset(seed=4)
                    env.reset()
                    while not any(env.step(env.action_space.sample())[2:4]):
                        pass
                    env.flush()
            """
        )
    )
    from command_line import child_environment

    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=child_environment({}),
    )
    assert done.returncode == 0, done.stderr
    found = {episode.create["name"]: episode for episode in sealed()}
    assert found.keys() == {"Arm-v0", "Leg-v0"}
    for name, module in (("Arm-v0", "arms"), ("Leg-v0", "__main__")):
        sources = found[name].metadata["reproduce"]["sources"]
        assert module in {source["module"] for source in sources}
        assert all(len(source["sha256"]) == 64 for source in sources)
        assert_it_happens_again(found[name])


def test_a_resets_options_are_what_they_were_at_the_reset() -> None:
    options = {"goal": {"at": [1, 2]}}
    recorder = RoboTraceRecorder(Unseen(how="none"), keep_partial="always")
    recorder.reset(seed=1, options=options)
    options["goal"]["at"][0] = 99
    recorder.step(0)
    recorder.close()
    assert recorder.flush()
    (episode,) = sealed()
    assert episode.metadata["reproduce"]["reset_options"] == {"goal": {"at": [1, 2]}}


class Unseen(gym.Env):
    """Draws from a generator that no seed of a reset reaches."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, how: str = "own", gain: Any = None, render_mode: str | None = None) -> None:
        self.how = how
        self.own = np.random.default_rng(3) if how == "own" else None

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if self.how == "anew":
            self._np_random = np.random.default_rng()
        if self.how == "reseeded":
            self.own = np.random.default_rng(seed)
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        return self.observe(), 0.0, False, False, {}

    def observe(self) -> Any:
        return (self.own if self.own is not None else self.np_random).standard_normal(1)


gym.register("RoboTraceUnseen-v0", entry_point=f"{__name__}:Unseen", max_episode_steps=3)


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module under the name in the spec, whatever pytest has called it."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[Unseen.__module__])


@pytest.mark.parametrize(
    ("how", "reset", "why"),
    [
        ("own", {"seed": 1}, "Unseen.own is a random generator that the reset's seed does not reach"),
        ("own", {}, "Unseen.own is a random generator beside np_random"),
        ("reseeded", {}, "Unseen.own is a random generator beside np_random"),
        ("reseeded", {"seed": 1}, None),
        ("anew", {}, "makes another random generator at each reset"),
    ],
)
@pytest.mark.usefixtures("importable")
def test_randomness_that_cannot_be_repeated_is_named(how: str, reset: dict[str, Any], why: str | None) -> None:
    *_, last = episodes(gym.make("RoboTraceUnseen-v0", how=how), [{"seed": 1}, reset])
    reproduce = last.metadata["reproduce"]
    assert reproduce["reproducible"] is (why is None)
    assert why is None or why in reproduce["reason"]


@pytest.mark.parametrize(
    ("gain", "why"),
    [
        (np.ones(2), r"RoboTraceUnseen-v0: gain \(ndarray\)"),
        (abs, r"RoboTraceUnseen-v0: gain \(builtin_function_or_method\)"),
        (float("inf"), r"RoboTraceUnseen-v0: gain \(float\)"),
        ({1: 2}, "RoboTraceUnseen-v0: gain comes back as something else"),
    ],
)
@pytest.mark.usefixtures("importable")
def test_an_argument_that_json_cannot_hold_is_named(gain: Any, why: str) -> None:
    (episode,) = episodes(gym.make("RoboTraceUnseen-v0", how="", gain=gain), [{"seed": 1}])
    reproduce = episode.metadata["reproduce"]
    assert reproduce["reproducible"] is False
    assert re.search(why, reproduce["reason"])
    json.dumps(episode.metadata)


def test_render_arguments_are_no_part_of_it() -> None:
    (episode,) = episodes(gym.make("CartPole-v1", render_mode="rgb_array"), [{"seed": 1}])
    assert episode.metadata["reproduce"]["env_spec"]["kwargs"] == {}
