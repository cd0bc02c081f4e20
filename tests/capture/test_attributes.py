"""Looking at a user's object leaves it as quick as it was."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("numpy")
pytest.importorskip("av")

from robotrace import session
from robotrace.capture.attributes import has_attributes, layers, own_attribute, own_values
from robotrace.plugin import attach, detach

MARK = "its_own"


def has_dictionary(thing: Any) -> bool:
    """Whether the object keeps its attributes in a dictionary; never true again of one that has none."""
    return any(isinstance(item, dict) and MARK in item for item in gc.get_referents(thing))


needs_inline_values = pytest.mark.skipif(
    not (3, 11) <= sys.version_info < (3, 13), reason="only CPython 3.11 and 3.12 pay for the dictionary"
)


@pytest.fixture(autouse=True)
def fresh_session() -> Iterator[None]:
    session.reset()
    yield
    session.reset()


class Arm:
    """An environment of no framework."""

    forwarded = "the class's"

    def __init__(self, env: Any = None) -> None:
        self.its_own = 0
        self.env = env
        self.render_mode = "rgb_array"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self.env is None:
            raise AttributeError(name)
        return getattr(self.env, name)

    @property
    def broken(self) -> Any:
        raise RuntimeError("no simulation loaded")

    def reset(self, *, seed: int | None = None) -> Any:
        self.its_own = 0
        return 0.0, {}

    def step(self, action: Any) -> Any:
        self.its_own += 1
        return float(self.its_own), 1.0, self.its_own == 3, False, {}

    def render(self) -> Any:
        return None

    def close(self) -> None:
        pass


def test_only_what_the_object_itself_has_is_its_own() -> None:
    inner = Arm()
    inner.only_here = 1  # type: ignore[attr-defined]
    outer = Arm(inner)
    assert outer.only_here == 1
    assert own_attribute(outer, "only_here") is None
    assert own_attribute(outer, "forwarded") == "the class's"
    assert own_attribute(outer, "broken", "nothing") == "nothing"
    assert list(layers(outer)) == [outer, inner]
    assert any(value is inner for value in own_values(outer))
    assert (has_attributes(outer), has_attributes(object()), has_attributes((1,))) == (True, False, False)


@needs_inline_values
def test_the_check_of_these_tests_sees_a_dictionary() -> None:
    arm = Arm()
    assert not has_dictionary(arm)
    vars(arm)
    assert has_dictionary(arm)


@needs_inline_values
@pytest.mark.parametrize("sampled", [True, False])
def test_an_attached_env_keeps_its_attributes_where_they_are_quick(sampled: bool) -> None:
    fresh = type("Arm", (Arm,), {})  # after 30 instances of a class, one more attribute makes a dictionary by itself
    inner = fresh()
    env = fresh(inner)
    assert attach(env, max_per_minute=None, max_episodes=None if sampled else 0, keep_partial="always") is env
    attach(env, policy_version="p")
    for _ in range(2):
        env.reset(seed=1)
        while not env.step(1)[2]:
            pass
    env.reset()
    env.step(1)
    env.close()
    detach(env)
    assert session.flush()
    assert not has_dictionary(env)
    assert not has_dictionary(inner)
