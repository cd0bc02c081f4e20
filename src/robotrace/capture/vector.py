"""The recorder of a vector environment: one recorder on what comes for all environments, episodes cut from done flags.

Those in this process are looked at around their own resets only: the state of their generator before it, and, where
the vector resets an environment within the step, its last picture and the simulator's last time. Those in the worker
processes of Gymnasium's ``AsyncVectorEnv`` are looked at there (:mod:`robotrace.capture.workers`), around the resets of
episodes that are recorded; nothing is asked of environments in other processes.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace import faults
from robotrace.capture.batches import (
    MISSING,
    alike,
    as_flags,
    final_info,
    final_observation,
    info_of,
    on_host,
    rebuilt,
    row_of,
    same_rows,
)
from robotrace.capture.clock import read_attribute
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
from robotrace.capture.members import Member, is_sb3, members_of, single_space, why_not_alone
from robotrace.capture.options import EpisodeEnd, Options
from robotrace.capture.process import RecordingProcess
from robotrace.capture.recorder import is_inner, register, resetting
from robotrace.capture.recording import Recording
from robotrace.capture.segmentation import Autoreset, Changes, Segmentation, reset_mask, vector_autoreset
from robotrace.capture.slabs import Slabs, fits_slabs
from robotrace.capture.workers import Command, Workers, workers_of

__all__ = ["VectorRecorder"]

_log = logging.getLogger("robotrace")

_MANY_TENSORS = 16
"""Beyond so many environments in tensors of a simulator (4,096 on a GPU), the first one is recorded unless asked."""
_MAX_FAULTS = 3
_BOOL = np.dtype(np.bool_)


def _nothing(_: Any) -> None:
    """Before the first reset, and after the last."""


class VectorRecorder:
    """Records the episodes of the environments of one vector; called as a single environment's recorder is.

    Args:
        env: The vector environment, or a batched simulator with ``num_envs``; kept weakly.
        options: The plugin's options.
        process: Gives this process's recording half; called with the first episode that is recorded.
        adapter: The plugin's name, for the metadata.
        series: Shared with other recorders; None for one of its own.
        env_id: Of its environments, where they are in other processes and somebody has asked them.
        beside: Asked before each action for further streams, by name: a batch with a row for each environment.

    Attributes:
        recording: Whether :attr:`before_step` and :attr:`after_step` have to be called: from the first reset on, since
            episodes begin and end in any step.
        before_step: To be called with the actions about to be taken. Look it up for each step.
        after_step: To be called with what ``env.step`` returned.
        renderer: None: videos are of single environments.
        automatic: As :class:`EpisodeRecorder`'s.
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
        series: Series | None = None,
        env_id: str | None = None,
        beside: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.recording = False
        self.renderer = None
        self.before_step = self.after_step = _nothing
        self._env = weakref.ref(env)
        self._options = options
        self._decisions = Decisions(options, adapter, series)
        self._env_id = env_id
        self._beside = beside
        self._suspended = False
        self._calls: tuple[Callable[[Any], None], Callable[[Any], None]] = (_nothing, _nothing)
        self._untold: list[Start] = []
        """Of the episodes that begin with the next action."""
        self._process = process
        self._pid = os.getpid()
        self._ending = threading.RLock()
        self._mode = Autoreset.SAME_STEP
        self._count = 0
        self._members: list[Member] = []
        self._tracked: list[int] = []
        self._live: dict[int, Member] = {}
        self._segmentation = Segmentation(0, self._mode)
        self._slabs: Slabs | None = None
        self._spaces: tuple[Any, Any] = (None, None)
        self._ready = False
        self._mask: list[bool] | None = None
        self._nested = False
        self._why_not_alone: str | None = None
        self._workers: Workers | None = None
        self._resets_next: list[int] = []
        self._has_questions = self._has_asked = False
        self._no_flags = b""
        self._vector_step = 0
        self._recent: tuple[Any, Any, Any] = (None, None, None)
        self._tracked_set: frozenset[int] = frozenset()
        self._filmed: list[Member] = []
        self._faults = 0
        register(self)

    def set(
        self,
        *,
        policy_version: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        """Change the labels of the episodes to come, as :meth:`EpisodeRecorder.set`."""
        self._decisions.label(policy_version=policy_version, metadata=metadata, name=name)

    def ask(self, labels: Labels | None) -> None:
        """Have a framework asked about each of the episodes to come, as :meth:`EpisodeRecorder.ask`."""
        self._decisions.asked = labels

    def sample_by(self, sampling: Callable[[], Sampling | None] | None) -> None:
        """Have a framework asked which episodes are recorded, as :meth:`EpisodeRecorder.sample_by`."""
        self._decisions.sampled_by = sampling

    def suspend(self) -> None:
        """Begin no episode until :meth:`resume`, as :meth:`EpisodeRecorder.suspend`."""
        if not self._suspended:
            self._suspended = True
            self._calls = self.before_step, self.after_step
            if self.recording:
                self.before_step, self.after_step = self._leave, _nothing

    def resume(self) -> None:
        """Undo :meth:`suspend`."""
        if self._suspended:
            self._suspended = False
            if self.recording:
                self.before_step, self.after_step = self._calls

    def _leave(self, _: Any) -> None:
        self._end_all(unfinished)
        if self._slabs is not None:
            self._slabs.clear()
        self._pass_through()

    def before_reset(self, seed: Any, options: Mapping[str, Any] | None) -> None:
        """A reset is about to happen, of all environments or of those its options name."""
        try:
            if is_inner(self):
                return
            if not self._suspended:  # else those inside may have the episodes
                resetting(self)
            self._meet()
            # A copy: Gymnasium takes the mask out of the caller's dict.
            self._mask = reset_mask(options, self._count)
            for member in self._members:
                if self._mask is None or self._mask[member.index]:
                    self._end(member, unfinished, before=True)
                    if not member.is_seen:
                        member.expect_reset(*self._given(member, seed, options))
                        self._ask_before(member, "reset")
        except Exception as exc:
            self._give_up(exc)

    def after_reset(self, result: tuple[Any, Any]) -> None:
        """What it returned, (observations, infos)."""
        if is_inner(self):
            return
        resetting(None)
        if self._faults >= _MAX_FAULTS:  # an episode that begins now would look like one without steps
            return
        if self._workers is not None:
            self._workers.recall()
        if self._suspended:
            self._leave(None)
            return
        try:
            stamp = time.perf_counter_ns()
            observations = result[0]
            if not self._ready:
                self._get_ready(observations)
            changes = self._segmentation.reset(self._mask)
            self._resets_next = [i for i in self._resets_next if i not in changes.begun]
            slabs = self._slabs
            if slabs is not None and slabs.pieces:
                slabs.skip([member.slot for member in self._live.values()])
                slabs.observe(observations, stamp)
            self._begin_all(changes, observations, stamp)
            self._finish_row(stamp)
            self.before_step, self.after_step = self._before_step, self._after_step
            self.recording = True
        except Exception as exc:
            self._give_up(exc)

    def failed(self, error: BaseException) -> None:
        """The vector raised: the episode of the environment that did it has failed, where that can be told."""
        resetting(None)
        self._listen()
        try:
            guilty = self._guilty(error)
            for member in list(self._live.values()):
                blamed = guilty is None or member.index == guilty
                self._end(member, (lambda: raised(error)) if blamed else unfinished, before=True)
        except Exception as exc:
            self._give_up(exc)

    def close(self, error: BaseException | None = None) -> None:
        """The environment is closed; ``error`` is the exception under way, if there is one."""
        alone = error is None or isinstance(error, GeneratorExit)
        self._end_all(unfinished if alone or error is None else lambda: raised(error))
        for member in self._members:
            member.leave()
        self._members, self._ready = [], False
        self._dismiss()
        self._pass_through()

    def interrupt(self, error: BaseException | None) -> None:
        """The process ends in the middle of the episodes."""
        self._end_all(unfinished if self._suspended else lambda: interrupted(error))

    def abandon(self) -> None:
        """In a forked child: the open episodes are the parent's."""
        self._live.clear()
        self._workers = None
        for member in self._members:
            member.recording = None
        if self._slabs is not None:
            self._slabs.clear()
        self._pass_through()

    def _pass_through(self) -> None:
        """Until the next reset."""
        self.recording = False
        self.before_step = self.after_step = _nothing

    # --- steps -------------------------------------------------------------------------------------------------------

    def _before_step(self, actions: Any) -> None:
        if self._nested:
            resetting(self)
        if self._has_questions:
            self._ask()
        if not self._live:
            return
        try:
            if self._untold:
                self._tell()
            if self._beside is not None:
                self._note(self._beside())
            if self._slabs is not None:
                self._slabs.act(actions)
            else:
                space = self._spaces[1]
                for member in list(self._live.values()):
                    member.before_step(row_of(space, actions, member.index, self._count))
        except Exception as exc:
            self._give_up(exc)

    def _tell(self) -> None:
        untold, self._untold = self._untold, []
        for start in untold:
            if start.told is not None:
                start.told.begin()

    def _note(self, batches: Mapping[str, Any]) -> None:
        if self._slabs is not None:
            self._slabs.beside(batches)
            return
        for member in list(self._live.values()):
            if member.recording is not None:
                rows = {name: row_of(None, batch, member.index, self._count) for name, batch in batches.items()}
                member.recording.beside(rows)

    def _after_step(self, result: Any) -> None:
        try:
            stamp = time.perf_counter_ns()
            if self._nested:
                resetting(None)
            if self._has_asked:
                self._listen()
            observations, rewards, terminated, truncated, _ = result
            self._vector_step += 1
            self._recent = (*self._recent[1:], result)
            if type(terminated) is not np.ndarray or terminated.dtype is not _BOOL or terminated.ndim != 1:
                terminated = as_flags(terminated)
            if type(truncated) is not np.ndarray or truncated.dtype is not _BOOL or truncated.ndim != 1:
                truncated = as_flags(truncated)
            nobody = self._no_flags  # bytes are compared in a twentieth of the time of ndarray.any
            done = terminated.tobytes() != nobody or truncated.tobytes() != nobody
            slabs = self._slabs
            if self._live:
                if slabs is None:
                    self._step_each(result, terminated, truncated)
                else:
                    slabs.observe(observations, stamp)
                    if type(rewards) is not np.ndarray or rewards.ndim != 1:
                        rewards = _flat(rewards, self._count)
                    slabs.outcome(rewards, terminated, truncated)
                    if self._filmed:
                        self._show_all(terminated, truncated, stamp)
            if done or not self._segmentation.steady:
                changes = self._segmentation.step((terminated | truncated).tolist())
                self._end_changed(changes, result, terminated, truncated)
                self._begin_all(changes, observations, stamp)
            self._finish_row(stamp)
        except Exception as exc:
            self._give_up(exc)

    def _step_each(self, result: Any, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]) -> None:
        observations, rewards, _, _, infos = result
        rewards = _flat(rewards, self._count)
        always = self._options.infos not in (False, "auto")
        for member in list(self._live.values()):
            i = member.index
            one, other = bool(terminated[i]), bool(truncated[i])
            observation = row_of(self._spaces[0], observations, i, self._count)
            info: Any = {}
            if one or other:
                observation, info = self._last(i, result, observation)
                member.last = observation
            elif always:
                info = info_of(infos, i, self._count)
            member.after_step((None if observation is MISSING else observation, rewards[i], one, other, info))

    def _last(self, i: int, result: Any, row: Any) -> tuple[Any, dict[str, Any]]:
        """The last observation and info of an episode that ends in this step."""
        infos = result[4]
        if self._mode is not Autoreset.SAME_STEP:
            return row, info_of(infos, i, self._count)
        given = final_observation(infos, i, self._count, self._spaces[0])
        observation = self._members[i].last_observation(given)
        # A vector stacks observations into the dtype of its space, which need not be theirs.
        observation = MISSING if observation is MISSING else alike(observation, row, self._spaces[0])
        return observation, final_info(infos, i, self._count)

    def _end_changed(
        self, changes: Changes, result: Any, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]
    ) -> None:
        for i in changes.ended:
            member = self._members[i]
            length = self._vector_step - member.begun_at
            if member.recording is not None and self._slabs is not None:
                row = row_of(self._spaces[0], result[0], i, self._count)
                member.last, info = self._last(i, result, row)
                judge = functools.partial(self._verdict, member, bool(terminated[i]), bool(truncated[i]), info)
                self._end(member, judge, at_step=True)
            member.longest = max(member.longest, length)
        if self._workers is not None and self._mode is Autoreset.NEXT_STEP:
            self._resets_next = [i for i in changes.ended if i in self._tracked_set]
            self._has_questions = self._has_questions or bool(self._resets_next)

    def _begin_all(self, changes: Changes, observations: Any, stamp: int) -> None:
        for i in changes.begun:
            member = self._members[i]
            member.begun_at = self._vector_step
            if i in self._tracked_set:
                self._begin(member, observations, stamp)

    def _finish_row(self, stamp: int) -> None:
        slabs = self._slabs
        if slabs is None:
            return
        if self._live:
            slabs.next_row(stamp)
        elif not slabs.is_empty:
            slabs.clear()

    # --- episodes ----------------------------------------------------------------------------------------------------

    def _begin(self, member: Member, observations: Any, stamp: int) -> None:
        if not member.was_reset:
            member.expect_reset(None, None, within_step=self._mode is Autoreset.SAME_STEP)
        member.was_reset = False
        if member.passed_over:
            member.passed_over = False
            self._decisions.pass_over(member.index)
            return
        start = self._decisions.start(member.seed, can_render=member.renderer is not None, env_index=member.index)
        if start is None:
            return
        process = self._process()
        if process is None:
            return
        self._pid = os.getpid()
        asked = self._was_asked(member)
        facts, clock, before_reset = member.facts(), member.clock(self._options.fps), member.before_reset
        vector = {"index": member.index, "num_envs": self._count, "autoreset_mode": self._mode.value, **member.vector}
        around = {} if self._why_not_alone is None else {"reason": self._why_not_alone}
        create = self._decisions.create
        recording = Recording(
            process,
            clock,
            lambda uuid: create(
                start, uuid, facts=facts, clock=clock, before_reset=around | before_reset, vector=vector
            ),
            options=self._options,
            keep_dropped=self._options.keep_partial == "always" and self._options.only == "all",
            observation_space=self._spaces[0],
            action_space=self._spaces[1],
        )
        if start.told is not None:
            self._untold.append(start)
        row = row_of(self._spaces[0], observations, member.index, self._count)
        member.first, member.last = _copied(row), None
        member.start, member.recording = start, recording
        recording.holds = asked
        self._live[member.index] = member
        try:
            if self._slabs is not None:
                recording.open(stamp)
                self._slabs.observe(observations, stamp)
                self._slabs.begin(recording, member.slot)
            else:
                recording.begin(row)
                member.before_step, member.after_step = recording.step_calls(
                    (lambda: self._show(member, None)) if start.video else None,
                    lambda one, other, info: self._end(member, lambda: self._verdict(member, one, other, info)),
                    lambda exc: self._fault(member, exc),
                )
            if start.video:
                self._show(member, 0)
            elif self._options.video is True and member.no_video is not None:
                recording.video_fault = member.no_video
        except Exception as exc:
            self._fault(member, exc)

    # --- environments in worker processes ----------------------------------------------------------------------------

    def _ask_before(self, member: Member, command: Command) -> None:
        """Have its worker look at an environment right before it resets it, where its episode may be recorded.

        It is decided now: what is not asked about is not recorded, though a token may come in the meantime.
        """
        workers, member.passed_over = self._workers, False
        wanted = self._options.env_indices
        if workers is None or not workers.can_ask(member.index) or (wanted != "auto" and member.index not in wanted):
            return
        try:
            member.passed_over = not self._decisions.may_start(member.index)
            if not (member.passed_over and member.has_facts):
                workers.ask_before(member.index, command)
        except Exception as exc:
            self._dismiss(exc)

    def _ask(self) -> None:
        """Before a step: whose environments are reset in it, and whose have begun with the row before."""
        self._has_questions, self._has_asked = False, True
        for i in self._resets_next:
            self._members[i].expect_reset(None, None)
            self._ask_before(self._members[i], "step")
        self._resets_next = []
        try:
            if self._workers is not None:
                self._workers.ask_after()
        except Exception as exc:
            self._dismiss(exc)

    def _listen(self) -> None:
        """After a step: what those say that were asked in it."""
        workers, self._has_asked = self._workers, False
        if workers is None:
            return
        try:
            for index, found in workers.answers():
                member = self._members[index]
                if found is not None and member.recording is not None:
                    member.told(found)
                if member.recording is not None:
                    member.recording.holds = False
        except Exception as exc:
            self._dismiss(exc)

    def _was_asked(self, member: Member) -> bool:
        """Whether the episode that begins is one whose worker was asked, and is to be asked once more."""
        workers = self._workers
        if workers is None:
            return False
        try:
            if not member.has_facts:
                said = workers.facts(member.index)
                if said is not None:
                    member.told_facts(said)
            if not workers.begun(member.index):
                return False
            member.expect_answer()
            self._has_questions = True
            return True
        except Exception as exc:
            self._dismiss(exc)
            return False

    def _dismiss(self, exc: Exception | None = None) -> None:
        """Ask the workers nothing any more."""
        workers, self._workers = self._workers, None
        self._resets_next = []
        if exc is not None:
            _log.debug("the worker processes of the vector are asked no more", exc_info=exc)
        for member in self._live.values():
            if member.recording is not None:
                member.recording.holds = False
        if workers is not None:
            workers.close()

    def _verdict(self, member: Member, terminated: bool, truncated: bool, info: Mapping[str, Any]) -> Verdict:
        recording = member.recording
        assert recording is not None
        return ended(self._options, EpisodeEnd(recording.steps, recording.reward_total, terminated, truncated, info))

    def _end(
        self, member: Member, verdict: Callable[[], Verdict], *, before: bool = False, at_step: bool = False
    ) -> None:
        """End a member's episode, if it has one.

        Args:
            member: Which one.
            verdict: How it came out; asked once all of its steps are handed over.
            before: The present row is not its own.
            at_step: The present row is its last step.
        """
        # One of the training thread, close() and the exit hook ends an episode; whoever comes second finds none.
        with self._ending:
            recording, start = member.recording, member.start
            if recording is None or start is None or self._live.pop(member.index, None) is None:
                return
            if self._slabs is not None:
                same_step = at_step and self._mode is Autoreset.SAME_STEP
                piece = self._slabs.end(
                    member.slot, last=(lambda: member.last) if same_step else None, before=before or not at_step
                )
                if piece is not None:
                    recording.note(incomplete=piece.incomplete, segments=piece.changes)
            member.clear_terminal()
            try:
                if self._is_phantom(member, recording):
                    self._decisions.drop(start, recording)
                elif self._pid == os.getpid():
                    self._decisions.finish(start, recording, verdict(), fps=member.clock(self._options.fps).fps)
            finally:  # whatever happens, it gets no further frames
                member.recording = member.start = member.first = member.last = None
                member.before_step = member.after_step = _nothing

    def _is_phantom(self, member: Member, recording: Recording) -> bool:
        """Whether the environment only repeats the end of the episode before, as LeRobot's ``FreezeAfterEpisodeEnd``.

        One step, from the last observation of a longer episode to that very observation.
        """
        if recording.steps != 1 or member.longest <= 1 or member.last is None:
            return False
        in_same_step = self._mode is Autoreset.SAME_STEP
        # In NEXT_STEP the reset's row lies between the two ends.
        before, now = self._recent[1 if in_same_step else 0], self._recent[2]
        ends = [None if result is None else self._end_shown(result, member.index) for result in (before, now)]
        return all(end is not None and end is not MISSING and same_rows(member.first, end) for end in ends)

    def _end_shown(self, result: Any, i: int) -> Any:
        """The last observation as the vector shows it."""
        row = row_of(self._spaces[0], result[0], i, self._count)
        if self._mode is not Autoreset.SAME_STEP:
            return row
        given = final_observation(result[4], i, self._count, self._spaces[0])
        return MISSING if given is MISSING else alike(given, row, self._spaces[0])

    def _end_all(self, verdict: Callable[[], Verdict]) -> None:
        for member in list(self._live.values()):
            try:
                self._end(member, verdict, before=True)
            except Exception as exc:
                self._fault(member, exc)

    # --- pictures ----------------------------------------------------------------------------------------------------

    def _show_all(self, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_], stamp: int) -> None:
        every = self._options.video_every_n_steps
        for member in self._filmed:
            if member.start is None or not member.start.video or member.recording is None:
                continue
            steps = self._vector_step - member.begun_at
            if steps % every == 0 or terminated[member.index] or truncated[member.index]:
                step_ns = member.clock(self._options.fps).step_ns
                self._show(member, stamp - member.recording.start_ns if step_ns is None else steps * step_ns)

    def _show(self, member: Member, t_ns: int | None) -> None:
        recording = member.recording
        if recording is None or recording.video_fault is not None:
            return
        try:
            recording.frame(member.picture(), t_ns=t_ns)
        except Exception as exc:  # no GL, a broken renderer: the video goes, the episode stays
            recording.video_fault = f"{type(exc).__name__}: {exc}"
            faults.report("the video stops", exc)

    # --- the vector itself -------------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Before the first reset: which environments there are."""
        if self._members:
            return
        env = self._env()
        self._members = members_of(env, self._options.video_envs if self._options.films else 0, self._env_id)
        self._count = len(self._members)
        self._no_flags = bytes(self._count)
        self._nested = any(member.is_recorded for member in self._members)
        self._workers = workers_of(env)
        self._why_not_alone = why_not_alone(env)
        if self._options.video is True and self._members and self._members[0].no_video is not None:
            _log.warning("no video: %s", self._members[0].no_video)

    def _given(
        self, member: Member, seed: Any, options: Mapping[str, Any] | None
    ) -> tuple[int | None, Mapping[str, Any] | None]:
        """What the reset of a member is given. Stable-Baselines3 has it told before, and keeps it until the reset."""
        base = read_attribute(self._env(), "unwrapped")
        seeds, each = read_attribute(base, "_seeds"), read_attribute(base, "_options")
        if seed is None and isinstance(seeds, list) and len(seeds) == self._count and is_sb3(base):
            given = each[member.index] if isinstance(each, list) and len(each) == self._count else None
            own = seeds[member.index]
            return None if own is None else int(own), given or None
        return _seed_of(seed, member), options

    def _get_ready(self, observations: Any) -> None:
        """With the first observations: the mode, which environments are recorded, and how."""
        env = self._env()
        self._mode = vector_autoreset(env)
        self._segmentation = Segmentation(self._count, self._mode)
        self._spaces = single_space(env, "observation_space"), single_space(env, "action_space")
        self._tracked = self._choose(observations)
        self._tracked_set = frozenset(self._tracked)
        for slot, index in enumerate(self._tracked):
            self._members[index].slot = slot
        self._filmed = [member for member in self._members if member.renderer is not None]
        self._slabs = self._make_slabs(observations)
        self._ready = True

    def _choose(self, observations: Any) -> list[int]:
        wanted = self._options.env_indices
        if wanted != "auto":
            beyond = [index for index in wanted if not 0 <= int(index) < self._count]
            if beyond:
                _log.warning("env_indices names %s, and there are %d environments", beyond, self._count)
            return sorted({int(index) for index in wanted} - {int(index) for index in beyond})
        if self._count > _MANY_TENSORS and _has_tensors(observations):
            return [0]
        return list(range(self._count))

    def _make_slabs(self, observations: Any) -> Slabs | None:
        options = self._options
        simulated = any(member.clock(options.fps).now is not None for member in self._members)
        if simulated or options.infos not in (False, "auto") or options.last_seconds is not None or not self._tracked:
            return None
        space, action_space = self._spaces
        every = len(self._tracked) == self._count
        row = _hosted(row_of(space, observations, 0, self._count))
        if not fits_slabs(row, action_space, space, options.images):
            return None
        return Slabs(len(self._tracked), None if every else self._tracked, row, space, action_space)

    def _guilty(self, error: BaseException) -> int | None:
        """Whose step it was that raised, where that can be seen in the traceback."""
        return next((member.index for member in self._members if member.has_raised(error)), None)

    def _fault(self, member: Member, exc: Exception) -> None:
        try:
            self._end(member, lambda: broken(exc), before=True)
        except Exception as second:
            _log.debug("the broken episode could not be ended either", exc_info=second)
        faults.report("recording stopped for this episode", exc)

    def _give_up(self, exc: Exception) -> None:
        """A fault of our own in what belongs to all environments."""
        self._faults += 1
        for member in list(self._live.values()):
            try:
                self._end(member, lambda: broken(exc), before=True)
            except Exception as second:
                _log.debug("the broken episode could not be ended either", exc_info=second)
        if self._slabs is not None:
            self._slabs.clear()
        if self._faults >= _MAX_FAULTS:
            self._pass_through()
        faults.report("recording stopped for the episodes of this vector environment", exc)


def _seed_of(seed: Any, member: Member) -> int | None:
    """What Gymnasium's rule gives one environment of a seed for all."""
    if seed is None or not member.seeds_add_up:
        return None
    if isinstance(seed, (Sequence, np.ndarray)):
        own = seed[member.index]
        return None if own is None else int(own)
    return int(seed) + member.index


def _flat(values: Any, count: int) -> Any:
    if getattr(values, "shape", None) == (count, 1):
        values = values.reshape(-1)
    return values if type(values) is np.ndarray else on_host(values, None)


def _has_tensors(values: Any) -> bool:
    if isinstance(values, Mapping):
        return any(map(_has_tensors, values.values()))
    if isinstance(values, (tuple, list)):
        return any(map(_has_tensors, values))
    return not isinstance(values, np.ndarray) and (hasattr(values, "__dlpack__") or hasattr(values, "keys"))


def _hosted(values: Any) -> Any:
    """One row of tensors as arrays, so that their dtypes are known as NumPy's."""
    if isinstance(values, Mapping) or hasattr(values, "keys"):
        return {key: _hosted(values[key]) for key in values.keys()}  # noqa: SIM118
    if isinstance(values, tuple):
        return rebuilt(values, map(_hosted, values))
    hosted = isinstance(values, (np.ndarray, np.generic, list, str)) or not hasattr(values, "shape")
    return values if hosted else on_host(values, None)


def _copied(row: Any) -> Any:
    if isinstance(row, Mapping):
        return {key: _copied(value) for key, value in row.items()}
    if isinstance(row, tuple):
        return rebuilt(row, map(_copied, row))
    return on_host(row, None).copy() if hasattr(row, "shape") else row
