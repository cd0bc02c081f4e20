"""The recorder of one single environment: the order of the calls around its steps, and containment of our own faults.

A plugin calls it around ``reset`` and ``step``; what it does may fail, what the plugin's user does may not notice.
After the first fault of our own the recorder passes everything through for the rest of that episode.
"""

from __future__ import annotations

import functools
import logging
import operator
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from robotrace import faults
from robotrace.capture.clock import EnvClock, find_clock, read_attribute
from robotrace.capture.decisions import (
    Decisions,
    Labels,
    Sampling,
    Series,
    Start,
    Verdict,
    broken,
    ended,
    interrupted,
    raised,
    unfinished,
)
from robotrace.capture.environment import EnvFacts, ResetRecord
from robotrace.capture.options import EpisodeEnd, Options
from robotrace.capture.process import RecordingProcess
from robotrace.capture.recording import Recording
from robotrace.capture.rendering import Renderer

__all__ = ["EpisodeRecorder", "Interruptible", "is_inner", "open_recorders", "register", "resetting"]

_log = logging.getLogger("robotrace")


class Interruptible(Protocol):
    """What :mod:`robotrace.session` needs of a recorder, whatever it records."""

    def interrupt(self, error: BaseException | None) -> None:
        """The process ends, with the exception that ended it where there was one."""

    def abandon(self) -> None:
        """In a forked child: the open episodes are the parent's."""


_F = TypeVar("_F", bound=Callable[..., None])

_open: weakref.WeakSet[Interruptible] = weakref.WeakSet()


class _Resetting(threading.local):
    """The outermost recorder whose env is being reset in this thread: those of the envs inside it stay silent.

    That is all it takes for one record per episode: a recorder that began no episode records no step.
    """

    recorder: Interruptible | None = None


_resetting = _Resetting()


def resetting(recorder: Interruptible | None) -> None:
    """In this thread, the envs inside the one of ``recorder`` are being reset from here on; None: no longer."""
    _resetting.recorder = recorder


def is_inner(recorder: Interruptible) -> bool:
    """Whether the env is being reset inside another one that is recorded."""
    return _resetting.recorder is not None and _resetting.recorder is not recorder


def register(recorder: Interruptible) -> None:
    """Have a recorder told when the process ends or forks; kept weakly."""
    _open.add(recorder)


def open_recorders() -> list[Interruptible]:
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


def _nothing(_: Any) -> None:
    """Between episodes, and in those that are not recorded."""


def _also(
    recording: Recording,
    beside: Callable[[], Mapping[str, Any]],
    before_step: Callable[[Any], None],
    fault: Callable[[Exception], None],
) -> Callable[[Any], None]:
    def before(action: Any) -> None:
        try:
            recording.beside(beside())
        except Exception as exc:
            fault(exc)
            return
        before_step(action)

    return before


class EpisodeRecorder:
    """Records the episodes of one single environment.

    Args:
        env: The environment; kept weakly, asked for facts and its clock only.
        options: The plugin's options.
        process: Gives this process's recording half; called with the first episode that is recorded.
        adapter: The plugin's name, for the metadata.
        renderer: Gives the current picture; None when the env has none.
        series: Shared with the recorders of other envs; None for one of its own.
        vector: Of an env that is one of several: its ``index``, and what else the metadata say of them.
        beside: Asked before each action for further streams, by name: they have a row for each action.

    Attributes:
        recording: Whether the current episode is being recorded; a plugin may skip the other calls while it is
            False.
        before_step: To be called with the action about to be taken. Another function in each episode: look it up
            for each step.
        after_step: To be called with what ``env.step`` returned; with ``terminated`` or ``truncated`` the episode
            ends here. Another function in each episode.
        renderer: As given.
        silent: The env was reset inside another one that is recorded: that one's recorder has the episode.
        automatic: Nobody has asked for this one by name: whoever does takes the environment over.
        picture_is_stale: What ``renderer`` would show is no longer this episode: nothing is rendered.
    """

    before_step: Callable[[Any], None]
    after_step: Callable[[Any], None]
    automatic = False

    def __init__(
        self,
        env: Any,
        options: Options,
        process: Callable[[], RecordingProcess | None],
        *,
        adapter: str,
        renderer: Renderer | None = None,
        series: Series | None = None,
        vector: Mapping[str, Any] | None = None,
        beside: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.recording = False
        self.silent = False
        self.picture_is_stale = False
        self.before_step = self.after_step = _nothing
        self._options = options
        self._decisions = Decisions(options, adapter, series)
        self._process = process
        self._vector = vector
        self._index: int | None = None if vector is None else vector["index"]
        self._beside = beside
        self._suspended = False
        self._calls: tuple[Callable[[Any], None], Callable[[Any], None]] = (_nothing, _nothing)
        self.renderer = renderer
        self._env = weakref.ref(env)
        self._facts: EnvFacts | None = None
        self._clock = EnvClock("wall")
        self._resets = ResetRecord()
        self._start: Start | None = None
        self._current: Recording | None = None
        self._before_reset: dict[str, Any] = {}
        self._seed: int | None = None
        self._pid = os.getpid()
        self._ending = threading.Lock()
        register(self)

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
        self._decisions.label(policy_version=policy_version, metadata=metadata, name=name)

    def ask(self, labels: Labels | None) -> None:
        """Have a framework asked about each of the episodes to come; None: nobody any more."""
        self._decisions.asked = labels

    def sample_by(self, sampling: Callable[[], Sampling | None] | None) -> None:
        """Have a framework asked at each reset which episodes are recorded; None: the options say it again.

        Args:
            sampling: Returns by what it is decided now, and the same object as long as that is the same; None: nothing
                is recorded now.
        """
        self._decisions.sampled_by = sampling

    def suspend(self) -> None:
        """Begin no episode until :meth:`resume`: whoever steps the env now is not the one whose episodes these are.

        An open episode goes on after :meth:`resume`, unless somebody steps or resets the env before: then, and when
        the process ends, it was left in the middle.
        """
        if not self._suspended:
            self._suspended = True
            self._calls = self.before_step, self.after_step
            if self._current is not None:
                self.before_step, self.after_step = self._leave, _nothing

    def resume(self) -> None:
        """Undo :meth:`suspend`."""
        if self._suspended:
            self._suspended = False
            if self._current is not None:
                self.before_step, self.after_step = self._calls

    @_contained
    def _leave(self, _: Any) -> None:
        self._end(unfinished)

    def before_reset(self, seed: Any, options: Mapping[str, Any] | None) -> None:
        """A reset is about to happen: an episode still open is unfinished.

        :meth:`after_reset` or :meth:`failed` must follow.
        """
        try:  # a decorator takes 0.3 µs more, and a training of short episodes resets in every tenth step
            if _resetting.recorder is None and not self._suspended:  # else those inside may have the episode
                _resetting.recorder = self
            if self._current is not None or self.recording:  # not in vain: a training resets 1,000 times a second
                self._end(unfinished)
            # Emptied first: what cannot be read now must not be that of the reset before.
            self._seed, self._before_reset = None, {}
            self._seed = None if seed is None else operator.index(seed)
            if self._decisions.skips_next(self._index):
                self._resets.count(self._seed)
            else:
                self._before_reset = self._resets.before(self._env(), self._seed, options)
        except Exception as exc:
            self._give_up(exc)

    def after_reset(self, result: tuple[Any, Any]) -> None:
        """What ``env.reset`` returned, (observation, info): decide, and begin."""
        try:
            self.silent = _resetting.recorder is not self
            if self.silent:
                return
            _resetting.recorder = None
            if self.renderer is not None:
                self.renderer.forget()
            if self._suspended:
                return
            start = self._decisions.start(self._seed, can_render=self.renderer is not None, env_index=self._index)
            if start is not None:
                self._begin(start, result[0])
        except Exception as exc:
            self._give_up(exc)

    def _begin(self, start: Start, observation: Any) -> None:
        process = self._process()
        if process is None:
            return
        self._pid = os.getpid()
        env = self._env()
        if self._facts is None:
            self._facts = EnvFacts(env)
            self._clock = find_clock(getattr(env, "unwrapped", env), self._options.fps)
        facts, clock, before_reset = self._facts, self._clock, self._before_reset
        if before_reset:
            self._resets.after(env, before_reset)
        create, vector = self._decisions.create, self._vector
        recording = Recording(
            process,
            clock,
            lambda uuid: create(start, uuid, facts=facts, clock=clock, before_reset=before_reset, vector=vector),
            options=self._options,
            keep_dropped=self._options.keep_partial == "always" and self._options.only == "all",
            observation_space=read_attribute(env, "observation_space"),
            action_space=read_attribute(env, "action_space"),
        )
        self._start, self._current = start, recording
        recording.begin(observation)
        picture = self._picture if start.video else None
        self.before_step, self.after_step = recording.step_calls(picture, self._ended, self._give_up)
        self.recording = True
        if self._beside is not None:
            self.before_step = _also(recording, self._beside, self.before_step, self._give_up)
        if start.told is not None:
            # The first picture makes the episode's intent, which has the labels in it.
            self._wait_for_first_action(start, picture)
        elif picture is not None:
            picture()

    def _wait_for_first_action(self, start: Start, picture: Callable[[], None] | None) -> None:
        before_step = self.before_step

        def first(action: Any) -> None:
            self.before_step = before_step
            try:
                if start.told is not None:
                    start.told.begin()
                if picture is not None:
                    picture()
                before_step(action)
            except Exception as exc:
                self._give_up(exc)

        self.before_step = first

    @_contained
    def failed(self, error: BaseException) -> None:
        """The env (or the policy) raised: the episode we most want."""
        if _resetting.recorder is self:
            _resetting.recorder = None
        self._end(lambda: raised(error))

    @_contained
    def close(self, error: BaseException | None = None) -> None:
        """The env is closed; ``error`` is the exception under way, if there is one."""
        # A generator that nobody asks for more is closed by a GeneratorExit: its env is closed early, no more.
        if error is None or isinstance(error, GeneratorExit):
            self._end(unfinished)
        else:
            self._end(lambda: raised(error))

    @_contained
    def interrupt(self, error: BaseException | None) -> None:
        """The process ends in the middle of the episode."""
        self._end(unfinished if self._suspended else lambda: interrupted(error))

    def abandon(self) -> None:
        """In a forked child: the open episode is the parent's."""
        self._current = None
        self._pass_through()

    def _picture(self) -> None:
        current = self._current
        if current is None or self.renderer is None or self.picture_is_stale or current.video_fault is not None:
            return
        try:
            current.frame(self.renderer.picture())
        except Exception as exc:  # no GL, a broken renderer, a dead encoder: the video goes, the episode stays
            current.video_fault = f"{type(exc).__name__}: {exc}"
            faults.report("the video stops", exc)

    def _ended(self, terminated: bool, truncated: bool, info: Mapping[str, Any]) -> None:
        current = self._current
        if current is not None:
            end = EpisodeEnd(current.steps, current.reward_total, terminated, truncated, info)
            self._end(lambda: ended(self._options, end))

    def _take(self) -> tuple[Start, Recording] | None:
        # One of the training thread, close() and the exit hook ends an episode; whoever comes second finds none.
        with self._ending:
            start, current, self._current = self._start, self._current, None
            self._pass_through()
        return None if start is None or current is None or self._pid != os.getpid() else (start, current)

    def _pass_through(self) -> None:
        self.recording = False
        self.before_step = self.after_step = _nothing

    def _end(self, verdict: Callable[[], Verdict]) -> None:
        taken = self._take()
        if taken is not None:
            start, current = taken
            self._decisions.finish(start, current, verdict(), fps=self._clock.fps)

    def _give_up(self, exc: Exception) -> None:
        try:
            self._end(lambda: broken(exc))
        except Exception as second:
            _log.debug("the broken episode could not be ended either", exc_info=second)
        faults.report("recording stopped for this episode", exc)
