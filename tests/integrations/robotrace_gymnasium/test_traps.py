"""The traps of the frameworks that no other test has in its name, T1 to T27, and that every one of them has a test."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")

import numpy as np  # noqa: E402
from gymnasium_envs import LoggingEnv  # noqa: E402
from random_envs import Log, SamplingEnv  # noqa: E402
from recorded import RecordedEpisode, sealed  # noqa: E402
from trainings import run, salvaged  # noqa: E402

from robotrace.plugin import read_rows  # noqa: E402
from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402

VERSION = tuple(int(part) for part in gym.__version__.split(".")[:2])
TESTS = Path(__file__).parents[2]


def recorder(env: Any, **options: Any) -> RoboTraceRecorder:
    return RoboTraceRecorder(env, **{"max_per_minute": None, "keep_partial": "always", **options})


def roll(env: Any, steps: int = 10**6, **reset: Any) -> None:
    env.reset(**reset)
    for _ in range(steps):
        if any(env.step(env.action_space.sample())[2:4]):
            return


def found(env: Any) -> list[RecordedEpisode]:
    env.close()
    assert env.flush()
    return sealed()


def test_every_trap_of_gymnasium_and_of_processes_has_a_test_that_names_it() -> None:
    named = set()
    for file in TESTS.rglob("test_*.py"):
        for name in re.findall(r"^ *def test_((?:t\d+_)+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            named.update(int(number) for number in re.findall(r"t(\d+)_", name))
    assert set(range(1, 28)) - named == set()


def test_t2_the_spec_goes_through_json_and_makes_the_wrapped_env_again() -> None:
    env = recorder(gym.make("CartPole-v1"), every_n_episodes=3, metadata={"task": "balance"})
    text = env.spec.to_json()
    (wrapper,) = json.loads(text)["additional_wrappers"]
    assert wrapper["name"] == "RoboTraceRecorder"
    assert wrapper["kwargs"]["every_n_episodes"] == 3
    again = gym.make(gym.envs.registration.EnvSpec.from_json(text))
    assert isinstance(again, RoboTraceRecorder)
    assert again.spec.to_json() == text


def test_t4_attributes_are_forwarded_and_half_built_objects_do_not_recurse() -> None:
    class Talkative(LoggingEnv):
        task_description = "stack the cups"

    env = recorder(Talkative())
    assert env.task_description == "stack the cups"
    assert env.get_wrapper_attr("task_description") == "stack the cups"
    half = object.__new__(RoboTraceRecorder)
    for name in ("nonsense", "_private", "env"):
        assert not hasattr(half, name)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = env.nonsense


def test_t14_the_seed_is_that_of_the_reset_and_the_stream_has_its_own() -> None:
    env = recorder(SamplingEnv(gym.spaces.Discrete(3), length=2))
    roll(env)
    roll(env, seed=4203859904)
    roll(env)
    env.unwrapped.np_random = np.random.Generator(np.random.MT19937(5))  # Gymnasium says -1 of this one
    roll(env)
    first, seeded, second, by_hand = found(env)
    assert [episode.create.get("seed") for episode in (first, seeded, second, by_hand)] == [
        None,
        4203859904,
        None,
        None,
    ]
    blocks = [episode.metadata["reproduce"] for episode in (first, seeded, second, by_hand)]
    assert int(blocks[0]["stream_seed"]) > 2**64  # 128 bits, as text
    assert [block["stream_seed"] for block in blocks[1:]] == ["4203859904", "4203859904", "5"]
    assert [block["resets_since_seed"] for block in blocks] == [1, 0, 1, 2]
    assert blocks[3]["generator_state"]["bit_generator"] == "MT19937"


def test_t14_nothing_is_read_that_makes_a_generator() -> None:
    class Deterministic(LoggingEnv):
        def _observe(self) -> Any:
            return {"pose": self._pose, "flag": 0}

        def step(self, action: Any) -> Any:
            return self._observe(), 0.0, True, False, {}

    env = recorder(Deterministic(render_mode=None))
    roll(env)
    assert env.unwrapped._np_random is None
    (episode,) = found(env)
    assert "generator_state" not in episode.metadata["reproduce"]
    assert "seed" not in episode.create


def test_t15_what_is_changed_after_the_step_was_recorded_before() -> None:
    env = LoggingEnv(length=4, render_mode=None)
    recorded = recorder(env, infos=True)
    observation, _ = recorded.reset(seed=1)
    for _ in range(4):
        action = np.full(2, 0.5)
        observation, *_, info = recorded.step(action)
        observation["pose"][:] = -99.0
        action[:] = -99.0
        info["is_success"] = "changed"
    (episode,) = found(recorded)
    (log,) = env.log
    # Of the first row on: the env's own buffer is what was overwritten.
    np.testing.assert_array_equal(
        episode.arrays("sensors")["observation.pose/value"], [pose for pose, _ in log["observations"]]
    )
    np.testing.assert_array_equal(episode.arrays("actions")["action/value"], np.full((4, 2), 0.5))


def test_t17_without_gl_the_video_is_gone_and_the_episode_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    if VERSION < (1, 0):
        pytest.skip("the -v5 environments came with Gymnasium 1.0")
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    # A program of its own: Gymnasium's half-made viewer raises once more when it is collected.
    result = run(
        """
import gymnasium as gym
os.chdir(os.environ["HOME"])  # MuJoCo writes its log where it stands
env = gym.make("Reacher-v5", render_mode="rgb_array", max_episode_steps=5)
os.environ["MUJOCO_GL"] = "nonsense"  # read with the first picture
env = RoboTraceRecorder(env, video_trigger=1, max_per_minute=None)
rollout(env, 1)
rollout(env, 2)
"""
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("the video stops") == 1
    episodes = sealed()
    assert len(episodes) == 2
    for episode in episodes:
        assert episode.metadata["outcome"]["steps"] == 5
        assert "video" in episode.metadata["incomplete"]
        assert not (episode.folder / "video.mp4").exists()


@pytest.mark.parametrize("kind", ["odd", "flipped", "grey", "rgba", "float"])
def test_t18_frames_of_every_form_become_video(kind: str) -> None:
    ramp = np.linspace(0, 255, 97 * 131, dtype=np.float64).reshape(97, 131)
    colour = np.stack([ramp, ramp[::-1], np.full_like(ramp, 90)], axis=-1).astype(np.uint8)
    frame = {
        "odd": colour,
        "flipped": colour[::-1],
        "grey": ramp.astype(np.uint8),
        "rgba": np.concatenate([colour, np.full((97, 131, 1), 255, np.uint8)], axis=-1),
        "float": colour / 255.0,
    }[kind]
    shown = {"flipped": colour[::-1], "grey": np.repeat(ramp.astype(np.uint8)[..., None], 3, axis=-1)}.get(kind, colour)
    env = LoggingEnv(length=3)
    env.render = lambda: frame  # type: ignore[method-assign]
    recorded = recorder(env, video_trigger=1)
    roll(recorded)
    (episode,) = found(recorded)
    frames, _ = episode.frames()
    assert len(frames) == 4
    for decoded in frames:
        assert np.abs(decoded[:97, :131].astype(int) - shown.astype(int)).mean() < 4


def test_t19_an_env_without_a_spec_and_one_with_callables_in_it() -> None:
    env = recorder(LoggingEnv(length=2, render_mode=None))
    roll(env)
    (episode,) = found(env)
    assert episode.create["env_version"].startswith("gymnasium_envs.LoggingEnv")
    assert episode.metadata["reproduce"]["reproducible"] is False
    made = gym.make("CartPole-v1", max_episode_steps=3)
    made = (
        gym.wrappers.TransformReward(made, lambda reward: 2 * reward)
        if VERSION < (1, 0)
        else gym.wrappers.TransformReward(made, func=lambda reward: 2 * reward)
    )
    env = recorder(made)
    roll(env)
    episode = next(one for one in found(env) if one.create["env_version"].startswith("CartPole-v1"))
    assert episode.metadata["reproduce"]["reproducible"] is False
    assert "TransformReward" in episode.metadata["reproduce"]["reason"]
    assert " at 0x" not in episode.create["env_version"]


class _Lazy:
    """Of a framework: no NumPy array, but it can be made one; nobody may write to it."""

    def __init__(self, value: Any) -> None:
        self._value = np.asarray(value)
        self._value.flags.writeable = False

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._value if dtype is None else self._value.astype(dtype)


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3],
        [(1, 2.5), (3, 4.5), (5, 6.5)],
        [{"a": 1, "b": (2, 3)}, {"a": 4, "b": (5, 6)}, {"a": 7, "b": (8, 9)}],
        [_Lazy([1.0, 2.0]), _Lazy([3.0, 4.0]), _Lazy([5.0, 6.0])],
    ],
    ids=["int", "tuple", "dict", "lazy"],
)
def test_t21_observations_infos_and_options_of_any_kind(values: list[Any]) -> None:
    class AnyThing(gym.Env):
        observation_space = gym.spaces.Discrete(2)  # not what it returns
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            self.at = 0
            return values[0], {"lock": threading.Lock()}

        def step(self, action: Any) -> Any:
            self.at += 1
            return values[self.at], 1.0, self.at == 2, False, {"lock": threading.Lock(), "n": np.int64(self.at)}

    options = {"lock": threading.Lock()}
    env = recorder(AnyThing())
    env.reset(seed=1, options=options)
    env.step(0)
    env.step(1)
    (episode,) = found(env)
    rows = read_rows(episode.arrays("sensors"), "observation")
    assert len(rows) == 3
    for ours, theirs in zip(rows, values, strict=True):
        np.testing.assert_equal(ours, np.asarray(theirs) if isinstance(theirs, _Lazy) else theirs)
    assert episode.metadata["final_info"] == {"n": 2}
    json.dumps(episode.metadata)
    assert episode.metadata["reproduce"]["reproducible"] is False


def test_t21_a_tensor_with_a_gradient_is_an_observation() -> None:
    torch = pytest.importorskip("torch")

    class Tensors(SamplingEnv):
        def _observe(self) -> Any:
            return torch.ones(3, requires_grad=True) * self._count

    env = recorder(Tensors(gym.spaces.Box(-9, 9, (3,)), length=2))
    roll(env)
    (episode,) = found(env)
    assert episode.arrays("sensors")["observation/value"].tolist() == [[0.0] * 3, [1.0] * 3, [2.0] * 3]


def test_t24_a_fork_while_our_locks_are_held_does_not_hang_the_child() -> None:
    result = run(
        """
from robotrace.session import recording_process
env = make(video=False)
rollout(env, 1)
process, series = recording_process(), env.recorder._decisions._own.series
with process._counting, series._counting:  # as another thread of ours may hold them
    child = os.fork()
    if child == 0:
        child_env = make(video=False)
        rollout(child_env, 2)
        sys.exit(0)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""
    )
    assert result.returncode == 0, result.stderr
    assert sorted(episode.create["seed"] for episode in sealed()) == [1, 2]


def test_t24_before_the_first_recorded_episode_a_fork_warns_of_no_thread() -> None:
    result = run(
        """
import threading, warnings
warnings.simplefilter("error")
env = make(every_n_episodes=2, trigger=lambda start: start.episode_index > 0)
rollout(env, 1)
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
child = os.fork()  # from Python 3.12 on a thread would make this a DeprecationWarning
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""
    )
    assert result.returncode == 0, result.stderr


def test_t25_a_worker_that_is_terminated_loses_no_episode_that_had_ended() -> None:
    result = run(
        """
import gymnasium as gym
env_fns = [lambda: make(video=False), lambda: make(video=False)]
if __name__ == "__main__":
    envs = gym.vector.AsyncVectorEnv(env_fns, context="fork")
    envs.reset(seed=[3, 4])
    for _ in range(40):
        envs.step(np.zeros((2, 2)))
    envs.close(terminate=True)
"""
    )
    assert result.returncode == 0, result.stderr
    episodes = salvaged()
    whole = [episode for episode in episodes if episode.finalize["metadata"].get("outcome", {}).get("steps") == 30]
    assert sorted(episode.create["seed"] for episode in whole) == [3, 4]


def test_t26_a_thread_starts_with_the_first_recorded_episode_only() -> None:
    before = set(threading.enumerate())
    env = recorder(Log(LoggingEnv(length=2, render_mode=None)), trigger=lambda start: start.episode_index == 1)
    roll(env)
    assert set(threading.enumerate()) == before
    roll(env)
    assert {thread.name for thread in set(threading.enumerate()) - before} == {"robotrace-writer"}
    assert len(found(env)) == 1


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_t27_what_had_ended_is_on_the_disk_whatever_ends_the_process(end: str) -> None:
    result = run(f"env = make()\nrollout(env, 1)\nrollout(env, 2, steps=5)\n{end}\n")
    assert result.returncode in (3, -15)
    first, *_ = sorted(salvaged(), key=lambda episode: episode.create["seed"])
    assert (first.create["seed"], first.finalize["metadata"]["outcome"]["steps"]) == (1, 30)
    assert len(first.frames()[0]) == 31
