"""The options every plugin shares: plain values, so that YAML and a command line can set them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict

from robotrace.capture.triggers import Trigger, as_trigger
from robotrace.config import ENV_ROBOT, recording_enabled
from robotrace.context.facts import LONGEST_GIT_SHA, are_texts, check_seed, environment_seed
from robotrace.context.spans import tracing_installed
from robotrace.errors import ConfigurationError
from robotrace.ingest import LONGEST_TEXT, EpisodeSource, checked_choice, checked_text

__all__ = ["CaptureOptions", "EpisodeEnd", "Images", "KeepPartial", "Only", "Options", "is_enabled", "resolve_options"]

_LONGEST = {**LONGEST_TEXT, "git_sha": LONGEST_GIT_SHA}
"""Of our server too; 200 for the others."""
_LEAST_VIDEO_EDGE = 16
"""Pixels: below that no encoder makes a picture anyone could see."""

Images = Literal["auto", "video", "arrays", "drop"]
KeepPartial = Literal["failures", "always", "never"]
Only = Literal["all", "failures", "successes"]


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
    trigger: Trigger | str | None
    max_per_minute: float | None
    max_episodes: int | None
    only: Only
    success_key: str
    failure: Callable[[EpisodeEnd], bool] | None
    keep_partial: KeepPartial
    video: bool | Literal["auto", "deferred"]
    video_trigger: int | Trigger | str | None
    video_every_n_steps: int
    video_size: int | None
    video_envs: int
    env_indices: Sequence[int] | Literal["auto"]
    fps: float | None
    images: Images
    infos: bool | Literal["auto"] | Sequence[str]
    last_seconds: float | None
    realtime: bool | None
    otel_spans: bool
    enabled: bool | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options with their defaults, checked.

    The first four are looked for at each reset where they are not given: :func:`robotrace.run`, the launcher's job,
    the framework, ``ROBOTRACE_POLICY_VERSION`` (``…_ENV_VERSION``, ``…_GIT_SHA``, ``…_SEED``), and then what is named.

    Attributes:
        policy_version: What acts; else it stays empty.
        env_version: What it acts in; else from the env's spec.
        git_sha: The commit; else from the repository of the running script.
        seed: Instead of the one given to ``reset``, which goes before all that is said elsewhere.
        robot: Else ``ROBOTRACE_ROBOT``.
        name: The episodes' name; else that of the run or the env's id, and the episode's number.
        source: ``sim`` (default), ``real`` or ``replay``.
        metadata: Merged over what is filled in.
        tags: Stored as ``metadata.tags``, after those of the run.
        every_n_episodes: Record episodes 0, n, 2n, …
        trigger: Decides at the reset, instead of ``every_n_episodes``: a callable from :class:`EpisodeStart` to
            bool, or one of the ready-made ones as text: ``every(10)``, ``cubic``, ``rate(1/min)``.
        max_per_minute: At most so many episodes a minute (20 at once); None for no limit.
        max_episodes: Record no more than this many.
        only: Which episodes are kept, decided at their end: ``all`` (default), ``failures`` or ``successes``. One
            whose outcome is unknown is neither. The two limits above then count the kept ones.
        success_key: The key of the last step's info that says whether the episode succeeded.
        failure: Decides at the end whether the episode failed, instead of ``success_key``.
        keep_partial: Which unfinished episodes (closed or reset in the middle) are kept: ``failures`` (default:
            those an exception or a kill ended), ``always`` or ``never``.
        video: ``auto`` (default: when the env renders ``rgb_array``), True or False. ``deferred``: nothing is rendered
            now; the episode is marked, and ``robotrace render`` makes its video later by running it again.
        video_trigger: Which recorded episodes have video: a number n for every nth, or a trigger (or its text); the
            default is episodes 0, 1, 8, 27, …, at most one per 30 s, since rendering is the dear part, and with
            ``video="deferred"``, which renders nothing, every one.
        video_every_n_steps: A frame at the reset and at every nth step after it; the last step always has one.
        video_size: The longer edge of the video in pixels; larger frames are scaled down. None: as they come.
        video_envs: How many environments of a vector environment have video; with ``video="deferred"`` all have.
        env_indices: Which environments of a vector environment are recorded, by index. ``auto`` (default): all, and
            of more than 16 in tensors of a simulator the first one.
        fps: Steps a second, where the env does not say it or says it wrong; a simulator's own time stays first.
        images: What becomes of image observations: ``video`` (lossy, and marked so), ``arrays`` (lossless), ``drop``;
            ``auto`` (default): camera views become video, small or stacked ones (and with ``video=False`` and
            ``deferred`` all) stay arrays.
        infos: The step infos: ``auto`` (default: the last step's scalars, in the metadata), True for a stream per key,
            a list of keys for those streams, False for nothing.
        last_seconds: Keep only the last seconds before the end. None: the whole episode.
        realtime: Whether a frame is dropped (and counted) rather than waited for when the encoder is behind. None:
            True for ``source="real"``, else False, since a simulator can wait.
        otel_spans: One OpenTelemetry span ``robotrace.episode`` per recorded episode.
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
    trigger: Trigger | str | None = None
    max_per_minute: float | None = 60.0
    max_episodes: int | None = None
    only: Only = "all"
    success_key: str = "is_success"
    failure: Callable[[EpisodeEnd], bool] | None = None
    keep_partial: KeepPartial = "failures"
    video: bool | Literal["auto", "deferred"] = "auto"
    video_trigger: int | Trigger | str | None = None
    video_every_n_steps: int = 1
    video_size: int | None = None
    video_envs: int = 1
    env_indices: Sequence[int] | Literal["auto"] = "auto"
    fps: float | None = None
    images: Images = "auto"
    infos: bool | Literal["auto"] | Sequence[str] = "auto"
    last_seconds: float | None = None
    realtime: bool | None = None
    otel_spans: bool = False
    enabled: bool | None = None

    @property
    def keeps_killed(self) -> bool:
        """Whether an episode is kept whose process is killed in its middle: it has failed, its success is unknown."""
        return self.keep_partial != "never" and self.only != "successes"

    @property
    def films(self) -> bool:
        """Whether pictures of the env may be asked for while it runs."""
        return self.video is True or self.video == "auto"

    def __post_init__(self) -> None:
        checked_choice("source", self.source, EpisodeSource)
        checked_choice("keep_partial", self.keep_partial, KeepPartial)
        checked_choice("only", self.only, Only)
        checked_choice("images", self.images, Images)
        self._check_texts()
        self._check_numbers()
        self._check_flags()
        self._check_deferred()
        for name in ("trigger", "video_trigger"):
            as_trigger(name, getattr(self, name), numbers=name == "video_trigger")
        if self.failure is not None and not callable(self.failure):
            raise ConfigurationError(f"failure must be callable, got {self.failure!r}")
        if not isinstance(self.metadata, Mapping):
            raise ConfigurationError(f"metadata must be a mapping, got {self.metadata!r}")
        if not are_texts(self.tags):
            raise ConfigurationError(f"tags must be a list of texts, got {self.tags!r}")
        if not (isinstance(self.infos, bool) or self.infos == "auto" or are_texts(self.infos)):
            raise ConfigurationError(f"infos is {self.infos!r}; it takes True, False, 'auto' or a list of keys")
        if self.env_indices != "auto" and not _are_indices(self.env_indices):
            raise ConfigurationError(f"env_indices is {self.env_indices!r}; it takes 'auto' or a list of whole numbers")
        if self.realtime is None:
            object.__setattr__(self, "realtime", self.source == "real")
        # No video means none, a lossy copy of an observation least; and what runs again is compared to the bit.
        if not self.films and self.images == "auto":
            object.__setattr__(self, "images", "arrays")

    def _check_texts(self) -> None:
        for name in ("policy_version", "env_version", "git_sha", "robot", "name", "success_key"):
            checked_text(name, getattr(self, name), _LONGEST.get(name, 200))

    def _check_numbers(self) -> None:
        for name, least, optional in (
            ("every_n_episodes", 1, False),
            ("video_every_n_steps", 1, False),
            ("video_envs", 0, False),
            ("max_episodes", 0, True),
            ("video_size", _LEAST_VIDEO_EDGE, True),
        ):
            value = getattr(self, name)
            if value is None and optional:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigurationError(f"{name} must be a whole number of {least} or more, got {value!r}")
        for name in ("max_per_minute", "fps", "last_seconds"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value < float("inf")):
                raise ConfigurationError(f"{name} must be a number above 0, got {value!r}")
        check_seed(self.seed)

    def _check_flags(self) -> None:
        # Not `in (True, False, …)`: 1 and 0 are equal to them, and "video=1" asks for something else.
        if not isinstance(self.video, bool) and self.video not in ("auto", "deferred"):
            raise ConfigurationError(f"video is {self.video!r}; it takes True, False, 'auto' or 'deferred'")
        if not isinstance(self.otel_spans, bool):
            raise ConfigurationError(f"otel_spans must be True or False, got {self.otel_spans!r}")
        if self.otel_spans and not tracing_installed():
            raise ConfigurationError("otel_spans needs OpenTelemetry; run: pip install 'robotrace-dev[otel]'")
        for name in ("realtime", "enabled"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, bool):
                raise ConfigurationError(f"{name} must be True, False or None, got {value!r}")

    def _check_deferred(self) -> None:
        if self.video != "deferred":
            return
        how = "video='deferred' makes the video by running the environment again"
        if self.source == "real":
            raise ConfigurationError(f"{how}, and source='real' says that the world cannot be run again")
        if self.last_seconds is not None:
            raise ConfigurationError(f"{how} from its reset on, and last_seconds keeps the actions of the end only")
        if self.images == "video":  # an episode has one video file, and these pictures would be nowhere else
            raise ConfigurationError(
                f"{how}, and images='video' makes it while it runs; with 'auto' image observations stay arrays"
            )


def resolve_options(given: Mapping[str, Any]) -> Options:
    """Check a plugin's keyword arguments, and what the environment variables say.

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
    if options.get("robot") is None:
        options["robot"] = os.environ.get(ENV_ROBOT) or None
    if options.get("seed") is None:
        environment_seed()  # asked again at each reset, where nobody could be told
    return Options(**options)


def is_enabled(options: Options) -> bool:
    """Whether to record at all: the option, else the environment variables."""
    return recording_enabled() if options.enabled is None else options.enabled


def _are_indices(value: Any) -> bool:
    return (
        not isinstance(value, (str, Mapping))
        and isinstance(value, Collection)  # no generator: looking at it would use it up
        and all(hasattr(item, "__index__") and not isinstance(item, bool) and item >= 0 for item in value)
    )
