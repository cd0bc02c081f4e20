"""The options of a training's episodes and of its evaluations', made of those that a callback was given."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robotrace.capture.options import Options, is_enabled, resolve_options
from robotrace.capture.triggers import EpisodeStart, cubic, rate
from robotrace.errors import ConfigurationError

__all__ = ["PhaseOptions", "check_phases", "resolve_phases"]

_VIDEO_RATE = "2/min"


@dataclass(frozen=True)
class PhaseOptions:
    """What a callback was given, checked.

    Attributes:
        given: The options as they were given.
        train: Of a training's episodes.
        evaluation: Of an evaluation's: what thins out a training's episodes is not meant for these few.
    """

    given: Mapping[str, Any]
    train: Options
    evaluation: Options

    @property
    def enabled(self) -> bool:
        """Whether anything is recorded at all: the option, else the environment variables, asked anew."""
        return is_enabled(self.train)


def check_phases(phases: Sequence[str], known: Sequence[str]) -> tuple[Any, ...]:
    """The phases that a callback was asked for.

    Raises:
        ConfigurationError: There is none, or one that is not known.
    """
    chosen = (phases,) if isinstance(phases, str) else tuple(phases)
    if not chosen or not set(chosen) <= set(known):
        raise ConfigurationError(f"phases is {phases!r}; it takes some of {', '.join(map(repr, known))}")
    return chosen


def resolve_phases(
    given: Mapping[str, Any],
    *,
    every_n_episodes: int,
    max_per_minute: float | None,
    max_episodes: int | None = None,
    max_evaluation_episodes: int | None = None,
) -> PhaseOptions:
    """Check the options that a callback was given, and complete them.

    Args:
        given: As they were given.
        every_n_episodes: Of a training's, where neither that option nor ``trigger`` is given.
        max_per_minute: Of a training's, where it is not given.
        max_episodes: Of a training's, where it is not given.
        max_evaluation_episodes: ``max_episodes`` of an evaluation's.

    Raises:
        TypeError: An option is unknown.
        ConfigurationError: A value does not fit; the message names it.
    """
    checked = resolve_options(given)
    train = checked
    if given.get("every_n_episodes") is None and given.get("trigger") is None:
        train = replace(train, every_n_episodes=every_n_episodes)
    if "max_per_minute" not in given:
        train = replace(train, max_per_minute=max_per_minute)
    if "max_episodes" not in given:
        train = replace(train, max_episodes=max_episodes)
    evaluation = replace(
        checked, every_n_episodes=1, trigger=None, max_per_minute=None, max_episodes=max_evaluation_episodes
    )
    return PhaseOptions(dict(given), _seldom_filmed(train), _seldom_filmed(evaluation))


def _seldom_filmed(options: Options) -> Options:
    """With the default of ``video_trigger`` counted in recorded episodes: of every 20th one, few are a cube."""
    if options.video_trigger is not None or not options.films:
        return options
    numbers, schedule, limit = itertools.count(), cubic(), rate(_VIDEO_RATE)

    def trigger(start: EpisodeStart) -> bool:
        return schedule(EpisodeStart(next(numbers), start.seed)) and limit(start)

    return replace(options, video_trigger=trigger)
