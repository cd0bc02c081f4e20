"""Episodes of an AsyncVectorEnv happen again to the bit, and its worker processes never notice that they were asked."""

from __future__ import annotations

import copy
import gc
import os
import signal
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")

import numpy as np  # noqa: E402
from forgetful_envs import forgetful  # noqa: E402
from recorded import RecordedEpisode, sealed  # noqa: E402
from reruns import rerun_all  # noqa: E402
from vector_envs import VERSION, DiaryEnv, modes  # noqa: E402

from robotrace import session  # noqa: E402
from robotrace.capture import slabs  # noqa: E402
from robotrace.capture.workers import Workers  # noqa: E402
from robotrace.plugin import attach  # noqa: E402
from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402

SETTINGS: dict[str, Any] = {"max_per_minute": None, "keep_partial": "always", "video": False}
FROZEN_LAKE = max(env_id for env_id in gym.registry if env_id.startswith("FrozenLake-v"))
"""Draws in every step."""


@pytest.fixture(autouse=True)
def _aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def vector(env: str | Callable[[], Any], count: int = 2, **kwargs: Any) -> Any:
    make = env if callable(env) else (lambda: gym.make(env, max_episode_steps=12))
    mode = kwargs.pop("mode", modes[0])
    chosen = {} if len(modes) == 1 else {"autoreset_mode": mode}
    return gym.vector.AsyncVectorEnv([make] * count, **{"context": "fork", **chosen, **kwargs})


def drive(env: Any, steps: int = 40, resets: Any = ({"seed": 7},)) -> list[Any]:
    """Everything the loop saw; the pipes are the vector's own again after every call."""
    seen: list[Any] = []
    space = copy.deepcopy(env.action_space)
    space.seed(1)
    pipes = env.unwrapped.parent_pipes
    for reset in resets:
        seen.append(copy.deepcopy(env.reset(**reset)))
        assert {type(pipe) for pipe in pipes} == {Connection}
        for _ in range(steps):
            result = env.step(space.sample())
            seen.append(copy.deepcopy(result))
            assert {type(pipe) for pipe in pipes} == {Connection}
            done = result[2] | result[3]
            mode = getattr(env.unwrapped, "autoreset_mode", None)
            if done.any() and getattr(mode, "value", None) == "Disabled":
                seen.append(copy.deepcopy(env.reset(options={"reset_mask": done.copy()})))
    return seen


def episodes() -> list[RecordedEpisode]:
    """Those in which something happened."""
    assert session.flush()
    found = [episode for episode in sealed() if episode.metadata["outcome"]["steps"]]
    return sorted(found, key=lambda one: (one.metadata["vector"]["index"], one.metadata["episode_index"]))


def blocks() -> list[dict[str, Any]]:
    return [episode.metadata["reproduce"] for episode in episodes()]


def reasons() -> set[str | None]:
    return {block.get("reason") for block in blocks()}


def assert_all_happen_again() -> None:
    found = episodes()
    assert reasons() == {None}
    verdicts = rerun_all(found)
    assert len(verdicts) >= 4
    assert {(verdict.verdict, verdict.reason, verdict.divergence) for verdict in verdicts} == {
        ("reproduced", None, None)
    }


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same(first, second)
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert_same(list(one), list(other))
    else:
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype


needs_next_step = pytest.mark.skipif("NextStep" not in modes, reason="Gymnasium 0.29 resets within the step")
UNSEEDED: tuple[dict[str, Any], ...] = ({}, {}, {"seed": [3, None]}, {})


@needs_next_step
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_seeded_or_not_every_episode_happens_again(context: str) -> None:
    env = RoboTraceRecorder(vector(FROZEN_LAKE, context=context), **SETTINGS)
    drive(env, resets=UNSEEDED)
    env.close()
    seeds = [block["resets_since_seed"] for block in blocks()]
    assert 0 in seeds
    assert max(seeds) > 4
    assert_all_happen_again()


@needs_next_step
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1"])
def test_attached_in_two_halves_and_without_shared_memory(env_id: str) -> None:
    env = attach(vector(env_id, shared_memory=False), **SETTINGS)
    env.reset_async()
    env.reset_wait()
    for _ in range(40):
        env.step_async(env.action_space.sample())
        env.step_wait()
    env.close()
    assert_all_happen_again()


@needs_next_step
def test_make_vec_is_asked_for_the_spec_of_one() -> None:
    env = RoboTraceRecorder(gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="async"), **SETTINGS)
    drive(env, steps=150, resets=({},))
    env.close()
    assert all(block["env_spec"]["kwargs"].keys() <= {"sutton_barto_reward"} for block in blocks())
    assert_all_happen_again()


@pytest.mark.skipif("Disabled" not in modes, reason="Gymnasium has reset_mask since 1.1")
def test_resets_of_ones_own_are_asked_about_with_the_options_the_env_gets() -> None:
    env = RoboTraceRecorder(vector(FROZEN_LAKE, mode="Disabled"), **SETTINGS)
    drive(env, resets=({"options": {"who": 1}}, {}))
    env.close()
    assert {str(block.get("reset_options")) for block in blocks()} == {"{'who': 1}", "None"}
    assert_all_happen_again()


@pytest.mark.skipif("SameStep" not in modes, reason="Gymnasium 1.0 resets in the next step")
def test_a_reset_within_the_step_is_named_as_what_cannot_be_seen() -> None:
    env = RoboTraceRecorder(vector(FROZEN_LAKE, mode="SameStep"), **SETTINGS)
    drive(env, resets=({}, {"seed": 4}))
    env.close()
    began = [block["reproducible"] for block in blocks()]
    assert began.count(True) == 4
    assert "SameStep" in next(block["reason"] for block in blocks() if not block["reproducible"])
    verdicts = rerun_all([episode for episode in episodes() if episode.metadata["reproduce"]["reproducible"]])
    assert {verdict.verdict for verdict in verdicts} == {"reproduced"}


@pytest.mark.parametrize("mode", modes)
@pytest.mark.parametrize("shared_memory", [True, False])
def test_the_loop_and_the_random_streams_are_those_without_us(mode: str, shared_memory: bool) -> None:
    kwargs: dict[str, Any] = {"mode": mode, "shared_memory": shared_memory}
    bare, ours = vector(FROZEN_LAKE, **kwargs), vector(FROZEN_LAKE, **kwargs)
    recorded = RoboTraceRecorder(ours, **SETTINGS)
    resets = ({"seed": 3}, {}, {"seed": [5, None]})
    assert_same(drive(recorded, resets=resets), drive(bare, resets=resets))
    streams = [env.call("__getattribute__", "unwrapped") for env in (bare, ours)]
    for one, other in zip(*streams, strict=True):
        assert one._np_random.bit_generator.state == other._np_random.bit_generator.state
        assert vars(one).keys() == vars(other).keys()
    bare.close()
    recorded.close()
    assert len(episodes()) > 4


@needs_next_step
def test_what_is_handed_over_at_once_waits_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    # Mechanism: the create payload is written with the first block, which may be full in the row of the reset.
    monkeypatch.setattr(slabs, "_BLOCK_NS", 0)
    env = RoboTraceRecorder(vector("CartPole-v1"), **SETTINGS)
    drive(env, resets=({},))
    env.close()
    assert_all_happen_again()


@needs_next_step
def test_only_those_are_asked_whose_episode_may_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []
    before = Workers.ask_before
    monkeypatch.setattr(
        Workers,
        "ask_before",
        lambda self, index, command: (asked.append((index, command)), before(self, index, command)),
    )
    env = RoboTraceRecorder(
        vector("CartPole-v1", 3), **{**SETTINGS, "max_per_minute": 0.001}, every_n_episodes=2, env_indices=[0, 2]
    )
    drive(env, steps=400, resets=({},))
    env.close()
    found = episodes()
    assert len(found) == 20  # at once
    assert {index for index, _ in asked} == {0, 2}
    assert len(asked) <= 22
    assert reasons() == {None}
    assert {episode.metadata["episode_index"] % 2 for episode in found} == {0}


@needs_next_step
def test_a_token_that_comes_during_the_step_waits_for_an_episode_that_was_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from robotrace.capture.triggers import TokenBucket

    answers = iter([True] * 2 + [False, True] * 500)  # none before the reset, and one after it, and so on
    monkeypatch.setattr(TokenBucket, "ready", lambda self: next(answers))
    env = RoboTraceRecorder(vector("CartPole-v1", 1), **{**SETTINGS, "max_per_minute": 60.0})
    drive(env, steps=60, resets=({},))
    env.close()
    assert episodes()
    assert reasons() == {None}


def test_an_env_that_raises_in_its_first_step_can_be_made_to_do_it_again() -> None:
    spec = gym.spec("CartPole-v1")

    def make() -> Any:
        env = gym.make(spec)
        env.step = lambda action: 1 / 0
        return env

    env = RoboTraceRecorder(vector(make), **SETTINGS)
    env.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's own account of it
        with pytest.raises(ZeroDivisionError):
            env.step(np.zeros(2, int))
        env.close(terminate=True)
    assert session.flush()
    found = [episode.metadata["reproduce"] for episode in sealed()]
    assert [(block["reproducible"], "generator_state" in block) for block in found] == [(True, True)] * 2


def normalized() -> Any:
    return gym.wrappers.NormalizeReward(gym.make("CartPole-v1", max_episode_steps=12))


def test_what_env_and_wrappers_carry_over_is_named() -> None:
    if VERSION < (1, 0):
        pytest.skip("one episode a reset")
    env = RoboTraceRecorder(vector(normalized), **SETTINGS)
    drive(env, resets=({},))
    env.close()
    assert {str(reason).partition(" ")[0] for reason in reasons()} == {"None", "NormalizeReward"}


@pytest.mark.skipif(VERSION < (1, 0), reason="other wrappers of vectors")
@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_wrapper_of_the_vector_that_changes_rows_is_named_and_one_that_looks_on_is_not(how: str) -> None:
    # Mechanism: it is in the spec of none of the environments, so that one run again shows something else.
    kind = {"sync": gym.vector.SyncVectorEnv, "async": gym.vector.AsyncVectorEnv}[how]
    inner = kind([lambda: gym.make("CartPole-v1", max_episode_steps=12)] * 2)
    watched = gym.wrappers.vector.RecordEpisodeStatistics(inner)
    recorder = RoboTraceRecorder(watched, **SETTINGS)
    recorder.reset(seed=1)
    recorder.step(np.zeros(2, int))
    recorder.recorder.close()
    assert reasons() == {None}
    recorder = RoboTraceRecorder(gym.wrappers.vector.NormalizeObservation(watched), **SETTINGS)
    recorder.reset(seed=1)
    recorder.step(np.zeros(2, int))
    recorder.close()
    assert {str(reason).partition(",")[0] for reason in reasons()} == {"None", "NormalizeObservation"}


@needs_next_step
def test_the_second_reset_of_gymnasium_after_ones_own_is_named() -> None:
    env = RoboTraceRecorder(vector("CartPole-v1", 1, shared_memory=False), **SETTINGS)
    env.reset(seed=1)
    while not any(np.concatenate(env.step(np.zeros(1, int))[2:4])):
        pass
    env.reset(seed=2)
    for _ in range(3):
        env.step(np.zeros(1, int))
    env.close()
    assert reasons() == {
        None,
        "the vector resets the environment again in its first step (Gymnasium's, with shared_memory=False)",
    }


# --- workers that must not notice ------------------------------------------------------------------------------------


class Duck:
    """Has what Gymnasium's worker calls, and nothing else: any other attribute would end it."""

    def __init__(self) -> None:
        env = gym.make("CartPole-v1").unwrapped
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.metadata: dict[str, Any] = {}
        self.render_mode = None
        self._inside = env

    def reset(self, **kwargs: Any) -> Any:
        return self._inside.reset(**kwargs)

    def step(self, action: Any) -> Any:
        return self._inside.step(action)

    def close(self) -> None: ...


class Forwards(Duck):
    """Every attribute it has not raises something worse than AttributeError."""

    def __getattr__(self, name: str) -> Any:
        raise SystemExit(f"no {name} here")


class Endless(Duck):
    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + "_")


class Raises(gym.Wrapper):
    @property
    def unwrapped(self) -> Any:
        raise KeyError("not yet")

    @property
    def spec(self) -> Any:
        raise SystemExit(1)

    def has_wrapper_attr(self, name: str) -> bool:
        raise RuntimeError("never call me")

    get_wrapper_attr = has_wrapper_attr


def lambdas() -> Any:
    return gym.wrappers.TransformReward(gym.make("CartPole-v1"), lambda reward: reward * 2)


HOSTILE: dict[str, Callable[[], Any]] = {
    "duck": Duck,
    "forwards": Forwards,
    "endless": Endless,
    "raises": lambda: Raises(gym.make("CartPole-v1")),
    "forgetful": forgetful,
    "lambdas": lambdas,
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_env_runs_as_without_us_and_is_said_not_to_be_known(make: Callable[[], Any]) -> None:
    expected = drive(bare := vector(make), resets=({"seed": 1}, {}))
    env = RoboTraceRecorder(vector(make), **SETTINGS)
    assert_same(drive(env, resets=({"seed": 1}, {})), expected)
    assert all(process.is_alive() for process in env.unwrapped.processes)
    bare.close()
    env.close()
    assert episodes()
    assert not any(block["reproducible"] for block in blocks())
    assert None not in reasons()


@needs_next_step
def test_a_spawned_worker_that_cannot_import_us_runs_on() -> None:
    env = RoboTraceRecorder(vector(forgetful, context="spawn"), **SETTINGS)
    drive(env)
    assert all(process.is_alive() for process in env.unwrapped.processes)
    env.close()
    assert not any(block["reproducible"] for block in blocks())


def test_one_that_does_not_answer_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    carry = Workers._carry
    monkeypatch.setattr(
        Workers, "_carry", lambda self, index, *others: (asked.append(index), carry(self, index, *others))[1]
    )
    env = RoboTraceRecorder(vector(Forwards), **SETTINGS)
    drive(env, resets=({}, {}))
    env.close()
    assert sorted(asked) == [0, 1]


def _own_worker(*args: Any) -> None:
    """As people write them: Gymnasium's, with something of their own around it."""
    from gymnasium.vector import async_vector_env

    function = getattr(async_vector_env, "_async_worker", None) or async_vector_env._worker_shared_memory
    function(*args)


@pytest.mark.parametrize("says_so", [True, False])
def test_a_worker_function_of_ones_own_gets_the_messages_as_they_are(says_so: bool) -> None:
    inner = vector("CartPole-v1", worker=_own_worker)
    if not says_so and hasattr(inner, "worker"):
        inner.worker = None  # as before Gymnasium 1.1, which does not keep it
    env = RoboTraceRecorder(inner, **SETTINGS)
    drive(env, resets=({}, {}))
    env.close()
    assert len(episodes()) >= 4


def test_a_subclass_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(gym.vector.AsyncVectorEnv):
        pass

    env = RoboTraceRecorder(Own([lambda: gym.make("CartPole-v1")] * 2, context="fork"), **SETTINGS)
    monkeypatch.setattr(Workers, "_carry", lambda *_: pytest.fail("asked"))
    drive(env, resets=({},))
    env.close()
    assert all("another process" in block["reason"] or "no spec" in block["reason"] for block in blocks())


def test_a_worker_that_has_died_fails_as_without_us() -> None:
    raised = []
    for recorded in (False, True):
        env = vector("CartPole-v1")
        if recorded:
            env = RoboTraceRecorder(env, **SETTINGS)
        drive(env, steps=3)
        process = env.unwrapped.processes[1]
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
        with pytest.raises((EOFError, OSError)) as caught:
            env.step(np.zeros(2, int))
        raised.append(caught.type)
        # It is in a cycle with this frame, and what CPython 3.12.1 does with such a one is a segmentation fault.
        del caught
        for pipe in env.unwrapped.parent_pipes:
            pipe.close()
        env.close(terminate=True)
    assert raised[0] is raised[1]


def test_in_the_middle_of_a_step_a_reset_is_refused_as_without_us() -> None:
    env = RoboTraceRecorder(vector("CartPole-v1"), **SETTINGS)
    env.reset(seed=1)
    env.step_async(np.zeros(2, int))
    with pytest.raises(gym.error.AlreadyPendingCallError):
        env.reset(seed=2)
    pipes = env.unwrapped.parent_pipes
    assert {type(pipe) for pipe in pipes} == {Connection}
    env.step_wait()
    seen = drive(env, steps=5, resets=({"seed": 3},))
    env.close()
    bare = vector("CartPole-v1")
    assert_same(drive(bare, steps=5, resets=({"seed": 3},)), seen)
    bare.close()


def test_without_room_for_answers_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**kwargs: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    env = RoboTraceRecorder(vector("CartPole-v1"), **SETTINGS)
    drive(env, resets=({}, {}))
    env.close()
    assert len(episodes()) >= 4
    assert not any(block["reproducible"] for block in blocks())


@pytest.mark.parametrize("closed", [True, False])
def test_nothing_is_left_on_the_disk(closed: bool, tmp_path: Path) -> None:
    env = RoboTraceRecorder(vector("CartPole-v1"), **SETTINGS)
    drive(env, steps=4)
    (folder,) = tmp_path.glob("robotrace-*")
    assert folder.stat().st_mode & 0o077 == 0
    inner = env.env
    if closed:
        env.close()
    del env
    gc.collect()
    assert not list(tmp_path.glob("robotrace-*"))
    inner.close()


def test_the_diary_of_envs_that_were_not_made_by_gymnasium_names_that(tmp_path: Path) -> None:
    env = RoboTraceRecorder(vector(lambda: DiaryEnv(str(tmp_path), 0)), **SETTINGS)
    drive(env)
    env.close()
    assert reasons() == {"the env has no spec: it was not made by gymnasium.make"}
    assert all(block["seed"] in (7, 8) for block in blocks())
