"""Which episodes are recorded, decided at the reset, so that the others cost nothing.

A trigger is any callable from :class:`EpisodeStart` to bool; these are the ready-made ones.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robotrace.errors import ConfigurationError

__all__ = ["EpisodeStart", "TokenBucket", "Trigger", "as_trigger", "cubic", "every", "rate"]


@dataclass(frozen=True)
class EpisodeStart:
    """What is known when an episode begins: its number in this env, from 0, and the seed its reset was given."""

    episode_index: int
    seed: int | None


_ROUNDING = 1e-9
"""30 refills of 1/30 are 0.99… in floating point."""
_FORMS = "or the text 'every(10)', 'cubic' or 'rate(1/min)'"
_TEXT = re.compile(r"\s*(every|cubic|rate)\s*(?:\(\s*([^()]*?)\s*\))?\s*")

Trigger = Callable[[EpisodeStart], bool]


class TokenBucket:
    """At most ``per_minute`` in the long run, ``burst`` at once.

    Args:
        per_minute: Refilled evenly.
        burst: What may be saved up.
        clock: Monotonic seconds.
    """

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_s = per_minute / 60.0
        self._burst = float(burst)
        self._tokens = float(burst)
        self._clock = clock
        self._last = clock()

    def take(self) -> bool:
        """Whether one more may pass now."""
        if not self.ready():
            return False
        self._tokens = max(0.0, self._tokens - 1.0)
        return True

    def ready(self) -> bool:
        """Whether :meth:`take` would let one pass."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate_s)
        self._last = now
        return self._tokens >= 1.0 - _ROUNDING

    def give_back(self) -> None:
        """One that was let pass did not."""
        self._tokens = min(self._burst, self._tokens + 1.0)


def every(n: int) -> Trigger:
    """Episodes 0, n, 2n, …

    Raises:
        ConfigurationError: ``n`` is less than 1.
    """
    if n < 1:
        raise ConfigurationError(f"every(n) takes 1 or more, got {n}")
    return lambda start: start.episode_index % n == 0


def cubic() -> Trigger:
    """Episodes 0, 1, 8, 27, …, then every 1000th: Gymnasium's ``capped_cubic_video_schedule``."""

    def trigger(start: EpisodeStart) -> bool:
        index = start.episode_index
        return round(index ** (1.0 / 3)) ** 3 == index if index < 1000 else index % 1000 == 0

    return trigger


def rate(limit: str, clock: Callable[[], float] = time.monotonic) -> Trigger:
    """At most ``"<n>/min"`` (or ``/s``, ``/h``).

    Raises:
        ConfigurationError: The text is not of that form.
    """
    number, _, unit = limit.partition("/")
    per_minute = {"s": 60.0, "min": 1.0, "h": 1.0 / 60.0}.get(unit.strip())
    try:
        amount = float(number)
    except ValueError:
        amount = 0.0
    if per_minute is None or not 0 < amount < float("inf"):
        raise ConfigurationError(f"rate is {limit!r}; it takes a number and a unit: '1/min', '2/s', '30/h'")
    bucket = TokenBucket(amount * per_minute, 1, clock)
    return lambda start: bucket.take()


def as_trigger(option: str, value: Any, *, numbers: bool = False) -> Trigger | None:
    """What an option holds, as a trigger of its own.

    Args:
        option: The option's name, for the error.
        value: A callable; ``every(10)``, ``cubic`` or ``rate(1/min)`` as text, as a YAML file has it; None.
        numbers: Whether a number n stands for ``every(n)``.

    Raises:
        ConfigurationError: It is none of these; the message names the option.
    """
    if value is None or (callable(value) and not isinstance(value, str)):
        return value
    try:
        if numbers and isinstance(value, int) and not isinstance(value, bool):
            return every(value)
        if isinstance(value, str):
            return _parse(value)
    except ConfigurationError as exc:
        raise ConfigurationError(f"{option}: {exc}") from None
    what = "a number, " if numbers else ""
    raise ConfigurationError(f"{option} is {value!r}; it takes {what}a callable, {_FORMS}")


def _parse(text: str) -> Trigger:
    match = _TEXT.fullmatch(text)
    if match is not None:
        name, argument = match.groups()
        argument = (argument or "").strip("'\"")
        if name == "every" and argument.isdecimal():
            return every(int(argument))
        if name == "cubic" and not argument:
            return cubic()
        if name == "rate" and argument:
            return rate(argument)
    raise ConfigurationError(f"{text!r} is no trigger; it takes a callable, {_FORMS}")
