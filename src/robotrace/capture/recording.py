"""One open episode: what happened, on its clock, until it ends."""

from __future__ import annotations

import os
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Literal

from robotrace.capture.cameras import RENDER, Cameras
from robotrace.capture.clock import EnvClock
from robotrace.capture.options import Options
from robotrace.capture.process import EpisodeFile, RecordingProcess
from robotrace.capture.ring import VideoSettings
from robotrace.capture.streams import Rows, Stream
from robotrace.deliver.sealing import CLOCK_KEY
from robotrace.ingest import EpisodeFinalStatus, finalize_payload

__all__ = ["Recording"]

_BLOCK_BYTES = 1024 * 1024
_BLOCK_STEPS = 4096
_BLOCK_NS = 1_000_000_000
"""A block ends after 1 MiB, 4,096 steps or a second: that much can be lost to a kill in the middle of an episode."""
_FALLBACK_FRAME_NS = 33_333_333
_STAMP = "<i8"
_WALL_CLOCK = "wall_clock/value"
_DEFAULTS = Options()


class Recording:
    """N steps: N + 1 observations and frames, N actions, rewards and flags.

    Args:
        process: Where it is written.
        clock: The env's.
        create: Makes the create payload, given the episode's uuid.
        options: The plugin's.
        keep_dropped: Whether the episode is kept when its owner is garbage-collected without ending it.
    """

    def __init__(
        self,
        process: RecordingProcess,
        clock: EnvClock,
        create: Callable[[str], Mapping[str, Any]],
        *,
        options: Options = _DEFAULTS,
        keep_dropped: bool = False,
    ) -> None:
        self.uuid = str(uuid.uuid4())
        self.steps = 0
        self.reward_total = 0.0
        self._process = process
        self._clock = clock
        self._create = create
        self._options = options
        self._keep_dropped = keep_dropped
        self._dropped: weakref.finalize[..., Recording] | None = None
        self._file: EpisodeFile | None = None
        self._cameras: Cameras | None = None
        self._observation = Stream("observation", "sensors", "all")
        self._action = Stream("action", "actions", "before")
        self._reward = Stream("reward", "sensors", "after", as_float=True)
        self._terminated = Stream("terminated", "sensors", "after")
        self._truncated = Stream("truncated", "sensors", "after")
        self._streams: tuple[Stream, ...] = (
            self._observation,
            self._action,
            self._reward,
            self._terminated,
            self._truncated,
        )
        self._named: dict[tuple[str, str], Stream] = {}
        self._stamps: list[int] = []
        self._walls: list[int] = []
        self._t_ns = 0
        self._end_ns = 0
        self._wall_offset_ns = 0
        self._sim_start = 0.0
        self._start_ns = 0
        self._start_epoch_ns = 0
        self._block_rows = 1
        self._rows = 0
        self._block_end_ns = 0

    @property
    def duration_s(self) -> float:
        """Seconds from the first observation to the last, on the episode's clock."""
        return max(self._t_ns, self._end_ns) / 1e9

    def begin(self, observation: Any) -> None:
        """The reset's observation: time 0 of the episode."""
        stamp = time.perf_counter_ns()
        epoch = time.time_ns()
        self._wall_offset_ns = epoch - stamp
        self._start_ns = stamp
        if self._clock.now is not None:
            self._sim_start = self._clock.now()
        self._observation.append(observation)
        self._stamps.append(0)
        self._walls.append(epoch)
        row_bytes = self._observation.row_bytes + 64
        self._block_rows = max(1, min(_BLOCK_STEPS, _BLOCK_BYTES // row_bytes))
        self._block_end_ns = stamp + _BLOCK_NS
        self._start_epoch_ns = epoch

    def open(self) -> None:
        """Begin without an observation; :meth:`sample` brings everything."""
        stamp = time.perf_counter_ns()
        self._start_epoch_ns = time.time_ns()
        self._wall_offset_ns = self._start_epoch_ns - stamp
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
        self._t_ns, self._end_ns = t_ns, max(t_ns, self._end_ns)
        self._stamps.append(t_ns)
        self._walls.append(stamp + self._wall_offset_ns)
        for name, value in sensors.items():
            self._stream(name, "sensors").append(value)
            if name == "reward":
                self.reward_total += float(value)
        for name, value in actions.items():
            self._stream(name, "actions").append(value)
        self.steps += 1
        self._rows += 1
        row_bytes = sum(stream.row_bytes for stream in self._streams) + 64
        if self._rows >= min(self._block_rows, max(1, _BLOCK_BYTES // row_bytes)) or stamp >= self._block_end_ns:
            self._hand_over(stamp)

    def _stream(self, name: str, artifact: Literal["sensors", "actions"]) -> Stream:
        stream = self._named.get((name, artifact))
        if stream is None:
            stream = self._named[name, artifact] = Stream(name, artifact, "all", as_float=name == "reward")
            self._streams = (*self._streams, stream)
        return stream

    def act(self, action: Any) -> None:
        """The action about to be taken; copied now, since the env may change it."""
        self._action.append(action)

    def result(self, observation: Any, reward: Any, terminated: Any, truncated: Any) -> None:
        """What came of the action."""
        stamp = time.perf_counter_ns()
        clock = self._clock
        if clock.now is not None:
            self._t_ns = round((clock.now() - self._sim_start) * 1e9)
        elif clock.step_ns is not None:
            self._t_ns += clock.step_ns
        else:
            self._t_ns = stamp - self._start_ns
        self._observation.append(observation)
        self._reward.append(reward)
        self._terminated.append(terminated)
        self._truncated.append(truncated)
        self._stamps.append(self._t_ns)
        self._walls.append(stamp + self._wall_offset_ns)
        self.reward_total += float(reward)
        self.steps += 1
        self._rows += 1
        if self._rows >= self._block_rows or stamp >= self._block_end_ns:
            self._hand_over(stamp)

    def step_calls(
        self,
        picture: Callable[[], None] | None,
        ended: Callable[[bool, bool, Mapping[str, Any]], None],
        fault: Callable[[Exception], None],
    ) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
        """The two calls around each ``env.step`` of this episode: (before it, with the action; after it).

        Args:
            picture: Renders, and hands the frame to :meth:`frame`; None where there is no video.
            ended: Called with ``terminated``, ``truncated`` and the info of the last step, once that step is recorded.
            fault: Called with any exception of these calls; they raise none.
        """
        every = self._options.video_every_n_steps

        def before_step(action: Any) -> None:
            try:
                self.act(action)
            except Exception as exc:
                fault(exc)

        def after_step(result: Any) -> None:
            try:
                observation, reward, terminated, truncated, info = result
                self.result(observation, reward, terminated, truncated)
                done = terminated or truncated
                # The last frame is the one that shows what went wrong.
                if picture is not None and (done or every == 1 or self.steps % every == 0):
                    picture()
                if done:
                    ended(bool(terminated), bool(truncated), info)
            except Exception as exc:
                fault(exc)

        return before_step, after_step

    def frame(self, frame: Any, camera: str = RENDER, *, t_ns: int | None = None, lossy_of: str | None = None) -> None:
        """A picture; what is wrong with it is noted in the episode.

        Args:
            frame: What :func:`robotrace.capture.frames.as_rgb` takes.
            camera: Its name.
            t_ns: When it was taken, on the episode's clock; None: with the last observation.
            lossy_of: The observation's stream whose values the pictures are, when they are kept here only.
        """
        self._video().put(camera, frame, self._t_ns if t_ns is None else t_ns, lossy_of=lossy_of)

    @property
    def video_fault(self) -> str | None:
        """Why there is no (further) picture of ``env.render()``; None while there may be one."""
        return None if self._cameras is None else self._cameras.faults.get("video")

    @video_fault.setter
    def video_fault(self, why: str) -> None:
        self._video().failed(RENDER, why)

    @property
    def frame_duration_ns(self) -> int:
        """How long a frame is shown: a step of the clock, else 1/30 s."""
        return self._clock.step_ns or _FALLBACK_FRAME_NS

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
        faults = {key: why for stream in self._streams for key, why in stream.faults().items()}
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
        if faults:
            details["incomplete"] = faults
        finalize = finalize_payload(
            status=status,
            metadata={**details, **metadata},
            duration_s=self.duration_s,
            fps=fps,
            failure_time_s=failure_time_s,
        )
        file.end({"finalize": finalize})

    def discard(self) -> None:
        """Close the episode and keep nothing."""
        self._owned()
        if self._file is not None:
            self._file.end({"discard": True})

    def _opened(self) -> EpisodeFile:
        # Not before the first block or frame: an episode that is discarded before costs the writer nothing.
        if self._file is None:
            start = {
                "uuid": self.uuid,
                "unix_ms": self._start_epoch_ns // 1_000_000,
                "create": self._create(self.uuid),
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
            window_s = self._options.last_seconds
            settings = VideoSettings(
                self.frame_duration_ns,
                max_edge=self._options.video_size,
                window_ns=None if window_s is None else round(window_s * 1e9),
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
        rows = [rows for stream in self._streams for rows in stream.take()]
        if self._stamps:
            rows.append(Rows(CLOCK_KEY, "sensors", "all", _STAMP, (), self._stamps, scalars=True))
            rows.append(Rows(_WALL_CLOCK, "sensors", "all", _STAMP, (), self._walls, scalars=True))
        self._stamps, self._walls = [], []
        row_bytes = sum(stream.row_bytes for stream in self._streams) + 64
        nbytes, self._rows = (self._rows + 1) * row_bytes, 0
        if rows:
            file.append(rows, nbytes)


def _end_dropped(pid: int, file: EpisodeFile, end: Mapping[str, Any]) -> None:
    # In a forked child, what is dropped is a copy: the episode, its file and its encoder are the parent's.
    if pid == os.getpid():
        file.end_later(end)
