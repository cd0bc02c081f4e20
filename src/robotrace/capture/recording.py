"""One open episode: what happened, on its clock, until it ends."""

from __future__ import annotations

import collections
import itertools
import logging
import os
import time
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from robotrace.capture.cameras import RENDER, Cameras
from robotrace.capture.clock import EnvClock
from robotrace.capture.images import images_plan
from robotrace.capture.leaves import INT64, Rows
from robotrace.capture.options import Options
from robotrace.capture.process import EpisodeFile, RecordingProcess
from robotrace.capture.ring import VideoSettings
from robotrace.capture.stamps import Stamps
from robotrace.capture.streams import Stream
from robotrace.ingest import EpisodeFinalStatus, finalize_payload

__all__ = ["FALLBACK_FRAME_NS", "Recording"]

_BLOCK_BYTES = 1024 * 1024
_BLOCK_STEPS = 4096
_BLOCK_NS = 1_000_000_000
"""A block ends after 1 MiB, 4,096 steps or a second: that much can be lost to a kill in the middle of an episode."""
FALLBACK_FRAME_NS = 33_333_333
_EXACT = 2**53
"""Integers up to here are floats to the bit."""
_DEFAULTS = Options()

_log = logging.getLogger("robotrace")


class _Never:
    """No value is of this type."""


class Recording:
    """N steps: N + 1 observations and frames, N actions, rewards and flags.

    Args:
        process: Where it is written.
        clock: The env's.
        create: Makes the create payload, given the episode's uuid.
        options: The plugin's.
        keep_dropped: Whether the episode is kept when its owner is garbage-collected without ending it.
        observation_space: Of the env, where it has one.
        action_space: Of the env, where it has one.
    """

    def __init__(
        self,
        process: RecordingProcess,
        clock: EnvClock,
        create: Callable[[str], Mapping[str, Any]],
        *,
        options: Options = _DEFAULTS,
        keep_dropped: bool = False,
        observation_space: Any = None,
        action_space: Any = None,
    ) -> None:
        self.uuid = str(uuid.uuid4())
        self.holds = False
        """What :meth:`append_rows` gets is kept for now: what the create payload says of the reset is not known yet."""
        self._process = process
        self._clock = clock
        self._create = create
        self._options = options
        self._keep_dropped = keep_dropped
        self._dropped: weakref.finalize[..., Recording] | None = None
        self._file: EpisodeFile | None = None
        self._cameras: Cameras | None = None
        this = weakref.ref(self)

        def picture(name: str, value: Any) -> None:
            recording = this()
            if recording is not None:
                recording.frame(value, name, lossy_of=name)

        # Of observations alone: what becomes of the images in them.
        self._images: dict[str, Any] = {
            "fates": lambda leaves: images_plan(leaves, options.images),
            "picture": picture,
        }
        self._observation = Stream("observation", "sensors", "all", space=observation_space, **self._images)
        self._action = Stream("action", "actions", "before", space=action_space)
        self._reward = Stream("reward", "sensors", "after", as_float=True)
        self._terminated = Stream("terminated", "sensors", "after")
        self._truncated = Stream("truncated", "sensors", "after")
        self._infos = Stream("info", "sensors", "after", optional=True)
        self._streams: tuple[Stream, ...] = (
            self._observation,
            self._action,
            self._reward,
            self._terminated,
            self._truncated,
            self._infos,
        )
        self._named: dict[tuple[str, str], Stream] = {}
        self._others: list[Rows] = []
        window_s = options.last_seconds
        self._window_ns = None if window_s is None else round(window_s * 1e9)
        self._incomplete: dict[str, str] = {}
        self._segments: dict[str, str] = {}
        self._stamps = Stamps(clock)
        # The steps since the last flush that look like the one before: (observation,) reward, stamp(, simulator's
        # time), and so on; one list, since one append of several is half the price of several appends.
        self._hot: list[Any] = []
        self._hot_actions: list[Any] = []
        self._stride = 1
        self._hot_flag: Any = False
        self._steps = 0
        self._since = 0
        self._reward_sum = 0.0
        self._bytes = 0
        self._block_rows = 1
        self._block_end_ns = 0

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self._steps + len(self._hot) // self._stride

    @property
    def reward_total(self) -> float:
        """The sum of the rewards, one after the other; nan when one is no number."""
        self._drain()
        return self._reward_sum

    @property
    def duration_s(self) -> float:
        """Seconds from the first observation to the last, on the episode's clock."""
        self._drain()
        return self._stamps.last_ns / 1e9

    def begin(self, observation: Any) -> None:
        """The reset's observation: time 0 of the episode."""
        self.open()
        self._stamps.add(self._stamps.start_ns)
        self._observation.append(observation)
        self._size_blocks()

    def open(self, start_ns: int | None = None) -> None:
        """Begin without an observation; :meth:`sample` or :meth:`append_rows` brings everything.

        Args:
            start_ns: Time 0 of the episode on ``time.perf_counter_ns``; None: now.
        """
        stamp = time.perf_counter_ns()
        self._stamps.start(stamp, time.time_ns(), stamp if start_ns is None else start_ns)
        self._block_rows = _BLOCK_STEPS
        self._block_end_ns = stamp + _BLOCK_NS

    def sample(self, t_ns: int, sensors: Mapping[str, Any], actions: Mapping[str, Any]) -> None:
        """One moment of a loop that has no environment, at a time of its own.

        Args:
            t_ns: On the episode's clock; one that is earlier than the last is kept as it is.
            sensors: Values by stream; ``reward`` is summed. A stream that is not in here has no row at this moment.
            actions: The same, for the actions.
        """
        stamp = time.perf_counter_ns()
        row = self._steps
        self._stamps.add(stamp, t_ns)
        self._steps += 1
        for name, value in sensors.items():
            self._stream(name, "sensors").at(row, value)
            if name == "reward":
                self._reward_sum += _number(value)
        for name, value in actions.items():
            self._stream(name, "actions").at(row, value)
        self._bytes += sum(stream.row_bytes for stream in self._streams)
        if len(self._stamps) >= self._block_rows or self._bytes >= _BLOCK_BYTES or stamp >= self._block_end_ns:
            self._hand_over(stamp)

    def append_rows(
        self, rows: Sequence[Rows], stamps: Sequence[int], *, steps: int, reward_sum: float, nbytes: int
    ) -> None:
        """Hand over a piece of the episode whose rows were kept elsewhere, as one block.

        For recorders of many envs at once, after :meth:`open`: they keep the arrays of all envs, and an episode's piece
        of them is cut by the writer thread (:mod:`robotrace.capture.slabs`).

        Args:
            rows: Converted by the writer thread, or by this one at the episode's end, maybe by both: what they refer
                to must not change any more. Their keys are those of an episode (``observation/value``,
                ``action/value``, ``reward/value``, …); the stamps and the wall clock are added here.
            stamps: ``time.perf_counter_ns`` of each observation among the rows, the reset's too. The clock must not
                be a simulator's own.
            steps: How many results of steps are among them.
            reward_sum: Of these.
            nbytes: About how large they are; more than 256 MiB that wait for the disk are dropped.
        """
        self._others += rows
        self._stamps.extend(stamps, None)
        self._steps += steps
        self._reward_sum += reward_sum
        self._bytes += nbytes
        if not self.holds:
            self._hand_over(time.perf_counter_ns())

    def note(self, *, incomplete: Mapping[str, str], segments: Mapping[str, str]) -> None:
        """What there is to say of rows from :meth:`append_rows`: by stream, what is missing, and what changed."""
        self._incomplete.update(incomplete)
        self._segments.update(segments)

    def beside(self, values: Mapping[str, Any]) -> None:
        """Further streams that have a row for each action, by name; copied now.

        Args:
            values: The same names before each action.
        """
        for name, value in values.items():
            stream = self._named.get((name, "sensors"))
            if stream is None:
                stream = self._named[name, "sensors"] = Stream(name, "sensors", "before")
                self._streams = (*self._streams, stream)
            stream.append(value)

    def act(self, action: Any) -> None:
        """The action about to be taken; copied now, since the env may change it."""
        self._drain()
        self._action.append(action)

    def result(
        self, observation: Any, reward: Any, terminated: Any, truncated: Any, info: Mapping[str, Any] | None = None
    ) -> None:
        """What came of the action."""
        stamp = time.perf_counter_ns()
        self._drain()
        # The stamp before the observation, whose pictures are of that moment.
        self._outcome(stamp, reward, terminated, truncated)
        self._observation.append(observation)
        self._inform(info)
        self._full(stamp)

    def step_calls(
        self,
        picture: Callable[[], None] | None,
        ended: Callable[[bool, bool, Mapping[str, Any]], None],
        fault: Callable[[Exception], None],
    ) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
        """The two calls around each ``env.step`` of this episode: (before it, with the action; after it).

        They are made for what this episode's steps look like: nothing but copies and appends while they look alike.

        Args:
            picture: Renders, and hands the frame to :meth:`frame`; None where there is no video.
            ended: Called with ``terminated``, ``truncated`` and the info of the last step, once that step is recorded.
            fault: Called with any exception of these calls; they raise none.
        """
        flat = self._observation.flat
        simple = picture is None and self._clock.now is None and self._options.infos in (False, "auto")
        if simple and flat is not None and flat[0] is np.ndarray:
            after_step = self._flat_calls(flat[1], flat[2], ended, fault)
        else:
            after_step = self._general_calls(picture, ended, fault)
        return self._action_calls(fault), after_step

    def _action_calls(self, fault: Callable[[Exception], None]) -> Callable[[Any], None]:
        keep, array = self._hot_actions.append, np.ndarray
        kind: Any = _Never
        dtype: Any = _Never
        shape: tuple[int, ...] = ()

        def before_step(action: Any) -> None:
            nonlocal kind, dtype, shape
            try:
                if type(action) is kind and (kind is not int or -INT64 <= action <= INT64):
                    keep(action)
                elif type(action) is array and action.dtype is dtype and action.shape == shape:
                    keep(action.tobytes())
                else:
                    self.act(action)
                    kind, dtype, shape = self._action.flat or (_Never, _Never, ())
                    if kind is array:
                        kind = _Never
            except Exception as exc:
                fault(exc)

        return before_step

    def _flat_calls(
        self,
        dtype: Any,
        shape: tuple[int, ...],
        ended: Callable[[bool, bool, Mapping[str, Any]], None],
        fault: Callable[[Exception], None],
    ) -> Callable[[Any], None]:
        """Of an array as observation, no simulator's time, no video, no infos: no loop and no call but the copy."""
        hot, array, now = self._hot, np.ndarray, time.perf_counter_ns
        extend = hot.extend
        kind: type = _Never
        flag: Any = False
        self._stride = 3
        full, block_end = self._room(), self._block_end_ns

        def after_step(result: Any) -> None:
            nonlocal kind, flag, dtype, shape, full, block_end
            try:
                observation, reward, terminated, truncated, info = result
                if (
                    terminated is flag
                    and truncated is flag
                    and (type(reward) is kind or (type(reward) is int and kind is float and -_EXACT < reward < _EXACT))
                    and type(observation) is array
                    and observation.dtype is dtype
                    and observation.shape == shape
                ):
                    stamp = now()
                    extend((observation.tobytes(), reward, stamp))
                    if stamp < block_end and len(hot) < full:
                        return
                    self._hand_over(stamp)
                else:
                    self.result(observation, reward, terminated, truncated)
                    if terminated or truncated:
                        ended(bool(terminated), bool(truncated), info)
                        return
                    like, dtype, shape = self._observation.flat or (_Never, _Never, ())
                    if like is not array:
                        dtype = _Never
                    kind, flag = self._hot_kinds()
                full, block_end = self._room(), self._block_end_ns
            except Exception as exc:
                fault(exc)

        return after_step

    def _general_calls(
        self,
        picture: Callable[[], None] | None,
        ended: Callable[[bool, bool, Mapping[str, Any]], None],
        fault: Callable[[Exception], None],
    ) -> Callable[[Any], None]:
        hot, now, every = self._hot, time.perf_counter_ns, self._options.video_every_n_steps
        extend, observe, simulated = hot.extend, self._observation, self._clock.now
        wanted = self._options.infos
        infos = None if wanted in (False, "auto") else self._infos
        keys = None if isinstance(wanted, (bool, str)) else wanted
        kind: type = _Never
        flag: Any = False
        self._stride = 2 if simulated is None else 3
        full = self._room()

        def after_step(result: Any) -> None:
            nonlocal kind, flag, full
            try:
                stamp = now()
                observation, reward, terminated, truncated, info = result
                done = False
                if (
                    terminated is flag
                    and truncated is flag
                    and (type(reward) is kind or (type(reward) is int and kind is float and -_EXACT < reward < _EXACT))
                ):
                    extend((reward, stamp) if simulated is None else (reward, stamp, simulated()))
                else:
                    self._drain()
                    self._outcome(stamp, reward, terminated, truncated)
                    done = terminated or truncated
                    kind, flag = self._hot_kinds()
                # After its stamp, which is that of the pictures in it.
                observe.append(observation)
                if infos is not None:
                    infos.append(info if keys is None else {key: info[key] for key in keys if key in info})
                # The last frame is the one that shows what went wrong.
                if picture is not None and (done or every == 1 or self.steps % every == 0):
                    picture()
                if not hot:  # a picture's time was asked for, or the step looked different: nothing is aside any more
                    full = self._room()
                if observe.loose:
                    self._bytes += observe.row_bytes
                if infos is not None and infos.loose:
                    self._bytes += infos.row_bytes
                if len(hot) >= full or stamp >= self._block_end_ns or self._bytes >= _BLOCK_BYTES:
                    self._hand_over(stamp)
                    full = self._room()
                if done:
                    ended(bool(terminated), bool(truncated), info)
            except Exception as exc:
                fault(exc)

        return after_step

    def _room(self) -> int:
        """How long the list of what is kept aside may be until the block is full."""
        return self._stride * (self._block_rows - self._since)

    def _hot_kinds(self) -> tuple[type, Any]:
        """The type of the rewards and the flag False, where steps that have these may be kept aside."""
        reward, flags = self._reward.flat, (self._terminated.flat, self._truncated.flat)
        if reward is None or reward[0] is np.ndarray or None in flags or flags[0] != flags[1]:
            return _Never, False
        kind = flags[0][0] if flags[0] is not None else bool
        if kind not in (bool, np.bool_):
            return _Never, False
        self._hot_flag = kind(False)  # both have one False only
        return reward[0], self._hot_flag

    def _drain(self) -> None:
        """Hand what was kept aside to the streams."""
        actions = self._hot_actions
        if actions:
            self._action.adopt(actions[:])
            actions.clear()
        hot = self._hot
        if not hot:
            return
        rows, stride = hot[:], self._stride
        hot.clear()
        first = 0
        if stride == 3 and self._clock.now is None:
            self._observation.adopt(rows[0::3])
            first = 1
        rewards, stamps = rows[first::stride], rows[first + 1 :: stride]
        self._reward.adopt(rewards)
        self._terminated.adopt([self._hot_flag] * len(rewards))
        self._truncated.adopt([self._hot_flag] * len(rewards))
        self._stamps.extend(stamps, rows[2::3] if self._clock.now is not None else None)
        self._steps += len(rewards)
        self._since += len(rewards)
        sums = itertools.accumulate(map(float, rewards), initial=self._reward_sum)
        (self._reward_sum,) = collections.deque(sums, maxlen=1)

    def _outcome(self, stamp: int, reward: Any, terminated: Any, truncated: Any) -> None:
        self._stamps.add(stamp)
        self._steps += 1
        self._since += 1
        self._reward.append(reward)
        self._terminated.append(terminated)
        self._truncated.append(truncated)
        self._reward_sum += _number(reward)

    def _inform(self, info: Any) -> None:
        wanted = self._options.infos
        if info is None or wanted in (False, "auto"):
            return
        if not isinstance(wanted, (bool, str)):
            info = {key: info[key] for key in wanted if key in info}
        self._infos.append(info)

    def _full(self, stamp: int) -> None:
        """Hand the block over when it is large or old enough."""
        if self._observation.loose:
            self._bytes += self._observation.row_bytes
        if self._since >= self._block_rows or stamp >= self._block_end_ns or self._bytes >= _BLOCK_BYTES:
            self._hand_over(stamp)

    def _stream(self, name: str, artifact: Literal["sensors", "actions"]) -> Stream:
        stream = self._named.get((name, artifact))
        if stream is None:
            images = self._images if (name, artifact) == ("observation", "sensors") else {}
            stream = Stream(name, artifact, "all", as_float=name == "reward", sparse=True, **images)
            self._named[name, artifact] = stream
            self._streams = (*self._streams, stream)
        return stream

    def _size_blocks(self) -> None:
        row_bytes = sum(stream.row_bytes for stream in self._streams) + 64
        self._block_rows = max(1, min(_BLOCK_STEPS, _BLOCK_BYTES // row_bytes))

    def frame(self, frame: Any, camera: str = RENDER, *, t_ns: int | None = None, lossy_of: str | None = None) -> None:
        """A picture; what is wrong with it is noted in the episode.

        Args:
            frame: What :func:`robotrace.capture.frames.as_rgb` takes.
            camera: Its name.
            t_ns: When it was taken, on the episode's clock; None: with the last observation.
            lossy_of: The observation's stream whose values the pictures are, when they are kept here only.
        """
        if t_ns is None:
            self._drain()
            t_ns = self._stamps.now_ns
        self._video().put(camera, frame, t_ns, lossy_of=lossy_of)

    @property
    def video_fault(self) -> str | None:
        """Why there is no (further) picture of ``env.render()``; None while there may be one."""
        return None if self._cameras is None else self._cameras.faults.get("video")

    @video_fault.setter
    def video_fault(self, why: str) -> None:
        self._video().failed(RENDER, why)

    @property
    def start_ns(self) -> int:
        """Time 0 of the episode on ``time.perf_counter_ns``."""
        return self._stamps.start_ns

    @property
    def frame_duration_ns(self) -> int:
        """How long a frame is shown: a step of the clock, else 1/30 s."""
        return self._clock.step_ns or FALLBACK_FRAME_NS

    def end(
        self,
        status: EpisodeFinalStatus,
        metadata: Mapping[str, Any],
        *,
        fps: float | None,
        failure_time_s: float | None = None,
        fault: str | None = None,
    ) -> None:
        """Close the episode; what was recorded is in the page cache when this returns.

        Args:
            status: ``ready`` or ``failed``.
            metadata: The outcome and what else is known now.
            fps: Steps (or frames) a second.
            failure_time_s: When it failed, in seconds on the episode's clock.
            fault: What went wrong in the recorder; noted in ``metadata.incomplete``, like each stream that is
                missing or ends early.
        """
        file = self._opened()
        self._flush(file)
        self._owned()
        faults = {key: why for stream in self._streams for key, why in stream.faults().items()} | self._incomplete
        if file.overloaded:
            faults["*"] = "the disk was too slow: the episode's later steps are missing"
        if fault is not None:
            faults["*"] = fault
        details: dict[str, Any] = {}
        if self._cameras is not None:
            faults.update(self._cameras.faults)
            video = self._cameras.metadata()
            if video is not None:
                details["video"] = video
        segments = {key: note for stream in self._streams for key, note in stream.segments().items()}
        segments |= self._segments
        if segments:
            details["segments"] = segments
            _log.warning("the streams of episode %s do not look the same all the way: %s", self.uuid, segments)
        if faults:
            details["incomplete"] = faults
        window_ns = self._window_ns
        cut_ns = 0 if window_ns is None else max(self._stamps.last_ns - window_ns, 0)
        finalize = finalize_payload(
            status=status,
            metadata={**details, **metadata},
            duration_s=self.duration_s - cut_ns / 1e9,
            fps=fps,
            failure_time_s=None if failure_time_s is None else max(failure_time_s - cut_ns / 1e9, 0.0),
        )
        file.end({"finalize": finalize, "cut_ns": cut_ns}, cut_ns=cut_ns or None)
        self._close()

    def discard(self) -> None:
        """Close the episode and keep nothing."""
        self._owned()
        if self._file is not None:
            self._file.end({"discard": True})
        self._close()

    def _opened(self) -> EpisodeFile:
        # Not before the first block or frame: an episode that is discarded before costs the writer nothing.
        if self._file is None:
            start = {
                "uuid": self.uuid,
                "unix_ms": self._stamps.epoch_ns // 1_000_000,
                "create": self._create(self.uuid),
                **({} if self._window_ns is None else {"window_ns": self._window_ns}),
                **({} if self._options.keeps_killed else {"discard_killed": True}),
            }
            self._file = EpisodeFile(self._process, start)
            # An env nobody holds any more: without an end its episode would look like one of a killed process.
            end: dict[str, Any] = {"discard": True}
            if self._keep_dropped:
                end = {"finalize": {"status": "ready", "metadata": {"partial": True}}}
            self._dropped = weakref.finalize(self, _end_dropped, os.getpid(), self._file, end)
            self._dropped.atexit = False
        return self._file

    def _video(self) -> Cameras:
        if self._cameras is None:
            settings = VideoSettings(
                self.frame_duration_ns,
                max_edge=self._options.video_size,
                window_ns=self._window_ns,
            )
            self._cameras = self._opened().open_cameras(settings, realtime=bool(self._options.realtime))
        return self._cameras

    def _owned(self) -> None:
        if self._dropped is not None:
            self._dropped.detach()

    def _hand_over(self, stamp: int) -> None:
        self._block_end_ns = stamp + _BLOCK_NS
        self._flush(self._opened())

    def _flush(self, file: EpisodeFile) -> None:
        self._drain()
        count = len(self._stamps)
        rows, self._others = self._others, []
        for stream in self._streams:
            rows += stream.take()
        if count:
            rows.append(self._stamps.take())
        self._size_blocks()
        nbytes = self._bytes + count * (sum(stream.row_bytes for stream in self._streams) + 64)
        self._bytes = self._since = 0
        if rows:
            file.append(rows, nbytes, self._stamps.last_ns)

    def _close(self) -> None:
        for stream in self._streams:
            stream.close()


def _number(value: Any) -> float:
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return float("nan")


def _end_dropped(pid: int, file: EpisodeFile, end: Mapping[str, Any]) -> None:
    # In a forked child, what is dropped is a copy: the episode, its file and its encoder are the parent's.
    if pid == os.getpid():
        file.end_later(end)
