"""Looking into the functions that an exception came through leaves nothing in them."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

gym = pytest.importorskip("gymnasium")
pytest.importorskip("numpy")
pytest.importorskip("av")

from robotrace.capture.calls import raised_in, read_locals  # noqa: E402
from robotrace.plugin import attach  # noqa: E402
from robotrace_gymnasium import RoboTraceRecorder  # noqa: E402


class Slipped(Exception):
    """Of a class of ours: those of CPython take no weak reference."""


class SlippingEnv(gym.Env[int, int]):
    observation_space = gym.spaces.Discrete(3)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, slips: bool = True) -> None:
        self.slips = slips

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        if self.slips:
            raise Slipped
        return 1, 0.0, False, False, {}


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def vector() -> Any:
    return gym.vector.SyncVectorEnv([lambda: SlippingEnv(slips=False), SlippingEnv])


def attached(env: Any) -> Any:
    attach(env, max_per_minute=None, video=False)
    return env


@pytest.mark.usefixtures("_no_collector")
@pytest.mark.parametrize(
    "make",
    [
        lambda: RoboTraceRecorder(SlippingEnv(), max_per_minute=None),
        lambda: RoboTraceRecorder(vector(), max_per_minute=None, video=False),
        lambda: attached(SlippingEnv()),
        lambda: attached(vector()),
    ],
    ids=["wrapper", "vector wrapper", "attached", "attached vector"],
)
def test_an_exception_of_the_environment_is_in_no_cycle_once_it_was_handled(make: Callable[[], Any]) -> None:
    env = make()
    env.reset(seed=1)

    def attempt() -> weakref.ref[Slipped]:
        try:
            env.step(env.action_space.sample())
        except Slipped as error:
            return weakref.ref(error)
        pytest.fail("it did not slip")

    assert attempt()() is None
    env.close()


def test_it_is_told_whose_method_raised() -> None:
    inner, other = SlippingEnv(), SlippingEnv()
    outer = gym.wrappers.TimeLimit(inner, 3)
    outer.reset()
    with pytest.raises(Slipped) as caught:
        outer.step(0)
    assert raised_in(inner, caught.value)
    assert raised_in(outer, caught.value)
    assert not raised_in(other, caught.value)
    assert not raised_in(None, caught.value)


def test_the_variables_of_a_module_are_left_alone() -> None:
    space: dict[str, Any] = {"look": lambda: read_locals(sys._getframe(1), "kept", "missing")}
    exec("kept = 5\nfound = look()\nkept += 1", space)
    assert space["found"] == [5, None]
    assert space["kept"] == 6


def test_a_function_goes_on_with_the_variables_that_were_looked_at() -> None:
    def look(frame: FrameType) -> list[Any]:
        return read_locals(frame, "one", "later")

    def function() -> tuple[Any, ...]:
        one = [1]
        first = look(sys._getframe())
        later = 2
        return first, look(sys._getframe()), one, later

    assert function() == ([[1], None], [[1], 2], [1], 2)
