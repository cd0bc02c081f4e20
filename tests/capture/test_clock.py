from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("numpy")

from robotrace.capture.clock import find_clock


def env(**attributes: Any) -> SimpleNamespace:
    return SimpleNamespace(**attributes)


@pytest.mark.parametrize(
    ("found", "source", "step_ns"),
    [
        (env(step_dt=0.02, dt=0.5), "step_dt", 20_000_000),
        (env(control_timestep=0.05, tau=1.0), "control_timestep", 50_000_000),
        (env(dt=0.05, metadata={"render_fps": 30}), "dt", 50_000_000),
        (env(tau=0.02), "tau", 20_000_000),
        (env(control_freq=20), "control_freq", 50_000_000),
        (env(metadata={"render_fps": 25}), "render_fps", 40_000_000),
        (env(metadata={}), "wall", None),
        (env(dt=-1.0, tau=float("nan"), step_dt="fast"), "wall", None),
        (env(dt=3600.0), "wall", None),
        (env(control_timestep=lambda: 0.1, dt=True), "wall", None),
    ],
)
def test_the_most_truthful_clock_is_taken(found: SimpleNamespace, source: str, step_ns: int | None) -> None:
    clock = find_clock(found)
    assert (clock.source, clock.step_ns, clock.now) == (source, step_ns, None)


def test_a_simulators_own_time_comes_first_whatever_else_is_said() -> None:
    simulator = env(data=env(time=0.0), dt=0.008)
    clock = find_clock(simulator, steps_per_s=10.0)
    assert (clock.source, clock.step_ns) == ("data.time", 8_000_000)
    assert clock.now is not None
    simulator.data.time = 1.25
    assert clock.now() == 1.25


def test_the_users_word_stands_over_an_attribute() -> None:
    assert find_clock(env(dt=0.05), steps_per_s=10.0).step_ns == 100_000_000
    assert find_clock(env(), steps_per_s=10.0).source == "fps"


def test_a_property_that_raises_is_none() -> None:
    class Broken:
        @property
        def dt(self) -> float:
            raise RuntimeError("no simulation loaded")

    assert find_clock(Broken()).source == "wall"
