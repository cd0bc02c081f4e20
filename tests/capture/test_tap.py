"""The tap on objects of no framework: what is attached, what is restored, what copies get (T3)."""

from __future__ import annotations

import copy
import gc
import inspect
import os
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("av")

from recorded import RecordedEpisode, sealed  # noqa: E402

from robotrace import session  # noqa: E402
from robotrace.capture import tap  # noqa: E402
from robotrace.errors import ConfigurationError  # noqa: E402
from robotrace.plugin import attach, detach  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_session() -> Iterator[None]:
    session.reset()
    yield
    session.reset()


class Arm:
    """An environment of no framework, that reuses its buffer."""

    dt = 0.1

    def __init__(self, length: int = 4) -> None:
        self.length = length
        self.at = np.zeros(2)
        self.count = 0
        self.closed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin."""
        self.count = 0
        self.at[:] = seed or 0
        return self.at, {}

    def step(self, action: Any) -> Any:
        """Go on."""
        if isinstance(action, Exception):
            raise action
        self.count += 1
        self.at += action
        return self.at, 1.0, self.count == self.length, False, {}

    def close(self) -> None:
        self.closed += 1


def attached(env: Any, **options: Any) -> Any:
    return attach(env, **{"max_per_minute": None, **options})


def run(env: Any, seed: int | None = 3) -> None:
    env.reset(seed=seed)
    while not env.step(np.ones(2))[2]:
        pass


def episodes() -> list[RecordedEpisode]:
    assert session.flush()
    return sealed()


def test_the_same_object_is_recorded_under_all_its_names() -> None:
    env = Arm()
    alias = env
    before = dict(vars(env))
    assert attached(env, policy_version="p") is env
    assert (type(env), isinstance(env, Arm)) == (Arm, True)
    run(alias)
    (episode,) = episodes()
    assert episode.arrays("sensors")["observation/value"][:, 0].tolist() == [3, 4, 5, 6, 7]
    assert episode.create["policy_version"] == "p"
    assert episode.create["seed"] == 3
    assert detach(env) is env
    assert vars(env).keys() == before.keys()
    run(env)
    assert len(episodes()) == 1


def test_what_stood_in_the_instance_before_is_there_again() -> None:
    env = Arm()
    calls = []
    own = env.step

    def counted(action: Any) -> Any:
        calls.append(1)
        return own(action)

    env.step = counted  # type: ignore[method-assign]
    attached(env)
    run(env)
    assert len(calls) == 4
    detach(env)
    assert vars(env)["step"] is counted
    assert len(episodes()) == 1


def test_what_somebody_put_there_later_stays() -> None:
    env = attached(Arm())
    tapped = env.step
    env.step = lambda action: tapped(action)
    later = env.step
    run(env)
    detach(env)
    assert vars(env)["step"] is later
    run(env)  # the tap is still below it, and passes everything through
    assert len(episodes()) == 1


def test_the_methods_still_look_like_the_envs_own() -> None:
    bare, env = Arm(), attached(Arm())
    for name in ("reset", "step", "close"):
        assert inspect.signature(getattr(env, name)) == inspect.signature(getattr(bare, name))
        assert getattr(env, name).__name__ == name
        assert getattr(env, name).__self__ is env
    assert not hasattr(env.step, "no_such_thing")


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env))}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_t3_a_copy_works_and_is_not_recorded(copied: Any) -> None:
    env = attached(Arm())
    env.reset(seed=1)
    env.step(np.ones(2))
    twin = copied(env)
    assert twin.count == 1
    twin.step(np.ones(2))
    assert (env.count, twin.count) == (1, 2)
    run(copied(twin))  # a copy's copy
    while not env.step(np.ones(2))[2]:
        pass
    assert [episode.metadata["outcome"]["steps"] for episode in episodes()] == [4]
    assert attached(twin) is twin
    run(twin)
    assert len(episodes()) == 2


class Forwarder:
    """A wrapper of no framework, without a method of its own."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_of_one_that_only_forwards_works_too(copied: Any) -> None:
    env = attached(Forwarder(Arm()))
    run(copied(copied(env)))
    run(env)
    assert len(episodes()) == 1
    detach(env)
    run(env)
    assert len(episodes()) == 1


def test_an_env_nobody_holds_any_more_is_gone_at_once() -> None:
    gc.collect()
    gc.disable()
    try:
        env = attached(Arm())
        run(env)
        gone = weakref.ref(env)
        del env
        assert gone() is None
    finally:
        gc.enable()


def test_an_exception_passes_and_is_kept() -> None:
    env = attached(Arm())
    env.reset()
    error = RuntimeError("the gripper is on fire")
    with pytest.raises(RuntimeError) as caught:
        env.step(error)
    assert caught.value is error
    (episode,) = episodes()
    assert episode.metadata["failure_reason"] == "RuntimeError: the gripper is on fire"


def test_close_and_detach_end_what_is_open() -> None:
    env = attached(Arm(), keep_partial="always")
    env.reset()
    env.step(np.ones(2))
    env.close()
    assert env.closed == 1
    env.reset()
    env.step(np.ones(2))
    env.step(np.ones(2))
    detach(env)
    assert [episode.metadata["outcome"]["steps"] for episode in episodes()] == [1, 2]


class Holder:
    """A wrapper of no framework."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def reset(self, **given: Any) -> Any:
        return self.env.reset(**given)

    def step(self, action: Any) -> Any:
        return self.env.step(action)


def test_an_env_in_an_env_is_recorded_once_by_the_outer_one() -> None:
    inner = attached(Arm(), name="inner")
    outer = attached(Holder(inner), name="outer")
    run(outer)
    run(inner)  # by itself it has its own record
    run(outer)
    assert [episode.create["name"] for episode in episodes()].count("outer") == 2
    assert len(episodes()) == 3


def test_an_outer_env_that_does_not_sample_silences_the_inner_one_too() -> None:
    outer = attached(Holder(attached(Arm())), max_episodes=0)
    run(outer)
    assert episodes() == []


def test_a_reset_that_raises_does_not_silence_anybody_for_good() -> None:
    class Stuck(Arm):
        def reset(self, **given: Any) -> Any:
            raise OSError("no contact")

    with pytest.raises(OSError, match="no contact"):
        attached(Stuck()).reset()
    run(attached(Arm()))
    assert len(episodes()) == 1


def test_attaching_again_only_changes_the_labels() -> None:
    env = attached(Arm(), policy_version="a", metadata={"task": "lift"})
    run(env)
    assert attached(env, policy_version="b", metadata={"stage": 2}) is env
    run(env)
    assert [episode.create["policy_version"] for episode in episodes()] == ["a", "b"]
    assert [episode.metadata.get("stage") for episode in episodes()] == [None, 2]
    assert episodes()[1].metadata["task"] == "lift"


class OldArm(Arm):
    """As the old ``gym`` had it: an observation alone, and one ``done``."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()[0]

    def step(self, action: Any) -> Any:
        observation, reward, done, _, _ = super().step(action)
        return observation, reward, done, {"TimeLimit.truncated": done}


def test_an_old_env_of_four_values_is_recorded_and_gets_its_own_values() -> None:
    env = attached(OldArm())
    assert env.reset() is env.at
    while True:
        result = env.step(np.ones(2))
        assert len(result) == 4
        if result[2]:
            break
    (episode,) = episodes()
    assert (episode.metadata["outcome"]["terminated"], episode.metadata["outcome"]["truncated"]) == (False, True)
    assert episode.metadata["outcome"]["steps"] == 4


class Policy(Arm):
    """Its step takes more than an action, under another name."""

    def step(self, act: Any, speed: float = 1.0, *, quiet: bool = False) -> Any:  # type: ignore[override]
        return super().step(act * speed)


def test_a_step_with_arguments_of_its_own_keeps_them() -> None:
    env = attached(Policy(length=2))
    env.reset(seed=0)
    env.step(np.ones(2), 2.0)
    env.step(act=np.ones(2), quiet=True)
    (episode,) = episodes()
    assert episode.arrays("sensors")["observation/value"][:, 0].tolist() == [0, 2, 3]
    assert episode.arrays("actions")["action/value"][:, 0].tolist() == [1, 1]


class Slotted:
    __slots__ = ("x",)

    def reset(self) -> Any:
        return 0, {}

    def step(self, action: Any) -> Any:
        return 0, 0.0, True, False, {}


class Fixed(Arm):
    @property
    def step(self) -> Any:  # type: ignore[override]
        return super().step


def test_what_nothing_can_be_attached_to_is_a_clear_error_and_is_left_as_it_was() -> None:
    with pytest.raises(TypeError, match="Slotted objects have no __dict__"):
        attach(Slotted())
    env = Fixed()
    before = dict(vars(env))
    with pytest.raises(TypeError, match="step of Fixed cannot be replaced"):
        attach(env)
    assert vars(env).keys() == before.keys()
    with pytest.raises(TypeError, match=r"object has no reset\(\)"):
        attach(object.__new__(type("object", (), {})))
    with pytest.raises(TypeError, match="did you mean 'policy_version'"):
        attach(Arm(), polcy_version="a")
    with pytest.raises(ConfigurationError, match="video=True needs"):
        attach(Arm(), video=True)


def test_switched_off_nothing_is_attached() -> None:
    env = Arm()
    before = dict(vars(env))
    assert attach(env, enabled=False) is env
    assert vars(env).keys() == before.keys()
    assert detach(env) is env


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_copy_is_silent() -> None:
    env = attached(Arm())
    run(env)
    assert session.flush()
    child = os.fork()
    if child == 0:
        run(env)
        os._exit(0 if session._current is None and env.count == 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    run(env)
    assert len(episodes()) == 2


class Old(Arm):
    """Gives four values, of a kind that nobody can tell ends from."""

    def __init__(self, done: Any, info: Any) -> None:
        super().__init__()
        self.given = done, info

    def step(self, action: Any) -> Any:
        return self.at, 0.0, *self.given


@pytest.mark.parametrize(
    ("done", "info"),
    [(np.zeros(2, bool), ["a", "b"]), (np.zeros(2, bool), 7), (np.zeros(2), [{}, {}]), (object(), None)],
)
def test_values_that_say_no_end_cost_the_recording_not_the_loop(
    done: Any, info: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    env = attached(Old(done, info))
    env.reset()
    for _ in range(3):
        result = env.step(np.ones(2))
        assert result[2] is done
        assert result[3] is info


@pytest.mark.parametrize(
    ("done", "info", "terminated", "truncated"),
    [
        ([1, 1, 0], [{"TimeLimit.truncated": True}, {}, {}], [0, 1, 0], [1, 0, 0]),
        ([1, 1, 0], {"TimeLimit.truncated": np.array([True, False, True])}, [0, 1, 0], [1, 0, 0]),
        ([1, 1, 0], {"time_outs": np.array([0, 1, 0])}, [1, 0, 0], [0, 1, 0]),
        ([1, 1, 0], {"episode": 3}, [1, 1, 0], [0, 0, 0]),
    ],
)
def test_one_done_for_both_ends_is_told_apart_for_each_env(
    done: Any, info: Any, terminated: Any, truncated: Any
) -> None:
    observation = np.zeros(3)
    dtype = int if "time_outs" in info else bool  # Isaac Gym's are ints
    five = tap._five((observation, 0.0, np.array(done, dtype), info))
    assert five[0] is observation
    assert [five[2].tolist(), five[3].tolist()] == [list(map(bool, terminated)), list(map(bool, truncated))]
    assert five[4] is info
