"""The options every plugin shares: plain values, so that YAML and a command line can set them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict

from robotrace.capture.triggers import Trigger, every
from robotrace.config import (
    ENV_ENV_VERSION,
    ENV_GIT_SHA,
    ENV_POLICY_VERSION,
    ENV_ROBOT,
    ENV_SEED,
    recording_enabled,
)
from robotrace.errors import ConfigurationError
from robotrace.ingest import LONGEST_TEXT, EpisodeSource, checked_choice, checked_text

__all__ = ["CaptureOptions", "EpisodeEnd", "KeepPartial", "Options", "is_enabled", "resolve_options"]

_LONGEST = {**LONGEST_TEXT, "git_sha": 64}
"""Of our server too; 200 for the others."""

KeepPartial = Literal["failures", "always", "never"]


@dataclass(frozen=True)
class EpisodeEnd:
    """What ``failure=`` is asked about.

    Attributes:
        steps: Number of steps.
        reward_total: Sum of the rewards.
        terminated: Of the last step.
        truncated: Of the last step.
        info: Of the last step.
    """

    steps: int
    reward_total: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


class CaptureOptions(TypedDict, total=False):
    """The keyword arguments of every plugin; :class:`Options` says what each means and its default."""

    policy_version: str | None
    env_version: str | None
    git_sha: str | None
    seed: int | None
    robot: str | None
    name: str | None
    source: EpisodeSource
    metadata: Mapping[str, Any]
    tags: Sequence[str]
    every_n_episodes: int
    trigger: Trigger | None
    max_per_minute: float | None
    max_episodes: int | None
    success_key: str
    failure: Callable[[EpisodeEnd], bool] | None
    keep_partial: KeepPartial
    video: bool | Literal["auto"]
    video_trigger: int | Trigger | None
    fps: float | None
    enabled: bool | None


@dataclass(frozen=True)
class Options:
    """The options with their defaults, checked.

    Attributes:
        policy_version: What acts; else ``ROBOTRACE_POLICY_VERSION``; else it stays empty.
        env_version: What it acts in; else ``ROBOTRACE_ENV_VERSION``; else from the env's spec.
        git_sha: The commit; else ``ROBOTRACE_GIT_SHA``; else from the repository of the running script.
        seed: Else ``ROBOTRACE_SEED``; else the one given to ``reset``.
        robot: Else ``ROBOTRACE_ROBOT``.
        name: The episodes' name; else the env's id and the episode's number.
        source: ``sim`` (default), ``real`` or ``replay``.
        metadata: Merged over what is filled in.
        tags: Stored as ``metadata.tags``.
        every_n_episodes: Record episodes 0, n, 2n, …
        trigger: Decides at the reset, instead of ``every_n_episodes``.
        max_per_minute: At most so many episodes a minute (20 at once); None for no limit.
        max_episodes: Record no more than this many.
        success_key: The key of the last step's info that says whether the episode succeeded.
        failure: Decides at the end whether the episode failed, instead of ``success_key``.
        keep_partial: Which unfinished episodes (closed or reset in the middle) are kept: ``failures`` (default:
            those an exception ended), ``always`` or ``never``.
        video: ``auto`` (default: when the env renders ``rgb_array``), True or False.
        video_trigger: Which recorded episodes have video: a number n for every nth, or a trigger; the default is
            episodes 0, 1, 8, 27, …, at most one per 30 s, since rendering is the dear part.
        fps: Steps a second, where the env does not say it or says it wrong; a simulator's own time stays first.
        enabled: False: the env comes back untouched. None: as the environment variables say.
    """

    policy_version: str | None = None
    env_version: str | None = None
    git_sha: str | None = None
    seed: int | None = None
    robot: str | None = None
    name: str | None = None
    source: EpisodeSource = "sim"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    every_n_episodes: int = 1
    trigger: Trigger | None = None
    max_per_minute: float | None = 60.0
    max_episodes: int | None = None
    success_key: str = "is_success"
    failure: Callable[[EpisodeEnd], bool] | None = None
    keep_partial: KeepPartial = "failures"
    video: bool | Literal["auto"] = "auto"
    video_trigger: int | Trigger | None = None
    fps: float | None = None
    enabled: bool | None = None

    def __post_init__(self) -> None:
        checked_choice("source", self.source, EpisodeSource)
        checked_choice("keep_partial", self.keep_partial, KeepPartial)
        if self.video not in (True, False, "auto"):
            raise ConfigurationError(f"video is {self.video!r}; it takes True, False or 'auto'")
        for name in ("policy_version", "env_version", "git_sha", "robot", "name", "success_key"):
            checked_text(name, getattr(self, name), _LONGEST.get(name, 200))
        for name, least in (("every_n_episodes", 1), ("max_episodes", 0)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise ConfigurationError(f"{name} must be a whole number of {least} or more, got {value!r}")
        for name in ("max_per_minute", "fps"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and 0 < value < float("inf")):
                raise ConfigurationError(f"{name} must be a number above 0, got {value!r}")
        for name in ("trigger", "failure"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise ConfigurationError(f"{name} must be callable, got {value!r}")
        if isinstance(self.video_trigger, int):
            every(self.video_trigger)
        elif self.video_trigger is not None and not callable(self.video_trigger):
            raise ConfigurationError(f"video_trigger must be a number or callable, got {self.video_trigger!r}")
        if not isinstance(self.metadata, Mapping):
            raise ConfigurationError(f"metadata must be a mapping, got {self.metadata!r}")
        if isinstance(self.tags, str) or not all(isinstance(tag, str) for tag in self.tags):
            raise ConfigurationError(f"tags must be a list of texts, got {self.tags!r}")


def resolve_options(given: Mapping[str, Any]) -> Options:
    """Check a plugin's keyword arguments and fill what the environment variables say.

    Raises:
        TypeError: An option is unknown; the message names it and the nearest one.
        ConfigurationError: A value does not fit; the message names the option.
    """
    known = [item.name for item in fields(Options)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            raise TypeError(f"unknown option {name!r}{hint}")
    options = dict(given)
    for name, variable in (
        ("policy_version", ENV_POLICY_VERSION),
        ("env_version", ENV_ENV_VERSION),
        ("git_sha", ENV_GIT_SHA),
        ("robot", ENV_ROBOT),
    ):
        if options.get(name) is None:
            options[name] = os.environ.get(variable) or None
    if options.get("seed") is None:
        options["seed"] = _environment_seed()
    return Options(**options)


def is_enabled(options: Options) -> bool:
    """Whether to record at all: the option, else the environment variables."""
    return recording_enabled() if options.enabled is None else options.enabled


def _environment_seed() -> int | None:
    text = os.environ.get(ENV_SEED)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"{ENV_SEED} must be a whole number, got {text!r}") from None
