"""What is decided about an episode at its start and at its end, for a single environment as for each of a vector.

At the start: its number, whether it is recorded, whether it has video, and under which labels. At the end: how it came
out, whether it is kept, and what its metadata say. Nothing here touches an environment, and of the recording only
:meth:`~robotrace.capture.recording.Recording.end` and :meth:`~robotrace.capture.recording.Recording.discard` are used.
"""

from __future__ import annotations

import logging
import math
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from robotrace import faults
from robotrace.capture.clock import EnvClock
from robotrace.capture.environment import EnvFacts, ResetRecord
from robotrace.capture.options import EpisodeEnd, Options
from robotrace.capture.recording import Recording
from robotrace.capture.triggers import EpisodeStart, TokenBucket, Trigger, as_trigger, cubic, every, rate
from robotrace.context.facts import LONGEST_GIT_SHA, RunFacts, said_by_environment
from robotrace.context.git import find_git_sha
from robotrace.context.launch import launch_facts
from robotrace.context.process import process_facts
from robotrace.context.run import run_facts
from robotrace.context.spans import EpisodeSpan, start_episode_span
from robotrace.context.trace import current_trace
from robotrace.ingest import EpisodeFinalStatus, create_payload

__all__ = [
    "Decisions",
    "Labels",
    "Sampling",
    "Series",
    "Start",
    "Verdict",
    "broken",
    "ended",
    "interrupted",
    "is_wanted",
    "raised",
    "unfinished",
]

_log = logging.getLogger("robotrace")

_BURST = 20
_VIDEO_RATE = "2/min"
"""One video per 30 s at the most, unless ``video_trigger`` says otherwise."""
_TRACEBACK_LINES = 40
_INT64 = 2**63
_MAX_TEXT = 200
"""What the wire takes of a name or version; a longer one is cut rather than refused with its episode."""
_NO_ENV = {"reproducible": False, "reason": "recorded from a loop of its own: no environment is known"}
_OUTCOMES = {True: "success", False: "failure", None: "unknown"}
_NO_FAILURES = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""Somebody ended the program: that says nothing of the policy."""


class Labels(Protocol):
    """What a framework knows of the episodes while they run, asked of it for each one that is recorded.

    What the user said of an episode, or of the run, goes before it.
    """

    def begin(self) -> Mapping[str, Any]:
        """Asked right before the episode's first action: between the reset and it the policy may have learned.

        Returns:
            ``policy_version`` (str), ``seed`` (int, where the reset was given none) and ``metadata`` (a mapping), each
            of which may be missing.
        """

    def end(self) -> Mapping[str, Any]:
        """Asked after its last step: metadata, under other keys than those of :meth:`begin`."""


class Told:
    """What :class:`Labels` say of one episode; asked once, and a failure of theirs costs the labels only."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._begun: Mapping[str, Any] | None = None

    def begin(self) -> Mapping[str, Any]:
        """As the labels', and the same from then on."""
        if self._begun is None:
            try:
                self._begun = self._labels.begin()
            except Exception as exc:
                self._begun = {}
                faults.report("an episode could not be labelled", exc)
        return self._begun

    def end(self) -> Mapping[str, Any]:
        """As the labels'."""
        try:
            return self._labels.end()
        except Exception as exc:
            faults.report("an episode could not be labelled", exc)
            return {}


class _Rules:
    """Which episodes are recorded, and which of those have video, by one set of options and within one series."""

    def __init__(self, options: Options, series: Series) -> None:
        self.options = options
        self.series = series
        self._trigger: Trigger = series.trigger("trigger", options.trigger) or every(options.every_n_episodes)
        self._video_trigger = series.trigger("video_trigger", options.video_trigger, numbers=True) or (
            every(1) if options.video == "deferred" else _seldom()
        )

    def skips_next(self, env_index: int | None) -> bool:
        options, series = self.options, self.series
        if series.full(options):
            return True
        return options.trigger is None and series.peek_index(env_index) % options.every_n_episodes != 0

    def may_start(self, env_index: int | None) -> bool:
        options = self.options
        if self.skips_next(env_index):
            return False
        return options.trigger is not None or options.only != "all" or self.series.may_take(options)

    def takes(self, begun: EpisodeStart) -> bool:
        options = self.options
        if options.trigger is None and begun.episode_index % options.every_n_episodes:
            return False
        if self.series.full(options):
            return False
        return self._trigger(begun) and (options.only != "all" or self.series.take(options))

    def films(self, begun: EpisodeStart, can_render: bool) -> bool:
        options = self.options
        return (options.video == "deferred" or (can_render and options.films)) and self._video_trigger(begun)

    def keeps(self, verdict: Verdict) -> bool:
        wanted = is_wanted(self.options, verdict)
        if self.options.only != "all":
            return wanted and self.series.take(self.options)
        if not wanted:
            self.series.give_back()
        return wanted

    def drop(self) -> None:
        """What was taken was no episode."""
        if self.options.only == "all":
            self.series.give_back(self.options)


@dataclass(frozen=True)
class Start:
    """An episode that is going to be recorded.

    Attributes:
        index: Its number among all episodes, recorded or not, from 0.
        seed: What its reset was given.
        video: Whether it has video, made while it runs.
        labels: The labels as they were at its start.
        run: The run context as it was at its start.
        rules: By which it was decided that it is, and is decided whether it is kept.
        trace: The OpenTelemetry trace it belongs to.
        env_index: Which environment of a vector it is of.
        span: Its own span, where ``otel_spans`` asks for one.
        deferred: Whether its video is left for later.
        told: What the framework says of it.
    """

    index: int
    seed: int | None
    video: bool
    labels: Mapping[str, Any]
    run: RunFacts
    rules: _Rules
    trace: dict[str, str] | None = None
    env_index: int | None = None
    span: EpisodeSpan | None = None
    deferred: bool = False
    told: Told | None = None


@dataclass(frozen=True)
class Verdict:
    """How an episode came out.

    Attributes:
        status: What the deployment is told.
        success: None where nobody knows.
        terminated: Of the last step.
        truncated: Of the last step.
        partial: It did not come to its end: ``keep_partial`` decides whether it is kept.
        outcome: What the caller knows of it, over what the recording shows.
        metadata: The reason, the exception, the last info.
        fault: What went wrong in the recorder.
        error: The exception that ended it.
    """

    status: EpisodeFinalStatus
    success: bool | None
    terminated: bool = False
    truncated: bool = False
    partial: bool = False
    outcome: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None
    error: BaseException | None = None


def ended(options: Options, end: EpisodeEnd) -> Verdict:
    """The verdict on an episode whose last step was terminated or truncated; never raises."""
    success, reason, fault = None, None, None
    metadata: dict[str, Any] = {}
    try:
        success, reason = _judge(options, end)
        if end.info and options.infos is not False:
            metadata["final_info"] = _scalars(end.info)
    except Exception as exc:  # failure() is the user's; an info may be anything
        fault = f"the outcome could not be told: {type(exc).__name__}: {exc}"
        faults.report("the outcome of an episode could not be told", exc)
    if reason is not None:
        metadata["failure_reason"] = reason
    status: EpisodeFinalStatus = "failed" if success is False else "ready"
    return Verdict(status, success, end.terminated, end.truncated, metadata=metadata, fault=fault)


def raised(error: BaseException) -> Verdict:
    """The env or the policy raised: the episode we most want. Ctrl-C and an exit are no failure of the policy."""
    success = None if isinstance(error, _NO_FAILURES) else False
    return Verdict("failed", success, partial=True, metadata=_failure_of(error), error=error)


def interrupted(error: BaseException | None) -> Verdict:
    """The process ends in the middle of the episode, with the exception that ended it where there was one."""
    if error is not None:
        return raised(error)
    reason = "interrupted: the process ended in the middle of the episode"
    return Verdict("failed", None, partial=True, metadata={"failure_reason": reason})


def unfinished() -> Verdict:
    """Closed or reset in the middle."""
    return Verdict("ready", None, partial=True, metadata={"partial": True})


def broken(exc: Exception) -> Verdict:
    """A fault of our own ended the recording; the episode itself went on, so that nobody knows how it came out."""
    return Verdict("ready", None, fault=f"{type(exc).__name__}: {exc}")


def is_wanted(options: Options, verdict: Verdict) -> bool:
    """Whether ``keep_partial`` and ``only`` keep an episode of that outcome; an unknown one is in neither half."""
    if verdict.partial:
        if options.keep_partial == "never":
            return False
        if verdict.status != "failed" and options.keep_partial != "always":
            return False
    if options.only == "failures":
        return verdict.status == "failed"
    if options.only == "successes":
        return verdict.success is True
    return True


class Series:
    """A series of episodes that are numbered and limited together, by one recorder or by several in turn."""

    def __init__(self) -> None:
        self._episodes: dict[int | None, int] = {}
        self._taken = 0
        self._counting = threading.Lock()  # an episode may end on the thread that closes the env
        self._buckets: dict[float, TokenBucket] = {}
        self._triggers: dict[tuple[str, str | int], Trigger] = {}

    def next_index(self, env_index: int | None = None) -> int:
        """The number of the episode that begins; those of each environment of a vector are numbered for themselves."""
        with self._counting:
            index = self._episodes.get(env_index, 0)
            self._episodes[env_index] = index + 1
            return index

    def peek_index(self, env_index: int | None = None) -> int:
        """The number that :meth:`next_index` gives next."""
        return self._episodes.get(env_index, 0)

    def renew(self) -> None:
        """``max_episodes`` is of those that are taken from here on: of each evaluation, for example."""
        with self._counting:
            self._taken = 0

    def may_take(self, options: Options) -> bool:
        """Whether :meth:`take` would count one more now."""
        with self._counting:
            bucket = None if options.max_per_minute is None else self._buckets.get(options.max_per_minute)
            return not self.full(options) and (bucket is None or bucket.ready())

    def full(self, options: Options) -> bool:
        """Whether ``max_episodes`` is reached."""
        return options.max_episodes is not None and self._taken >= options.max_episodes

    def take(self, options: Options) -> bool:
        """Count one more kept episode, where the limits allow it."""
        with self._counting:
            if self.full(options):
                return False
            limit = options.max_per_minute
            if limit is not None and not self._buckets.setdefault(limit, TokenBucket(limit, _BURST)).take():
                return False
            self._taken += 1
        return True

    def give_back(self, options: Options | None = None) -> None:
        """One that was counted is not kept after all: ``max_episodes`` is of those one has in the end.

        Args:
            options: Given where it was no episode at all, so that ``max_per_minute`` is not of it either.
        """
        with self._counting:
            self._taken = max(0, self._taken - 1)  # 0 where it was taken before a renew()
            if options is not None and options.max_per_minute is not None:
                self._buckets[options.max_per_minute].give_back()

    def trigger(self, name: str, value: Any, *, numbers: bool = False) -> Trigger | None:
        """The trigger an option holds; the same text gives the same one, with its memory."""
        if not isinstance(value, (str, int)):
            return as_trigger(name, value)
        if (name, value) not in self._triggers:
            made = as_trigger(name, value, numbers=numbers)
            assert made is not None
            self._triggers[name, value] = made
        return self._triggers[name, value]


@dataclass(frozen=True, eq=False)
class Sampling:
    """By what it is decided which episodes are recorded, where that changes while a framework runs.

    Attributes:
        options: Of them ``every_n_episodes``, ``trigger``, ``max_per_minute``, ``max_episodes`` and ``video_trigger``;
            the others are the recorder's own.
        series: Numbers and limits the episodes.
    """

    options: Options
    series: Series


class Decisions:
    """Triggers, limits and labels of one recorder's episodes, however many envs it has.

    Args:
        options: The plugin's options.
        adapter: The plugin's name, for the metadata.
        series: Shared with other recorders; None for one of its own.
    """

    def __init__(self, options: Options, adapter: str, series: Series | None = None) -> None:
        self.options = options
        self._adapter = adapter
        self._labels: dict[str, Any] = {}
        self.asked: Labels | None = None
        """Who is asked about the episodes to come."""
        self.sampled_by: Callable[[], Sampling | None] | None = None
        """Who is asked which of them are recorded; None: the options say it."""
        self._own = _Rules(options, series or Series())
        self._others: dict[Sampling, _Rules] = {}
        self._told_why_not = False

    def _rules(self) -> _Rules | None:
        """By which it is decided now; None where nothing is recorded now."""
        if self.sampled_by is None:
            return self._own
        sampling = self.sampled_by()
        if sampling is None:
            return None
        found = self._others.get(sampling)
        if found is None:
            found = self._others[sampling] = _Rules(sampling.options, sampling.series)
        return found

    def label(self, *, policy_version: str | None, metadata: Mapping[str, Any] | None, name: str | None) -> None:
        """Change the labels of the episodes to come; None leaves one as it is, ``metadata`` is merged."""
        if policy_version is not None:
            self._labels["policy_version"] = policy_version
        if name is not None:
            self._labels["name"] = name
        if metadata is not None:
            self._labels["metadata"] = {**self._labels.get("metadata", {}), **metadata}

    def skips_next(self, env_index: int | None = None) -> bool:
        """Whether :meth:`start` is not going to record the next episode, whatever its reset returns.

        A trigger of the user's is not asked twice: then ``max_episodes`` alone tells.
        """
        rules = self._rules()
        return rules is None or rules.skips_next(env_index)

    def start(self, seed: int | None, *, can_render: bool, env_index: int | None = None) -> Start | None:
        """Number the episode that begins, and decide whether it is recorded.

        Args:
            seed: What its reset was given.
            can_render: Whether there is anything to make a video of, now.
            env_index: Which environment of a vector.

        Returns:
            None when it is not recorded.
        """
        rules = self._rules()
        if rules is None:
            return None
        begun = EpisodeStart(rules.series.next_index(env_index), seed)
        if not rules.takes(begun):
            return None
        video = rules.films(begun, can_render)
        run = run_facts()
        span = start_episode_span(run.traceparent) if self.options.otel_spans else None
        trace = current_trace() if span is None or span.trace is None else span.trace
        deferred = video and self.options.video == "deferred"
        told = None if self.asked is None else Told(self.asked)
        return Start(
            begun.episode_index,
            seed,
            video and not deferred,
            dict(self._labels),
            run,
            rules,
            trace,
            env_index,
            span,
            deferred,
            told,
        )

    def may_start(self, env_index: int | None = None) -> bool:
        """Whether :meth:`start` could record the next episode, were it called now. Nothing is counted.

        A trigger of the caller's own is not asked, since it may count: then only ``max_episodes`` is looked at.
        """
        rules = self._rules()
        return rules is not None and rules.may_start(env_index)

    def pass_over(self, env_index: int | None = None) -> None:
        """Number the episode that begins; it is not recorded."""
        rules = self._rules()
        if rules is not None:
            rules.series.next_index(env_index)

    def create(
        self,
        start: Start,
        uuid: str,
        *,
        clock: EnvClock,
        facts: EnvFacts | None = None,
        before_reset: Mapping[str, Any] | None = None,
        vector: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """The create payload of an episode that was started.

        Args:
            start: From :meth:`start`.
            uuid: The recording's.
            clock: The episode's.
            facts: The env's; None where there is none.
            before_reset: What :meth:`ResetRecord.before` gave for its reset.
            vector: Of an environment of a vector: ``index``, ``num_envs``, ``autoreset_mode``.
        """
        options, run, said = self.options, start.run, said_by_environment()
        told = {} if start.told is None else start.told.begin()
        # What its reset was given is the episode's own: nothing that is said of many comes before it.
        seeds = (options.seed, start.seed, run.seed, told.get("seed"), said.seed)
        seed = next((seed for seed in seeds if seed is not None), None)
        of_what = run.name or (options.robot if facts is None else facts.env_id)
        which = "" if start.env_index is None else f" env {start.env_index}"
        name = start.labels.get("name") or options.name or (of_what and f"{of_what}{which} #{start.index}")
        reproduce = _NO_ENV if facts is None else ResetRecord.reproduce(facts, dict(before_reset or {}))
        metadata = {
            "adapter": self._adapter,
            **({} if facts is None else {"env": facts.metadata}),
            "episode_index": start.index,
            **({} if vector is None else {"vector": dict(vector)}),
            "clock": clock.source,
            **process_facts(),
            "reproduce": reproduce,
            **({"video": self._later(reproduce, name)} if start.deferred else {}),
            **told.get("metadata", {}),
            **run.as_metadata(tags=options.tags, launch=launch_facts()),
            **options.metadata,
            **start.labels.get("metadata", {}),
        }
        payload = create_payload(
            source=options.source,
            request_uploads=(),
            client_episode_id=uuid,
            name=_fit(name),
            robot=options.robot,
            policy_version=_fit(
                start.labels.get("policy_version")
                or options.policy_version
                or run.policy_version
                or told.get("policy_version")
                or said.policy_version
            ),
            env_version=_fit(
                options.env_version
                or run.env_version
                or said.env_version
                or (None if facts is None else facts.env_version)
            ),
            git_sha=_fit(options.git_sha or run.git_sha or said.git_sha or find_git_sha(), LONGEST_GIT_SHA),
            # A larger one is in metadata.reproduce, which has no column's width.
            seed=seed if seed is not None and -_INT64 <= seed < _INT64 else None,
            fps=clock.fps,
            otel=start.trace,
            metadata=metadata,
        )
        if start.span is not None:
            start.span.describe(
                {
                    "robotrace.episode.id": uuid,
                    "robotrace.episode.index": start.index,
                    "robotrace.env.id": None if facts is None else facts.env_id,
                    "robotrace.policy.version": payload.get("policy_version"),
                    "robotrace.run.id": run.id,
                    "vcs.ref.head.revision": payload.get("git_sha"),
                }
            )
        return payload

    def finish(self, start: Start, recording: Recording, verdict: Verdict, *, fps: float | None) -> None:
        """Keep the recording, with its outcome, or discard it.

        Args:
            start: From :meth:`start`.
            recording: What was recorded; ended when this returns.
            verdict: How it came out.
            fps: Steps a second on its clock.
        """
        if not start.rules.keeps(verdict):
            recording.discard()
            return
        total = recording.reward_total
        outcome = {
            "success": verdict.success,
            "reward_total": total if math.isfinite(total) else None,
            "steps": recording.steps,
            "terminated": verdict.terminated,
            "truncated": verdict.truncated,
            **verdict.outcome,
        }
        recording.end(
            verdict.status,
            {"outcome": outcome, **({} if start.told is None else start.told.end()), **verdict.metadata},
            fps=fps,
            failure_time_s=recording.duration_s if verdict.status == "failed" else None,
            fault=verdict.fault,
        )
        if start.span is not None:
            start.span.describe(
                {
                    "robotrace.episode.length": recording.steps,
                    "robotrace.episode.return": outcome["reward_total"],
                    "robotrace.episode.outcome": _OUTCOMES[verdict.success],
                }
            )
            failed = verdict.metadata.get("failure_reason", "") if verdict.status == "failed" else None
            start.span.end(failed=failed, error=verdict.error)

    def drop(self, start: Start, recording: Recording) -> None:
        """It was no episode: keep nothing, and count it nowhere.

        Args:
            start: From :meth:`start`.
            recording: What was recorded; ended when this returns.
        """
        recording.discard()
        start.rules.drop()
        if start.span is not None:
            start.span.end(failed=None, error=None)

    def _later(self, reproduce: Mapping[str, Any], name: str | None) -> dict[str, Any]:
        """What ``metadata.video`` says of a video that is made later, or why none can be."""
        options = self.options
        if reproduce["reproducible"]:
            return {"deferred": True, "every_n_steps": options.video_every_n_steps, "max_edge": options.video_size}
        reason = reproduce["reason"]
        if not self._told_why_not:
            self._told_why_not = True
            _log.warning(
                "no video of episode %s can be made later, since it cannot be run again: %s. Of an environment in this "
                "process that is made with render_mode='rgb_array', video=True or 'auto' makes it at once. (Said "
                "once; metadata.video of each such episode says why.)",
                name,
                reason,
            )
        return {"deferred": False, "reason": reason}


def _judge(options: Options, end: EpisodeEnd) -> tuple[bool | None, str | None]:
    signal = end.info.get(options.success_key)
    success = None if signal is None else bool(signal)
    if options.failure is not None:
        if options.failure(end):
            return False, f"failure() said so at step {end.steps}"
        return success, None
    if success is False:
        how = "terminated" if end.terminated else "truncated"
        return False, f"{options.success_key} is false at the end ({how} at step {end.steps})"
    return success, None


def _seldom() -> Trigger:
    schedule, limit = cubic(), rate(_VIDEO_RATE)
    return lambda start: schedule(start) and limit(start)


def _fit(text: str | None, longest: int = _MAX_TEXT) -> str | None:
    return None if text is None else text[:longest]


def _failure_of(error: BaseException) -> dict[str, Any]:
    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines()
    if len(lines) > _TRACEBACK_LINES:
        half = _TRACEBACK_LINES // 2
        lines = [*lines[:half], "…", *lines[-half:]]
    try:
        message = str(error)
    except Exception:  # an exception of the user's own, with a __str__ that fails
        message = lines[-1]
    return {
        "failure_reason": f"{type(error).__name__}: {message}" if message else type(error).__name__,
        "exception": {"type": type(error).__name__, "message": message, "traceback": lines},
    }


def _scalars(info: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers, flags and texts of an info dict; arrays and objects are left out."""
    found: dict[str, Any] = {}
    for key, value in info.items():
        if isinstance(value, (bool, int, float, str)):
            found[str(key)] = value
        elif getattr(value, "shape", None) == () and hasattr(value, "item"):
            found[str(key)] = value.item()
    return found
