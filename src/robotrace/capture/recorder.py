"""The recorder of one environment: which episodes, under which names, with which end.

A plugin calls it around ``reset`` and ``step``; what it does may fail, what the plugin's user does may not notice.
After the first fault of our own the recorder passes everything through for the rest of that episode.
"""

from __future__ import annotations

import functools
import logging
import math
import operator
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from robotrace import faults
from robotrace.capture.clock import EnvClock, find_clock
from robotrace.capture.environment import EnvFacts, ResetRecord
from robotrace.capture.options import EpisodeEnd, Options
from robotrace.capture.process import RecordingProcess
from robotrace.capture.recording import Recording
from robotrace.capture.triggers import EpisodeStart, TokenBucket, Trigger, cubic, every, rate
from robotrace.context.git import find_git_sha
from robotrace.context.host import host_facts, run_id, versions
from robotrace.context.trace import current_trace
from robotrace.ingest import EpisodeFinalStatus, create_payload

__all__ = ["EpisodeRecorder", "open_recorders"]

_log = logging.getLogger("robotrace")

_BURST = 20
_VIDEO_RATE = "2/min"
"""One video per 30 s at the most, unless ``video_trigger`` says otherwise."""
_TRACEBACK_LINES = 40
_INT64 = 2**63
_MAX_TEXT = 200
"""What the wire takes of a name or version; a longer one is cut rather than refused with its episode."""

_F = TypeVar("_F", bound=Callable[..., None])

_open: weakref.WeakSet[EpisodeRecorder] = weakref.WeakSet()


def open_recorders() -> list[EpisodeRecorder]:
    """The recorders that are alive in this process."""
    return list(_open)


def _contained(method: _F) -> _F:
    """Our fault ends our recording, not the user's run."""

    @functools.wraps(method)
    def call(self: EpisodeRecorder, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as exc:
            self._give_up(exc)

    return call  # type: ignore[return-value]


class EpisodeRecorder:
    """Records the episodes of one single environment.

    Args:
        env: The environment; kept weakly, asked for facts and its clock only.
        options: The plugin's options.
        process: Gives this process's recording half; called with the first episode that is recorded.
        adapter: The plugin's name, for the metadata.
        render: Gives the current picture; None when the env has none.

    Attributes:
        recording: Whether the current episode is being recorded; a plugin may skip the other calls while it is
            False.
    """

    def __init__(
        self,
        env: Any,
        options: Options,
        process: Callable[[], RecordingProcess | None],
        *,
        adapter: str,
        render: Callable[[], Any] | None = None,
    ) -> None:
        self.recording = False
        self._options = options
        self._process = process
        self._adapter = adapter
        self._render = render
        self._env = weakref.ref(env)
        self._labels: dict[str, Any] = {}
        self._facts: EnvFacts | None = None
        self._clock = EnvClock("wall")
        self._resets = ResetRecord()
        self._trigger: Trigger = options.trigger or every(options.every_n_episodes)
        self._bucket = None if options.max_per_minute is None else TokenBucket(options.max_per_minute, _BURST)
        self._video_trigger = _video_trigger(options.video_trigger)
        self._episode_index = 0
        self._recorded = 0
        self._current: Recording | None = None
        self._frames = False
        self._before_reset: dict[str, Any] = {}
        self._seed: int | None = None
        self._trace: dict[str, str] | None = None
        self._last: tuple[bool, bool, Mapping[str, Any]] = (False, False, {})
        self._pid = os.getpid()
        self._ending = threading.Lock()
        _open.add(self)

    def set(
        self,
        *,
        policy_version: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        """Change the labels from the next episode on: a training's policy is a new one every few episodes.

        Args:
            policy_version: The new policy; None leaves it.
            metadata: Merged over the present one.
            name: The new name; None leaves it.
        """
        if policy_version is not None:
            self._labels["policy_version"] = policy_version
        if name is not None:
            self._labels["name"] = name
        if metadata is not None:
            self._labels["metadata"] = {**self._labels.get("metadata", {}), **metadata}

    @_contained
    def before_reset(self, seed: Any, options: Mapping[str, Any] | None) -> None:
        """A reset is about to happen: an episode still open is unfinished."""
        self._close_unfinished()
        # Emptied first: what cannot be read now must not be that of the reset before.
        self._seed, self._before_reset = None, {}
        self._seed = None if seed is None else operator.index(seed)
        self._before_reset = self._resets.before(self._env(), self._seed, options)

    @_contained
    def after_reset(self, result: tuple[Any, Any]) -> None:
        """What ``env.reset`` returned, (observation, info): decide, and begin."""
        observation = result[0]
        index = self._episode_index
        self._episode_index += 1
        start = EpisodeStart(index, self._seed)
        options = self._options
        if options.max_episodes is not None and self._recorded >= options.max_episodes:
            return
        if not self._trigger(start) or (self._bucket is not None and not self._bucket.take()):
            return
        process = self._process()
        if process is None:
            return
        self._recorded += 1
        self._trace = current_trace()
        self._pid = os.getpid()
        if self._facts is None:
            env = self._env()
            self._facts = EnvFacts(env)
            self._clock = find_clock(getattr(env, "unwrapped", env), options.fps)
        self._current = Recording(
            process,
            self._clock,
            functools.partial(self._create, index, dict(self._labels)),
            keep_dropped=options.keep_partial == "always",
        )
        self._frames = self._render is not None and bool(options.video) and self._video_trigger(start)
        self._last = (False, False, {})
        self._current.begin(observation)
        self.recording = True
        self._picture()

    def before_step(self, action: Any) -> None:
        """An action is about to be taken."""
        try:
            self._current.act(action)  # type: ignore[union-attr]
        except Exception as exc:
            self._give_up(exc)

    def after_step(self, result: tuple[Any, Any, Any, Any, Any]) -> None:
        """What ``env.step`` returned; with ``terminated`` or ``truncated`` the episode ends here."""
        current = self._current
        if current is None:
            return
        try:
            observation, reward, terminated, truncated, info = result
            current.result(observation, reward, terminated, truncated)
            if self._frames:
                self._picture()
            if terminated or truncated:
                self._last = (bool(terminated), bool(truncated), info)
                self._finish()
        except Exception as exc:
            self._give_up(exc)

    @_contained
    def failed(self, error: BaseException) -> None:
        """The env (or the policy) raised: the episode we most want."""
        if self._current is not None:
            self._finish_failed(error)

    @_contained
    def close(self, error: BaseException | None = None) -> None:
        """The env is closed; ``error`` is the exception under way, if there is one."""
        if self._current is not None and error is not None:
            self._finish_failed(error)
        else:
            self._close_unfinished()

    @_contained
    def interrupt(self, error: BaseException | None) -> None:
        """The process ends in the middle of the episode."""
        current = self._take()
        if current is None:
            return
        if self._options.keep_partial == "never":
            current.discard()
        elif error is not None:
            self._end(current, "failed", _failure_of(error), success=False)
        else:
            reason = "interrupted: the process ended in the middle of the episode"
            self._end(current, "failed", {"failure_reason": reason}, success=None)

    def abandon(self) -> None:
        """In a forked child: the open episode is the parent's."""
        self._current = None
        self.recording = False

    def _create(self, index: int, labels: Mapping[str, Any], uuid: str) -> Mapping[str, Any]:
        options, facts = self._options, self._facts
        assert facts is not None
        metadata = {
            "adapter": self._adapter,
            "env": facts.metadata,
            "episode_index": index,
            "clock": self._clock.source,
            "run_id": run_id(),
            "host": host_facts(),
            "versions": versions(),
            "reproduce": ResetRecord.reproduce(facts, self._before_reset),
            **({"tags": list(options.tags)} if options.tags else {}),
            **options.metadata,
            **labels.get("metadata", {}),
        }
        seed = self._seed if options.seed is None else options.seed
        return create_payload(
            source=options.source,
            request_uploads=(),
            client_episode_id=uuid,
            name=_fit(labels.get("name") or options.name or f"{facts.env_id} #{index}"),
            robot=options.robot,
            policy_version=_fit(labels.get("policy_version") or options.policy_version),
            env_version=_fit(options.env_version or facts.env_version),
            git_sha=options.git_sha or find_git_sha(),
            # A larger one is in metadata.reproduce, which has no column's width.
            seed=seed if seed is not None and -_INT64 <= seed < _INT64 else None,
            fps=self._fps(),
            otel=self._trace,
            metadata=metadata,
        )

    def _fps(self) -> float | None:
        return None if self._clock.step_ns is None else round(1e9 / self._clock.step_ns, 6)

    def _picture(self) -> None:
        if not self._frames or self._render is None or self._current is None:
            return
        try:
            self._current.frame(self._render())
            if self._current.video_fault is not None:
                self._frames = False
        except Exception as exc:  # no GL, a broken renderer, a dead encoder: the video goes, the episode stays
            self._frames = False
            self._current.video_fault = f"{type(exc).__name__}: {exc}"
            faults.report("the video stops", exc)

    def _finish(self) -> None:
        current = self._take()
        if current is None:
            return
        terminated, truncated, info = self._last
        success, reason, fault = None, None, None
        metadata: dict[str, Any] = {}
        try:
            success, reason = self._judge(current, terminated, truncated, info)
            metadata = {"final_info": _scalars(info)} if info else {}
        except Exception as exc:  # failure() is the user's; an info may be anything
            fault = f"the outcome could not be told: {type(exc).__name__}: {exc}"
            faults.report("the outcome of an episode could not be told", exc)
        if reason is not None:
            metadata["failure_reason"] = reason
        self._end(current, "failed" if success is False else "ready", metadata, success=success, fault=fault)

    def _judge(
        self, current: Recording, terminated: bool, truncated: bool, info: Mapping[str, Any]
    ) -> tuple[bool | None, str | None]:
        options = self._options
        signal = info.get(options.success_key)
        success = None if signal is None else bool(signal)
        if options.failure is not None:
            end = EpisodeEnd(current.steps, current.reward_total, terminated, truncated, info)
            if options.failure(end):
                return False, f"failure() said so at step {current.steps}"
            return success, None
        if success is False:
            how = "terminated" if terminated else "truncated"
            return False, f"{options.success_key} is false at the end ({how} at step {current.steps})"
        return success, None

    def _finish_failed(self, error: BaseException) -> None:
        current = self._take()
        if current is None:
            return
        if self._options.keep_partial == "never":
            current.discard()
        else:
            self._end(current, "failed", _failure_of(error), success=False)

    def _close_unfinished(self) -> None:
        current = self._take()
        if current is None:
            return
        if self._options.keep_partial == "always":
            self._end(current, "ready", {"partial": True}, success=None)
        else:
            current.discard()

    def _take(self) -> Recording | None:
        # One of the training thread, close() and the exit hook ends an episode; whoever comes second finds none.
        with self._ending:
            current, self._current = self._current, None
            self.recording = False
        return None if self._pid != os.getpid() else current

    def _end(
        self,
        current: Recording,
        status: EpisodeFinalStatus,
        metadata: dict[str, Any],
        *,
        success: bool | None,
        fault: str | None = None,
    ) -> None:
        terminated, truncated, _ = self._last
        total = current.reward_total
        outcome = {
            "success": success,
            "reward_total": total if math.isfinite(total) else None,
            "steps": current.steps,
            "terminated": terminated,
            "truncated": truncated,
        }
        current.end(
            status,
            {"outcome": outcome, **metadata},
            fps=self._fps(),
            failure_time_s=current.duration_s if status == "failed" else None,
            fault=fault,
        )

    def _give_up(self, exc: Exception) -> None:
        current = self._take()
        try:
            if current is not None:
                self._end(current, "ready", {}, success=None, fault=f"{type(exc).__name__}: {exc}")
        except Exception as second:
            _log.debug("the broken episode could not be ended either", exc_info=second)
        faults.report("recording stopped for this episode", exc)


def _video_trigger(given: int | Trigger | None) -> Trigger:
    if isinstance(given, int):
        return every(given)
    if given is not None:
        return given
    schedule, limit = cubic(), rate(_VIDEO_RATE)
    return lambda start: schedule(start) and limit(start)


def _fit(text: str | None) -> str | None:
    return None if text is None else text[:_MAX_TEXT]


def _failure_of(error: BaseException) -> dict[str, Any]:
    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines()
    if len(lines) > _TRACEBACK_LINES:
        half = _TRACEBACK_LINES // 2
        lines = [*lines[:half], "…", *lines[-half:]]
    return {
        "failure_reason": f"{type(error).__name__}: {error}",
        "exception": {"type": type(error).__name__, "message": str(error), "traceback": lines},
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
