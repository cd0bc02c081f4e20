"""What a callback was given, checked, as the options of the episodes of each phase."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from robotrace.errors import ConfigurationError
from robotrace.plugin import EpisodeStart, Options, cubic, is_enabled, rate, resolve_options

__all__ = ["Phase", "Settings", "resolve_settings"]

Phase = Literal["train", "eval"]

_EVERY_N_TRAINING_EPISODES = 20
_TRAINING_EPISODES_PER_MINUTE = 30.0
"""Of 8 CartPoles under DQN 450 episodes end in a second. One that is recorded costs the loop 1 ms at its end, and up to
13 ms in all where the thread that seals it competes for the interpreter: 0.7 % of the time at this rate."""
_VIDEO_RATE = "2/min"


@dataclass(frozen=True)
class Settings:
    """Of one callback.

    Attributes:
        phases: Which episodes are recorded.
        hash_policy: Whether the policy's version has a hash of its parameters.
        policy_observations: Whether what the policy saw is recorded beside what the environment gave.
        given: The options as they were given.
        train: The options of a training's episodes.
        evaluation: Of an evaluation's.
    """

    phases: tuple[Phase, ...]
    hash_policy: bool
    policy_observations: bool
    given: Mapping[str, Any]
    train: Options
    evaluation: Options

    @property
    def enabled(self) -> bool:
        """Whether anything is recorded at all: the option, else the environment variables, asked anew."""
        return is_enabled(self.train)

    def same_as(self, other: Settings) -> bool:
        """Whether two callbacks ask for the same."""
        mine, others = (
            (one.phases, one.hash_policy, one.policy_observations, dict(one.given)) for one in (self, other)
        )
        return mine == others


def resolve_settings(
    phases: Sequence[Phase], hash_policy: bool, policy_observations: bool, given: Mapping[str, Any]
) -> Settings:
    """Check a callback's arguments.

    Raises:
        TypeError: An option is unknown.
        ConfigurationError: A value does not fit; the message names it.
    """
    chosen: tuple[Any, ...] = (phases,) if isinstance(phases, str) else tuple(phases)
    if not chosen or not set(chosen) <= set(get_args(Phase)):
        raise ConfigurationError(f"phases is {phases!r}; it takes some of {', '.join(map(repr, get_args(Phase)))}")
    for name, value in (("hash_policy", hash_policy), ("policy_observations", policy_observations)):
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be True or False, got {value!r}")
    checked = resolve_options(given)
    train = checked
    if given.get("every_n_episodes") is None and given.get("trigger") is None:
        train = replace(train, every_n_episodes=_EVERY_N_TRAINING_EPISODES)
    if "max_per_minute" not in given:
        train = replace(train, max_per_minute=_TRAINING_EPISODES_PER_MINUTE)
    # What thins out a training's episodes is not meant for the few of an evaluation.
    evaluation = replace(checked, every_n_episodes=1, trigger=None, max_per_minute=None, max_episodes=None)
    return Settings(
        chosen, hash_policy, policy_observations, dict(given), _seldom_filmed(train), _seldom_filmed(evaluation)
    )


def _seldom_filmed(options: Options) -> Options:
    """With the default of ``video_trigger`` counted in recorded episodes: of every 20th one, few are a cube."""
    if options.video_trigger is not None or not options.films:
        return options
    numbers, schedule, limit = itertools.count(), cubic(), rate(_VIDEO_RATE)

    def trigger(start: EpisodeStart) -> bool:
        return schedule(EpisodeStart(next(numbers), start.seed)) and limit(start)

    return replace(options, video_trigger=trigger)
