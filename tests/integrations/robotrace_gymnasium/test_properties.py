"""Over random spaces: the loop is bit-equal with and without the recorder, and what is recorded is what happened."""

from __future__ import annotations

import contextlib
import copy
import random
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")
pytest.importorskip("hypothesis")

import numpy as np  # noqa: E402
from equality import same  # noqa: E402
from gymnasium import spaces  # noqa: E402
from hypothesis import HealthCheck, Phase, assume, example, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from random_envs import Log, SamplingEnv, random_states  # noqa: E402
from recorded import RecordedEpisode, sealed  # noqa: E402
from vector_envs import modes  # noqa: E402

import robotrace  # noqa: E402
from robotrace.plugin import read_rows  # noqa: E402
from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402

DTYPES = ["<f4", "<f8", "<f2", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8"]
KEYS = ["pose", "a.b", "ü", "0", "value", "left/hand", "_t_ns", "#1", ""]
CHARSETS = ["abc", "äöü€𝄞 ", "\n\t\\\"'"]


@st.composite
def boxes(draw: st.DrawFn) -> Any:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
    low, high = (-100, 100) if dtype.kind != "u" else (0, 200)
    return spaces.Box(low, high, shape, dtype.type)


def texts() -> Any:
    return st.builds(
        lambda longest, charset: spaces.Text(longest, min_length=0, charset=charset),
        st.integers(1, 9),
        st.sampled_from(CHARSETS),
    )


def graphs() -> Any:
    nodes = st.one_of(boxes(), st.builds(spaces.Discrete, st.integers(1, 5)))
    return st.builds(spaces.Graph, nodes, st.none() | nodes)


def leaves() -> Any:
    return st.one_of(
        boxes(),
        st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-3, 3)),
        st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 5), min_size=1, max_size=4)),
        st.builds(spaces.MultiBinary, st.integers(1, 5) | st.tuples(st.integers(1, 3), st.integers(1, 3))),
        texts(),
        graphs(),
    )


def nests(inner: Any) -> Any:
    kinds = [
        st.dictionaries(st.sampled_from(KEYS), inner, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: spaces.Tuple(tuple(parts))),
        inner.map(spaces.Sequence),
        boxes().map(lambda box: spaces.Sequence(box, stack=True)),
    ]
    if hasattr(spaces, "OneOf"):
        kinds.append(st.lists(inner, min_size=1, max_size=3).map(lambda parts: spaces.OneOf(tuple(parts))))
    return st.one_of(kinds)


SPACES = st.recursive(leaves(), nests, max_leaves=5)


def play(env: Any, episodes: int, seed: int) -> tuple[list[dict[str, list[Any]]], list[Any]]:
    """What the loop saw, copied by itself, and the random streams after each episode."""
    random.seed(seed)
    np.random.seed(seed)
    env.action_space.seed(seed)
    seen, states = [], []
    for number in range(episodes):
        observation, info = env.reset(**({"seed": seed} if number == 0 else {}))
        log: dict[str, list[Any]] = {"observations": [copy.deepcopy(observation)], "infos": [copy.deepcopy(info)]}
        log |= {"actions": [], "rewards": [], "terminated": [], "truncated": []}
        done = False
        while not done:
            action = env.action_space.sample()
            log["actions"].append(copy.deepcopy(action))
            result = env.step(action)
            for name, value in zip(
                ("observations", "rewards", "terminated", "truncated", "infos"), result, strict=True
            ):
                log[name].append(copy.deepcopy(value))
            done = result[2] or result[3]
        seen.append(log)
        states.append(random_states(env))
    return seen, states


def assert_same_loop(ours: list[dict[str, list[Any]]], bare: list[dict[str, list[Any]]]) -> None:
    assert len(ours) == len(bare)
    for one, other in zip(ours, bare, strict=True):
        for name in one:
            assert same(one[name], other[name]), name
            assert [type(value) for value in one[name]] == [type(value) for value in other[name]]


def assert_recorded(found: list[RecordedEpisode], seen: list[dict[str, list[Any]]]) -> None:
    assert len(found) == len(seen)
    for episode, log in zip(found, seen, strict=True):
        assert "incomplete" not in episode.metadata, episode.metadata["incomplete"]
        sensors, actions = episode.arrays("sensors"), episode.arrays("actions")
        for rows, happened in (
            (read_rows(sensors, "observation"), log["observations"]),
            (read_rows(actions, "action"), log["actions"]),
            (read_rows(sensors, "terminated"), log["terminated"]),
            (read_rows(sensors, "truncated"), log["truncated"]),
            (read_rows(sensors, "info.nested.noise"), [info["nested"]["noise"] for info in log["infos"][1:]]),
        ):
            assert len(rows) == len(happened)
            for row, (ours, theirs) in enumerate(zip(rows, happened, strict=True)):
                assert same(ours, theirs), (row, ours, theirs)
        assert [float(reward) for reward in read_rows(sensors, "reward")] == list(map(float, log["rewards"]))


@contextlib.contextmanager
def taken() -> Iterator[list[RecordedEpisode]]:
    """What is sealed; the next example finds the spool empty."""
    assert robotrace.flush()
    found = sealed()
    try:
        yield found
    finally:
        for episode in found:
            shutil.rmtree(episode.folder)


COMMON = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NESTED = spaces.Dict({"deep": spaces.Sequence(spaces.Dict({"name": spaces.Text(3), "at": spaces.Box(-1, 1, (2,))}))})


LIKE_SEGMENTS = spaces.Dict({key: spaces.Box(-1, 1, ()) for key in ("", "#1", "pose", "pose#1")})


@COMMON
@example(NESTED, spaces.Discrete(2), 5, 7)
@example(LIKE_SEGMENTS, LIKE_SEGMENTS, 1, 0)
@given(SPACES, SPACES, st.integers(1, 9), st.integers(0, 2**31))
def test_single_envs(space: Any, action_space: Any, length: int, seed: int) -> None:
    bare, states = play(SamplingEnv(space, action_space, length=length), 2, seed)
    options: dict[str, Any] = {"max_per_minute": None, "infos": True}
    env = RoboTraceRecorder(SamplingEnv(space, action_space, length=length), **options)
    ours, our_states = play(env, 2, seed)
    assert our_states == states
    assert_same_loop(ours, bare)
    with taken() as found:
        assert_recorded(found, bare)


@settings(COMMON, max_examples=15)
@given(SPACES, st.integers(1, 6), st.integers(0, 2**31))
def test_tapped_envs(space: Any, length: int, seed: int) -> None:
    bare, states = play(SamplingEnv(space, length=length), 2, seed)
    env = robotrace.attach(SamplingEnv(space, length=length), max_per_minute=None, infos=True)
    ours, our_states = play(env, 2, seed)
    assert our_states == states
    assert_same_loop(ours, bare)
    with taken() as found:
        assert_recorded(found, bare)


def vector(space: Any, action_space: Any, lengths: list[int], mode: str, copies: bool) -> Any:
    # An env that reuses its buffers has lost its last observation where the next episode begins in the same step.
    reuses = mode != "SameStep"
    functions = [
        lambda length=length: Log(
            SamplingEnv(copy.deepcopy(space), copy.deepcopy(action_space), length=length, reuses=reuses)
        )
        for length in lengths
    ]
    chosen = {} if len(modes) == 1 else {"autoreset_mode": mode}
    return gym.vector.SyncVectorEnv(functions, copy=copies, **chosen)


def drive(env: Any, mode: str, seed: int) -> tuple[list[Any], list[Any]]:
    """What the loop saw over 12 steps, and the random streams at the end."""
    random.seed(seed)
    np.random.seed(seed)
    env.action_space.seed(seed)
    seen = [copy.deepcopy(env.reset(seed=seed))]
    for _ in range(12):
        result = env.step(env.action_space.sample())
        seen.append(copy.deepcopy(result))
        done = np.logical_or(result[2], result[3])
        if mode == "Disabled" and done.any():
            seen.append(copy.deepcopy(env.reset(options={"reset_mask": done.copy()})))
    return seen, [random_states(one) for one in env.unwrapped.envs]


def assert_env_recorded(found: list[RecordedEpisode], logs: list[dict[str, list[Any]]]) -> None:
    """Of one env inside of a vector: each episode that came to its end."""
    whole = [log for log in logs if log["actions"] and (log["terminated"][-1] or log["truncated"][-1])]
    assert len(found) >= len(whole)
    for episode, log in zip(found, whole, strict=False):
        assert "incomplete" not in episode.metadata, episode.metadata["incomplete"]
        sensors = episode.arrays("sensors")
        for rows, happened in (
            (read_rows(sensors, "observation"), log["observations"]),
            (read_rows(episode.arrays("actions"), "action"), log["actions"]),
            (read_rows(sensors, "reward"), list(map(float, log["rewards"]))),
            (read_rows(sensors, "terminated"), log["terminated"]),
            (read_rows(sensors, "truncated"), log["truncated"]),
        ):
            assert len(rows) == len(happened)
            for row, (ours, theirs) in enumerate(zip(rows, happened, strict=True)):
                assert same(ours, theirs), (row, ours, theirs)


SIMPLE = st.one_of(
    boxes(),
    st.builds(spaces.Discrete, st.integers(1, 9)),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 5), min_size=1, max_size=4)),
)


@settings(COMMON, max_examples=30, phases=[Phase.explicit, Phase.generate])  # shrinking would take minutes
@given(
    SPACES,
    SIMPLE,
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.sampled_from(modes),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_vector_envs(
    space: Any, action_space: Any, lengths: list[int], mode: str, copies: bool, tapped: bool, seed: int
) -> None:
    try:
        bare, states = drive(vector(space, action_space, lengths, mode, copies), mode, seed)
    except Exception:  # Gymnasium batches not every space
        assume(False)
    inside = vector(space, action_space, lengths, mode, copies)
    options: dict[str, Any] = {"max_per_minute": None, "keep_partial": "always"}
    env = robotrace.attach(inside, **options) if tapped else RoboTraceRecorder(inside, **options)
    ours, our_states = drive(env, mode, seed)
    assert our_states == states
    assert all(same(one, other) for one, other in zip(ours, bare, strict=True))
    env.close()
    with taken() as found:
        for index, one in enumerate(inside.envs):
            mine = [episode for episode in found if episode.metadata["vector"]["index"] == index]
            mine.sort(key=lambda episode: episode.metadata["episode_index"])
            assert_env_recorded(mine, one.episodes)
