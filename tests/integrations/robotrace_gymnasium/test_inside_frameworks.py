"""What the public face has for plugins that meet environments inside a framework: labels, pauses, series, onlookers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")

import numpy as np  # noqa: E402
from gymnasium_envs import LoggingEnv, read_barcode  # noqa: E402
from recorded import RecordedEpisode, sealed  # noqa: E402
from vector_envs import vectorize  # noqa: E402

from robotrace.plugin import (  # noqa: E402
    Series,
    attach,
    attach_recorder,
    detach,
    find_recorder,
    flush,
    observe,
    resolve_options,
)
from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402


class Learner:
    """Says how often it was asked, and what it is at that moment."""

    def __init__(self) -> None:
        self.version = 0
        self.asked: list[int] = []

    def begin(self) -> Mapping[str, Any]:
        self.asked.append(self.version)
        return {"policy_version": f"v{self.version}", "seed": 7, "metadata": {"phase": "train"}}

    def end(self) -> Mapping[str, Any]:
        return {"phase_end": self.version}


def attached(env: Any, **options: Any) -> Any:
    checked = resolve_options({"max_per_minute": None, "video_trigger": 1, **options})
    return attach_recorder(env, checked, adapter="mine", vector={"index": 0, "num_envs": 1}, series=Series())


def steps(env: Any, count: int = 10**6) -> None:
    for _ in range(count):
        if any(env.step(np.zeros(2))[2:4]):
            return


def found() -> list[RecordedEpisode]:
    assert flush()
    return sealed()


def test_labels_are_asked_at_the_first_action_since_the_policy_may_learn_after_the_reset() -> None:
    env, learner = LoggingEnv(length=3), Learner()
    recorder = attached(env, every_n_episodes=2)
    recorder.ask(learner)
    for _ in range(3):
        env.reset()
        learner.version += 1
        steps(env)
    first, third = found()
    assert learner.asked == [1, 3]
    assert [one.create["policy_version"] for one in (first, third)] == ["v1", "v3"]
    assert (first.create["seed"], first.metadata["phase"], first.metadata["phase_end"]) == (7, "train", 1)
    assert [read_barcode(frame) for frame in first.frames()[0]] == [0, 1, 2, 3]
    assert first.metadata["vector"] == {"index": 0, "num_envs": 1}


def test_what_the_user_says_goes_before_the_labels() -> None:
    env = LoggingEnv(length=2)
    recorder = attached(env, policy_version="mine", metadata={"phase": "mine"})
    recorder.ask(Learner())
    env.reset(seed=3)
    steps(env)
    recorder.set(policy_version="later")
    env.reset(seed=4)
    steps(env)
    assert [(one.create["policy_version"], one.create["seed"]) for one in found()] == [("mine", 3), ("later", 4)]
    assert {one.metadata["phase"] for one in found()} == {"mine"}


@pytest.mark.parametrize("kind", ["single", "vector"])
def test_an_episode_goes_on_after_a_pause_in_which_nobody_stepped(kind: str, tmp_path: Any) -> None:
    env = LoggingEnv(length=5) if kind == "single" else vectorize(tmp_path / "diary", 1, how="async")
    action: Any = np.zeros(2) if kind == "single" else np.zeros((1, 2))
    recorder = attach_recorder(env, resolve_options({"max_per_minute": None}), adapter="mine")
    for intrudes in (False, True):
        env.reset(seed=11)
        env.step(action)
        recorder.suspend()
        recorder.suspend()
        if intrudes:
            env.step(action)
        recorder.resume()
        while not np.any(env.step(action)[2:4]):
            pass
    recorder.suspend()
    env.reset()
    env.step(action)
    env.close()
    (episode,) = found()
    assert episode.metadata["outcome"]["steps"] >= 2


def test_a_pause_in_which_the_process_ends_is_no_failure() -> None:
    from robotrace import session

    env = LoggingEnv(length=5)
    recorder = attached(env)
    env.reset()
    steps(env, 2)
    recorder.suspend()
    session.reset()
    assert sealed() == []


def test_several_recorders_of_one_series_share_its_limits_and_number_for_themselves() -> None:
    series = Series()
    envs = [LoggingEnv(length=2) for _ in range(3)]
    options = resolve_options({"max_episodes": 4, "video": False})
    for index, env in enumerate(envs):
        attach_recorder(env, options, adapter="mine", series=series, vector={"index": index, "num_envs": 3})
    for _ in range(2):
        for env in envs:
            env.reset()
            steps(env)
    numbers = [(one.metadata["vector"]["index"], one.metadata["episode_index"]) for one in found()]
    assert sorted(numbers) == [(0, 0), (0, 1), (1, 0), (2, 0)]


def test_only_the_first_environments_of_several_have_video() -> None:
    series = Series()
    for index in range(2):
        env = LoggingEnv(length=2)
        options = resolve_options({"video_trigger": 1})
        attach_recorder(env, options, adapter="mine", series=series, vector={"index": index, "num_envs": 2})
        env.reset()
        steps(env)
        assert env.rendered == (3 if index == 0 else 0)


def test_further_streams_have_a_row_for_each_action() -> None:
    env = LoggingEnv(length=3, render_mode=None)
    seen = iter(range(100))
    attach_recorder(
        env, resolve_options({}), adapter="mine", beside=lambda: {"seen": np.full(2, next(seen)), "also": {"k": 1.0}}
    )
    env.reset()
    steps(env)
    (episode,) = found()
    sensors = episode.arrays("sensors")
    assert sensors["seen/value"].tolist() == [[0, 0], [1, 1], [2, 2]]
    assert sensors["also.k/value"].tolist() == [1.0] * 3
    assert sensors["seen/_t_ns"].tolist() == episode.arrays("actions")["action/_t_ns"].tolist()


def test_a_recorder_is_found_whoever_put_it_there() -> None:
    env = LoggingEnv()
    assert find_recorder(env) is None
    attach(env)
    outer = gym.wrappers.TimeLimit(env, 5)
    recorder = find_recorder(outer)
    assert recorder is not None
    detach(env)
    assert find_recorder(outer) is None
    wrapped = RoboTraceRecorder(LoggingEnv())
    assert find_recorder(gym.wrappers.TimeLimit(wrapped, 5)) is wrapped.recorder


def test_an_onlooker_sees_every_observation_until_it_stops(tmp_path: Any) -> None:
    env = vectorize(tmp_path / "diary", 2)
    seen: list[Any] = []
    stop = observe(env, seen.append)
    first = env.reset(seed=1)[0]
    second = env.step(np.zeros((2, 2)))[0]
    stop()
    env.step(np.zeros((2, 2)))
    env.close()
    assert [id(one) for one in seen] == [id(first), id(second)]
    assert "step" not in vars(env)


def automatic(env: Any, **options: Any) -> Any:
    checked = resolve_options({"max_per_minute": None, "video": False, **options})
    return attach_recorder(env, checked, adapter="automatic", automatic=True)


def test_an_automatic_recorder_is_overlooked_and_gives_way() -> None:
    env = LoggingEnv(length=3)
    mine = automatic(env)
    assert find_recorder(env) is None
    assert find_recorder(env, automatic=True) is mine
    attach(env, policy_version="asked for", video=False)
    env.reset()
    steps(env)
    detach(env)
    env.reset()
    steps(env)
    assert [episode.create.get("policy_version") for episode in found()] == ["asked for", None]


def test_one_below_another_is_taken_away_by_itself() -> None:
    env = LoggingEnv(length=3)
    below = automatic(env)
    above = attached(env, video=False)
    detach(env, below)
    env.reset()
    steps(env)
    assert find_recorder(env) is above
    detach(env, above)
    detach(env)
    assert not {"reset", "step", "close"} & vars(env).keys()
    assert [episode.metadata["adapter"] for episode in found()] == ["mine"]


@pytest.mark.parametrize("vector", [False, True])
def test_a_recorder_that_is_set_aside_leaves_the_episodes_to_the_one_inside(tmp_path: Any, vector: bool) -> None:
    env = vectorize(tmp_path / "diary", 2) if vector else LoggingEnv(length=3)

    def episodes() -> None:
        env.reset(seed=1)
        for _ in range(3):
            env.step(np.zeros((2, 2) if vector else 2))

    automatic(env, keep_partial="always", max_episodes=2)
    outer = attach_recorder(env, resolve_options({"max_episodes": 0, "video": False}), adapter="mine")
    episodes()
    assert found() == []
    outer.suspend()
    episodes()
    outer.resume()
    episodes()
    env.close()
    assert [episode.metadata["adapter"] for episode in found()] == ["automatic"] * (2 if vector else 1)
