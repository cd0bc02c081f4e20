"""What a callback was given, checked, as the options of the episodes of each phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from robotrace.errors import ConfigurationError
from robotrace.plugin import Options, PhaseOptions, check_phases, resolve_phases

__all__ = ["Phase", "Settings", "resolve_settings"]

Phase = Literal["train", "eval"]

_EVERY_N_TRAINING_EPISODES = 20
_TRAINING_EPISODES_PER_MINUTE = 30.0
"""Of 8 CartPoles under DQN 450 episodes end in a second. One that is recorded costs the loop 1 ms at its end, and up to
13 ms in all where the thread that seals it competes for the interpreter: 0.7 % of the time at this rate."""


@dataclass(frozen=True)
class Settings:
    """Of one callback.

    Attributes:
        phases: Which episodes are recorded.
        hash_policy: Whether the policy's version has a hash of its parameters.
        policy_observations: Whether what the policy saw is recorded beside what the environment gave.
        options: Of the episodes of each phase.
    """

    phases: tuple[Phase, ...]
    hash_policy: bool
    policy_observations: bool
    options: PhaseOptions

    @property
    def train(self) -> Options:
        """The options of a training's episodes."""
        return self.options.train

    @property
    def evaluation(self) -> Options:
        """Of an evaluation's."""
        return self.options.evaluation

    @property
    def enabled(self) -> bool:
        """Whether anything is recorded at all: the option, else the environment variables, asked anew."""
        return self.options.enabled

    def same_as(self, other: Settings) -> bool:
        """Whether two callbacks ask for the same."""
        mine, others = (
            (one.phases, one.hash_policy, one.policy_observations, one.options.given) for one in (self, other)
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
    chosen = check_phases(phases, get_args(Phase))
    for name, value in (("hash_policy", hash_policy), ("policy_observations", policy_observations)):
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be True or False, got {value!r}")
    options = resolve_phases(
        given, every_n_episodes=_EVERY_N_TRAINING_EPISODES, max_per_minute=_TRAINING_EPISODES_PER_MINUTE
    )
    return Settings(chosen, hash_policy, policy_observations, options)
