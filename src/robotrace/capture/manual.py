"""Episodes of a loop that has no environment: a real robot, a simulator of one's own, a log that is played back."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from robotrace import faults
from robotrace.capture.clock import EnvClock
from robotrace.capture.decisions import Decisions, Series, Start, Verdict, broken, ended, interrupted, raised
from robotrace.capture.options import EpisodeEnd, Options
from robotrace.capture.process import RecordingProcess
from robotrace.capture.recorder import register
from robotrace.capture.recording import Recording
from robotrace.types import encode

__all__ = ["LoopEpisode"]

_log = logging.getLogger("robotrace")

_ADAPTER = "record"
_CAMERA = "camera"
"""The name of the one camera of a loop that does not name it."""
_STREAMS = frozenset({"observation", "action", "reward", "terminated", "truncated", "info", "wall_clock"})
"""Names of streams that are no sensor's."""

_LONGEST_S = 2.0**33
"""272 years: what is further from the first step is no time in seconds, and no int64 of nanoseconds."""

_series = Series()
"""Of this process: every loop's episodes are numbered and limited together, since each ``with`` is a recorder anew."""


class _Timeline:
    """When each step was, on one clock: the caller's, or ours.

    Attributes:
        source: ``caller``, ``fps`` or ``monotonic``; the first step decides.
        step_ns: The length of a step, where the ``fps`` option says it.
        out_of_order: Steps earlier than one before them.
        unstamped: Steps whose own time could not be used: missing among others that had one, no number, or
            centuries from the first.
    """

    def __init__(self, options: Options, now: Callable[[], int]) -> None:
        self.source: str | None = None
        self.step_ns = None if options.fps is None else round(1e9 / options.fps)
        self.out_of_order = 0
        self.unstamped = 0
        self._counted = options.source != "real" and self.step_ns is not None
        self._now = now
        self._steps = 0
        self._first_s = 0.0
        self._last_ns = 0
        self._latest_ns = 0
        self._last_now = 0
        self._first_now = 0

    def stamp(self, t: Any) -> int:
        """Nanoseconds since the first step, of one that is at ``t`` seconds of the caller's clock."""
        now = self._now()
        seconds = _seconds(t)
        if self.source is None:
            self.source = "caller" if seconds is not None else "fps" if self._counted else "monotonic"
            self._first_s, self._first_now, self._last_now = seconds or 0.0, now, now
        if seconds is not None and abs(seconds - self._first_s) > _LONGEST_S:
            seconds = None
        if (seconds is None) is (self.source == "caller") or (t is not None and seconds is None):
            self.unstamped += 1
        if self.source == "caller":
            # One without a time among others with one was so much later as our own clock says.
            stamp = self._last_ns + now - self._last_now if seconds is None else round((seconds - self._first_s) * 1e9)
        elif self.source == "fps":
            stamp = self._steps * (self.step_ns or 0)
        else:
            stamp = now - self._first_now
        self.out_of_order += stamp < self._latest_ns
        self._last_ns, self._latest_ns, self._last_now = stamp, max(stamp, self._latest_ns), now
        self._steps += 1
        return stamp

    def faults(self) -> dict[str, int]:
        """What was not as it should be with the stamps."""
        return {
            key: value for key, value in (("out_of_order", self.out_of_order), ("unstamped", self.unstamped)) if value
        }


class LoopEpisode:
    """One episode of a user's own loop, as a context manager; made by :func:`robotrace.record`.

    Nothing in here raises for a fault of the recorder, and the loop's own exceptions pass. Several threads may call
    :meth:`step`, a camera's and a controller's for example.

    Args:
        options: The options; a ``video_trigger`` that is not given means every episode, since nothing is rendered.
        process: Gives this process's recording half; None records nothing, and all calls are no-ops.
        clock: Monotonic nanoseconds, for steps that bring no time of their own.
    """

    def __init__(
        self,
        options: Options,
        process: Callable[[], RecordingProcess | None] | None,
        *,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        if options.video_trigger is None:
            options = dataclasses.replace(options, video_trigger=1)
        self._options = options
        self._process = process
        self._decisions = Decisions(options, _ADAPTER, _series)
        self._start: Start | None = None
        self._current: Recording | None = None
        self._entered = False
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._time = _Timeline(options, clock)
        self._framed = 0
        self._last: dict[str, Any] = {}
        self._actions = 0
        self._outcome: dict[str, Any] = {}
        self._failure: str | None = None

    @property
    def recording(self) -> bool:
        """Whether anything is recorded: the episode is open, sampled, and recording is switched on."""
        return self._current is not None

    def __enter__(self) -> LoopEpisode:
        """Decide whether the episode is recorded, and begin."""
        if self._entered:
            raise RuntimeError("an episode is recorded once; call robotrace.record() again for the next one")
        self._entered = True
        try:
            self._begin()
        except Exception as exc:
            self._give_up(exc)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the episode: as failed where an exception is on its way, which goes on."""
        try:
            # A generator that is closed early ends its episode early, and that is all.
            ends = error is None or isinstance(error, GeneratorExit)
            self._end(self._judge if ends else lambda _: raised(error))  # type: ignore[arg-type]
        except Exception as exc:
            self._give_up(exc)

    def step(
        self,
        *,
        observation: Any = None,
        action: Any = None,
        reward: float | None = None,
        terminated: bool | None = None,
        truncated: bool | None = None,
        info: Mapping[str, Any] | None = None,
        frames: Any = None,
        sensors: Mapping[str, Any] | None = None,
        t: float | None = None,
    ) -> None:
        """One moment of the loop. Every stream has its own times: what is not given at a moment has no row there.

        Args:
            observation: What the policy saw: an array, or a nest of dicts and tuples of them.
            action: What it did.
            reward: What it got.
            terminated: Whether the task came to its end.
            truncated: Whether it was cut short.
            info: As Gymnasium's; the ``infos`` option says what is kept.
            frames: A picture, or a dict of them by camera name: (H, W, 3) uint8, or what
                :func:`robotrace.capture.frames.as_rgb` takes.
            sensors: Further values by name: numbers, arrays, :mod:`robotrace.types`; each may come at a rate of its
                own.
            t: Seconds on the caller's clock (of any epoch); the first is 0 of the episode. None in all steps: the
                monotonic clock, or, with ``source="sim"`` and ``fps``, a step of it. One that is earlier than the last
                is kept as it is, and counted in the metadata.
        """
        if self._current is None:
            if not self._entered:
                raise RuntimeError("an episode is recorded inside `with robotrace.record(...) as episode:`")
            return
        given = {
            "observation": observation,
            "action": action,
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            "info": info,
        }
        try:
            with self._lock:
                if self._current is not None:
                    self._take({key: value for key, value in given.items() if value is not None}, frames, sensors, t)
        except Exception as exc:
            self._give_up(exc)

    def outcome(self, *, success: bool | None = None, reward_total: float | None = None, **more: Any) -> None:
        """Say how the episode came out; may be called several times, the last word on each field holds.

        Args:
            success: Whether the task was done; False makes it a failed episode.
            reward_total: Instead of the sum of the rewards.
            **more: Further fields: ``collision_count``, ``time_to_goal_s``, or what the task has.
        """
        given = {"success": success, "reward_total": reward_total, **more}
        self._outcome.update({key: value for key, value in given.items() if value is not None})

    def fail(self, reason: str) -> None:
        """Say that the episode failed, and why; it goes on until the end of the ``with``."""
        self._failure = str(reason)

    def interrupt(self, error: BaseException | None) -> None:
        """The process ends in the middle of the episode."""
        try:
            self._end(lambda _: interrupted(error))
        except Exception as exc:
            self._give_up(exc)

    def abandon(self) -> None:
        """In a forked child: the episode is the parent's."""
        self._current = None

    def _begin(self) -> None:
        process = self._process
        if process is None:
            return
        start = self._decisions.start(self._options.seed, can_render=True)
        if start is None:
            return
        half = process()
        if half is None:
            return
        recording = Recording(
            half,
            EnvClock(_ADAPTER, self._time.step_ns),
            functools.partial(self._create, start),
            options=self._options,
        )
        recording.open()
        self._start, self._current = start, recording
        register(self)

    def _create(self, start: Start, uuid: str) -> Mapping[str, Any]:
        # Asked for at the first block: the first step has said by then whose clock it is.
        return self._decisions.create(start, uuid, clock=EnvClock(self._time.source or "monotonic", self._time.step_ns))

    def _take(self, given: dict[str, Any], frames: Any, sensors: Mapping[str, Any] | None, t: Any) -> None:
        assert self._current is not None
        assert self._start is not None
        action = given.pop("action", None)
        for name in ("terminated", "truncated"):
            if name in given:
                given[name] = self._last[name] = bool(given[name])
        if "info" in given:
            info = given.pop("info")
            # Asked at the end of the episode, when the caller may have filled it anew.
            self._last["info"] = dict(info) if isinstance(info, Mapping) else {}
            wanted = self._options.infos
            if wanted is True:
                given["info"] = dict(info)
            elif not isinstance(wanted, (bool, str)):
                given["info"] = {key: info[key] for key in wanted if key in info}
        for name, value in (sensors or {}).items():
            if value is not None:
                given[f"sensors.{name}" if name in _STREAMS else str(name)] = encode(value)
        self._actions += action is not None
        stamp = self._time.stamp(t)
        self._current.sample(stamp, given, {} if action is None else {"action": action})
        if frames is not None and self._start.video:
            self._pictures(frames, stamp)

    def _pictures(self, frames: Any, t_ns: int) -> None:
        assert self._current is not None
        count, self._framed = self._framed, self._framed + 1
        if count % self._options.video_every_n_steps:
            return
        for name, frame in frames.items() if isinstance(frames, Mapping) else ((_CAMERA, frames),):
            self._current.frame(frame, str(name), t_ns=t_ns)

    def _steps(self, current: Recording) -> int:
        # A sensor that comes between two actions is no step of the policy.
        return self._actions or current.steps

    def _judge(self, current: Recording) -> Verdict:
        """At the end of the ``with``: what the caller says, else what the flags and the info do."""
        info = self._last.get("info") or {}
        end = EpisodeEnd(
            self._steps(current),
            current.reward_total,
            bool(self._last.get("terminated")),
            bool(self._last.get("truncated")),
            info,
        )
        verdict = ended(self._options, end)
        success, reason = self._outcome.get("success"), self._failure
        if success is None and reason is None:
            return verdict
        metadata = {key: value for key, value in verdict.metadata.items() if key != "failure_reason"}
        if success and reason is None:
            return dataclasses.replace(verdict, status="ready", success=True, metadata=metadata)
        metadata["failure_reason"] = "outcome(success=False)" if reason is None else reason
        return dataclasses.replace(verdict, status="failed", success=False, metadata=metadata)

    def _end(self, judge: Callable[[Recording], Verdict]) -> None:
        with self._lock:
            start, current, self._current = self._start, self._current, None
        if start is None or current is None or self._pid != os.getpid():
            return
        verdict = judge(current)
        outcome = {key: value for key, value in self._outcome.items() if key != "success"}
        stamps = self._time.faults()
        self._decisions.finish(
            start,
            current,
            dataclasses.replace(
                verdict,
                outcome={"steps": self._steps(current), **outcome},
                metadata={**verdict.metadata, **({"stamps": stamps} if stamps else {})},
            ),
            fps=self._options.fps,
        )

    def _give_up(self, exc: Exception) -> None:
        try:
            self._end(lambda _: broken(exc))
        except Exception as second:
            _log.debug("the broken episode could not be ended either", exc_info=second)
        faults.report("recording stopped for this episode", exc)


def _seconds(t: Any) -> float | None:
    try:
        seconds = float(t)
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) else None
