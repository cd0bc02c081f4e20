"""Which clock an environment runs on. Looked at from outside: no framework is imported.

The order, from the most to the least truthful: the simulator's own time (MuJoCo's ``data.time``), then steps of a
known length (``step_dt``, ``control_timestep``, ``dt``, ``tau``, ``1 / control_freq``), then ``1 / render_fps``, then
the wall clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["EnvClock", "find_clock", "read_attribute"]

_STEP_SECONDS = ("step_dt", "control_timestep", "dt", "tau")
_LONGEST_STEP_S = 60.0
"""An attribute of that name beyond this is something else than a step in seconds."""


@dataclass(frozen=True)
class EnvClock:
    """How the episode's time is told.

    Attributes:
        source: Where it comes from: ``data.time``, the name of an attribute, ``render_fps``, ``fps`` or ``wall``.
        step_ns: The length of a step, None when only the wall clock is known.
        now: The simulator's own seconds, where it has them.
    """

    source: str
    step_ns: int | None = None
    now: Callable[[], float] | None = None

    @property
    def fps(self) -> float | None:
        """Steps a second; None where only the wall clock is known."""
        return None if self.step_ns is None else round(1e9 / self.step_ns, 6)


def find_clock(env: Any, steps_per_s: float | None = None) -> EnvClock:
    """The clock of an (unwrapped) environment.

    Args:
        env: The environment.
        steps_per_s: What the user says a second has, instead of what is found; a simulator's own time stays first.
    """
    step = _step_seconds(env)
    data = read_attribute(env, "data")
    if isinstance(getattr(data, "time", None), float):
        return EnvClock("data.time", None if step is None else step[1], lambda: float(env.data.time))
    if steps_per_s is not None:
        return EnvClock("fps", round(1e9 / steps_per_s))
    if step is not None:
        return EnvClock(*step)
    return EnvClock("wall")


def _step_seconds(env: Any) -> tuple[str, int] | None:
    for name in _STEP_SECONDS:
        seconds = _number(read_attribute(env, name))
        if seconds is not None and seconds <= _LONGEST_STEP_S:
            return name, round(seconds * 1e9)
    frequency = _number(read_attribute(env, "control_freq"))
    if frequency is not None:
        return "control_freq", round(1e9 / frequency)
    metadata = read_attribute(env, "metadata")
    fps = _number(metadata.get("render_fps")) if isinstance(metadata, dict) else None
    return None if fps is None else ("render_fps", round(1e9 / fps))


def read_attribute(env: Any, name: str) -> Any:
    """An attribute of a user's object; None where it has none, or its property raises."""
    try:
        return getattr(env, name, None)
    except Exception:  # a property of the user's env that does not work yet (no simulation loaded)
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or callable(value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
