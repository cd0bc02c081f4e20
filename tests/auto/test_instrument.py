"""Environments recorded without a word in the code: whatever makes them, whatever else records them, once."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import logging
import pickle
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("av")

import gymnasium as gym
import numpy as np
from gymnasium import make as already_bound
from gymnasium.envs import registration
from recorded import RecordedEpisode, sealed

import robotrace
from robotrace import auto, session
from robotrace.auto import instrumentation
from robotrace.errors import ConfigurationError
from robotrace_gymnasium import RoboTraceRecorder, automatic

CARTPOLE = "CartPole-v1"
makes_cartpole = functools.partial(already_bound, CARTPOLE)


def _same(env: Any) -> Any:
    return env


@pytest.fixture(autouse=True)
def fresh_session() -> Iterator[None]:
    """Each test records as a process of its own would, and leaves nothing instrumented."""
    session.reset()
    yield
    assert not instrumentation._layers
    session.reset()


@pytest.fixture
def instrument() -> Iterator[Callable[..., Callable[[], None]]]:
    undoes = []

    def begin(**arguments: Any) -> Callable[[], None]:
        undoes.append(auto.instrument(**{"video": False, "frameworks": ["gymnasium"], **arguments}))
        return undoes[-1]

    yield begin
    for undo in undoes:
        undo()


def rollout(env: Any, seed: int = 1) -> int:
    env.reset(seed=seed)
    steps = 1
    while not any(env.step(0)[2:4]):
        steps += 1
    return steps


def vector_rollout(envs: Any, steps: int = 12) -> None:
    envs.reset(seed=1)
    for _ in range(steps):
        envs.step(np.zeros(envs.num_envs, dtype=int))


def recorded() -> list[RecordedEpisode]:
    assert robotrace.flush()
    return sealed()


@pytest.mark.parametrize(
    "make",
    [
        lambda: gym.make(CARTPOLE),
        lambda: already_bound(CARTPOLE),
        makes_cartpole,
        lambda: gym.spec(CARTPOLE).make(),
        lambda: gym.make(gym.make(CARTPOLE).spec),
        lambda: eval("make('CartPole-v1')", {"make": already_bound}),  # a function out of a pickle lives in no module
        lambda: gym.wrappers.ClipAction(gym.make("Pendulum-v1", max_episode_steps=5)),
    ],
    ids=["gym.make", "bound before", "partial", "spec", "made spec", "other globals", "wrapped by the program"],
)
def test_every_way_to_make_one_is_one_episode(make: Callable[[], Any], instrument: Any) -> None:
    instrument()
    env = make()
    env.reset(seed=1)
    steps = 1
    while not any(env.step(env.action_space.sample())[2:4]):
        steps += 1
    (episode,) = recorded()
    assert episode.finalize["metadata"]["outcome"]["steps"] == steps
    assert episode.create["seed"] == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: gym.vector.SyncVectorEnv([makes_cartpole] * 2),
        lambda: gym.vector.AsyncVectorEnv([makes_cartpole] * 2, context="fork"),
        lambda: gym.make_vec(CARTPOLE, 2, vectorization_mode="sync"),
        lambda: gym.make_vec(CARTPOLE, 2),
        lambda: gym.vector.SyncVectorEnv([functools.partial(_same, gym.make(CARTPOLE)), makes_cartpole]),
    ],
    ids=["sync", "async", "make_vec sync", "make_vec", "made before"],
)
def test_a_vector_is_recorded_as_one_and_nothing_in_it(
    make: Callable[[], Any], instrument: Any, recwarn: pytest.WarningsRecorder
) -> None:
    instrument()
    try:
        envs = make()
    except AttributeError:
        pytest.skip("this Gymnasium has no make_vec")
    vector_rollout(envs)
    envs.close()
    episodes = recorded()
    assert len(episodes) == 2
    assert sorted(episode.metadata["vector"]["index"] for episode in episodes) == [0, 1]
    recwarn.clear()  # 3.12 and later warn of a fork beside threads


def test_one_that_is_recorded_by_the_program_is_recorded_once_and_as_the_program_says(instrument: Any) -> None:
    instrument()
    rollout(RoboTraceRecorder(gym.make(CARTPOLE), policy_version="wrapped", video=False))
    rollout(robotrace.attach(gym.make(CARTPOLE), policy_version="attached", video=False))
    envs = gym.vector.SyncVectorEnv(
        [lambda: RoboTraceRecorder(gym.make(CARTPOLE), policy_version="in it", video=False)]
    )
    rollout_of_one(envs)
    rollout_of_one(RoboTraceRecorder(gym.vector.SyncVectorEnv([makes_cartpole]), policy_version="around", video=False))
    assert sorted(episode.create["policy_version"] for episode in recorded()) == [
        "around",
        "attached",
        "in it",
        "wrapped",
    ]


def rollout_of_one(envs: Any) -> None:
    envs.reset(seed=1)
    while not any(np.concatenate(envs.step(np.zeros(1, dtype=int))[2:4])):
        pass


def test_a_recorder_of_the_program_that_goes_leaves_the_environment_to_the_automatic_one(instrument: Any) -> None:
    instrument()
    env = robotrace.attach(gym.make(CARTPOLE), policy_version="mine", video=False)
    rollout(env)
    rollout(robotrace.detach(env))
    assert [episode.create.get("policy_version") for episode in recorded()] == ["mine", None]


def test_an_environment_inside_another_is_part_of_it(instrument: Any) -> None:
    class Outer(gym.Wrapper[Any, Any, Any, Any]):
        metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

        def __init__(self) -> None:
            super().__init__(gym.make(CARTPOLE))

    gym.register("Outer-v0", entry_point=Outer)
    try:
        instrument()
        rollout(gym.make("Outer-v0", disable_env_checker=True))
    finally:
        gym.registry.pop("Outer-v0")
    assert len(recorded()) == 1


def test_undone_nothing_is_left(instrument: Any) -> None:
    code, init, finders = registration.make.__code__, gym.vector.SyncVectorEnv.__init__, list(sys.meta_path)
    before = gym.make(CARTPOLE)
    undo = instrument()
    assert registration.make is already_bound
    assert registration.make.__code__ is not code
    env = gym.make(CARTPOLE)
    env.reset(seed=1)
    env.step(0)
    undo()
    undo()
    assert registration.make.__code__ is code
    assert vars(registration.make) == {}
    assert gym.vector.SyncVectorEnv.__init__ is init
    assert sys.meta_path == finders
    assert env.__dict__.keys() == before.__dict__.keys()
    rollout(env)
    rollout(gym.make(CARTPOLE))
    assert recorded() == []


def test_the_function_stays_what_it_was(instrument: Any) -> None:
    signature, doc = inspect.signature(gym.make), gym.make.__doc__
    instrument()
    assert inspect.signature(gym.make) == signature
    assert gym.make.__doc__ == doc
    assert pickle.loads(pickle.dumps(makes_cartpole)).func is registration.make
    assert copy.deepcopy(makes_cartpole)().spec.id == CARTPOLE


def test_errors_and_warnings_of_gymnasium_come_from_the_programs_line(instrument: Any) -> None:
    def warn_and_fail() -> tuple[list[tuple[str, int]], str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            registration.logger.min_level, level = 30, registration.logger.min_level
            gym.make("CartPole-v0")
            registration.logger.min_level = level
        with pytest.raises(gym.error.Error) as failed:
            gym.make("NoSuchEnv-v0")
        return [(one.filename, one.lineno) for one in caught], str(failed.value)

    bare = warn_and_fail()
    assert bare[0]
    instrument()
    assert warn_and_fail() == bare


def test_an_unwanted_option_is_an_error_that_names_it_and_changes_nothing() -> None:
    code = registration.make.__code__
    for arguments, message in (
        ({"onyl": "failures"}, "did you mean 'only'"),
        ({"only": "failuers"}, "only is 'failuers'"),
        ({"frameworks": ["torch"]}, "no framework 'torch'"),
        ({"phases": ["validate"]}, "phases is"),
    ):
        with pytest.raises((TypeError, ConfigurationError), match=message):
            auto.instrument(**arguments)  # type: ignore[arg-type]
    assert registration.make.__code__ is code


def test_what_cannot_be_recorded_is_told_and_the_program_goes_on(
    instrument: Any, caplog: pytest.LogCaptureFixture
) -> None:
    instrument(video=True)
    with caplog.at_level(logging.WARNING, "robotrace"):
        assert rollout(gym.make(CARTPOLE)) > 1
    assert "an environment is not recorded: video=True needs" in caplog.text


def test_a_fault_of_ours_ends_at_us(
    instrument: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    instrument()

    def fault(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(automatic, "attach_recorder", fault)
    assert rollout(gym.make(CARTPOLE)) > 1
    assert "RuntimeError: ours" in caplog.text


def test_limits_are_of_all_environments_together(instrument: Any) -> None:
    instrument(max_episodes=2)
    for _ in range(4):
        rollout(gym.make(CARTPOLE))
    assert len(recorded()) == 2


def test_an_environment_that_nobody_holds_is_not_held(instrument: Any) -> None:
    instrument()
    env = gym.make(CARTPOLE)
    rollout(env)
    gone = weakref.ref(env)
    del env
    gc.collect()
    assert gone() is None
    assert automatic._attached == {}


def test_switched_off_by_the_environment_it_records_nothing(instrument: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_MODE", "disabled")
    instrument()
    env = gym.make(CARTPOLE)
    assert "step" not in env.__dict__
    rollout(env)
    assert recorded() == []


def test_of_several_layers_the_last_one_counts_and_goes_back(instrument: Any) -> None:
    instrument(tags=["outer"])
    inner = instrument(tags=["inner"])
    rollout(gym.make(CARTPOLE))
    inner()
    rollout(gym.make(CARTPOLE))
    off = auto.instrument(enabled=False)
    rollout(gym.make(CARTPOLE))
    off()
    assert sorted(episode.metadata["tags"] for episode in recorded()) == [["inner"], ["outer"]]


def test_what_was_made_before_a_layer_goes_on_in_it(instrument: Any) -> None:
    instrument(tags=["process"])
    env = gym.make(CARTPOLE)
    job = instrument(tags=["job"])
    rollout(env)
    job()
    assert [episode.metadata["tags"] for episode in recorded()] == [["process"]]


def test_a_layer_below_gives_way_to_what_is_there(instrument: Any) -> None:
    upper = instrument(tags=["job"])
    instrument(tags=["process"], below=True)
    rollout(gym.make(CARTPOLE))
    upper()
    rollout(gym.make(CARTPOLE))
    assert sorted(episode.metadata["tags"] for episode in recorded()) == [["job"], ["process"]]


def test_open_episodes_of_what_failed_have_failed(instrument: Any) -> None:
    instrument()
    env = gym.make(CARTPOLE)
    env.reset(seed=1)
    env.step(0)
    auto.fail_open_episodes(ValueError("the task failed"))
    (episode,) = recorded()
    assert episode.finalize["status"] == "failed"
    assert episode.metadata["failure_reason"] == "ValueError: the task failed"


def test_a_module_of_the_program_gives_the_function(instrument: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options = auto.given_options(
        {"failure": "auto_rules:short", "trigger": "cubic", "max_per_minute": "none", "fps": None, "video": False}
    )
    assert options["max_per_minute"] is None
    assert "fps" not in options
    module = type(sys)("auto_rules")
    module.short = lambda end: end.steps < 1000  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "auto_rules", module)
    instrument(**options)
    rollout(gym.make(CARTPOLE))
    assert recorded()[0].metadata["failure_reason"].startswith("failure() said so")


def test_the_plugins_of_the_package_are_the_entry_points() -> None:
    assert {"gymnasium", "stable_baselines3"} <= instrumentation.modules().keys()
