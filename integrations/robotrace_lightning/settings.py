"""What a callback was given, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from robotrace.errors import ConfigurationError
from robotrace.plugin import PhaseOptions, check_phases, resolve_phases

__all__ = ["Phase", "Ranks", "Settings", "resolve_settings"]

Phase = Literal["train", "validate", "test", "predict"]
Ranks = Literal["zero", "all"]

_EVERY_N_TRAINING_EPISODES = 10
_TRAINING_EPISODES_PER_MINUTE = 30.0
_TRAINING_EPISODES_PER_EPOCH = 50


@dataclass(frozen=True)
class Settings:
    """Of one callback; the attributes are its arguments, ``options`` those of the episodes of each phase."""

    options: PhaseOptions
    discover: bool
    env: Any
    phases: tuple[Phase, ...]
    ranks: Ranks
    eval_env: Any
    eval_every_n_epochs: int
    eval_episodes: int
    policy: Callable[[Any, Any], Any] | None
    max_eval_steps: int
    max_evaluation_episodes: int | None
    val_batches: int

    @property
    def renews_training(self) -> bool:
        """Whether the limit of a training's episodes is one of each epoch: the default's is, a given one is not."""
        return "max_episodes" not in self.options.given


def resolve_settings(options: Mapping[str, Any], **arguments: Any) -> Settings:
    """Check a callback's arguments.

    Raises:
        TypeError: An option is unknown.
        ConfigurationError: A value does not fit; the message names it.
    """
    chosen: Sequence[str] = arguments.pop("phases")
    phases = check_phases(chosen, get_args(Phase))
    if not isinstance(arguments["discover"], bool):
        raise ConfigurationError(f"discover must be True or False, got {arguments['discover']!r}")
    if arguments["ranks"] not in get_args(Ranks):
        raise ConfigurationError(f"ranks is {arguments['ranks']!r}; it takes 'zero' or 'all'")
    if arguments["policy"] is not None and not callable(arguments["policy"]):
        raise ConfigurationError(f"policy must be callable, got {arguments['policy']!r}")
    for name, least in (("eval_every_n_epochs", 1), ("eval_episodes", 1), ("max_eval_steps", 1), ("val_batches", 0)):
        _check_number(name, arguments[name], least)
    if arguments["max_evaluation_episodes"] is not None:
        _check_number("max_evaluation_episodes", arguments["max_evaluation_episodes"], 0)
    resolved = resolve_phases(
        options,
        every_n_episodes=_EVERY_N_TRAINING_EPISODES,
        max_per_minute=_TRAINING_EPISODES_PER_MINUTE,
        max_episodes=_TRAINING_EPISODES_PER_EPOCH,
        max_evaluation_episodes=arguments["max_evaluation_episodes"],
    )
    return Settings(resolved, phases=phases, **arguments)


def _check_number(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigurationError(f"{name} must be a whole number of {least} or more, got {value!r}")
