"""A recorded env stays as quick as it was (CPython 3.11 and 3.12 slow down what was asked for its dictionary)."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import OrderEnforcing, TimeLimit
from gymnasium_envs import LoggingEnv
from recorded import sealed

from robotrace import session
from robotrace.plugin import attach, detach
from robotrace_gymnasium import RoboTraceRecorder

MARK = "its_own"

pytestmark = pytest.mark.skipif(
    not (3, 11) <= sys.version_info < (3, 13), reason="only CPython 3.11 and 3.12 pay for the dictionary"
)


def layers(env: Any) -> Iterator[Any]:
    yield env
    while isinstance(env, gym.Wrapper):
        env = env.env
        yield env


def slow(env: Any) -> list[str]:
    """The layers that keep their attributes in a dictionary now."""
    return [
        type(layer).__name__
        for layer in layers(env)
        if any(isinstance(item, dict) and MARK in item for item in gc.get_referents(layer))
    ]


def marked(env: Any) -> Any:
    for layer in layers(env):
        setattr(layer, MARK, True)
    return env


def fresh(kind: type) -> Any:
    """A class that has no instances yet: after 30 of them, one more attribute makes a dictionary by itself."""
    return type(kind.__name__, (kind,), {})


def make_cartpole() -> gym.Env:
    env = fresh(CartPoleEnv)(render_mode="rgb_array")
    return fresh(TimeLimit)(fresh(OrderEnforcing)(env), 5)


def make_own() -> gym.Env:
    return fresh(LoggingEnv)(length=5)


def test_the_check_of_these_tests_sees_a_dictionary() -> None:
    env = marked(make_cartpole())
    env.reset()
    assert slow(env) == []
    vars(env.unwrapped)
    assert slow(env) == ["CartPoleEnv"]


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("record", [RoboTraceRecorder, attach])
@pytest.mark.parametrize("make", [make_cartpole, make_own])
def test_no_layer_gets_a_dictionary(make: Callable[[], gym.Env], record: Any, sampled: bool) -> None:
    inside = marked(make())
    options: dict[str, Any] = {"max_per_minute": None, "keep_partial": "always", "video_trigger": 1}
    env = (fresh(record) if isinstance(record, type) else record)(
        inside, **options, max_episodes=None if sampled else 0
    )
    if env is not inside:
        setattr(env, MARK, True)
    for seed in (1, None):
        env.reset(seed=seed)
        while not any(env.step(env.action_space.sample())[2:4]):
            pass
    env.reset()
    env.step(env.action_space.sample())
    env.close()
    detach(env)
    assert session.flush()
    assert len(sealed()) == (3 if sampled else 0)
    assert slow(env) == []
