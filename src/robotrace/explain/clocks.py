"""Time that does not go as it should: a clock that is wrong, a loop that is late."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.explain.facts import CannotJudge, EpisodeFacts, Finding, Stream

__all__ = ["clock_fault", "loop_overrun"]

_MIN_ROWS = 10
_REPEATED = 0.05
"""Of the rows that share their time with the one before. A few are two messages in one tick of a coarse clock."""
_FEWEST_REPEATED = 3
_JUMP = 10.0
"""Usual intervals that the episode's clock moves on at once while this machine's own does not."""
_AGREE = 0.2
"""By which share the two clocks may differ over the rest of the episode and still be compared: a log that is played
back is stamped far from when it was recorded."""
_LATE = 1.5
"""Of the period: such a step has missed the next one's begin."""
_LATE_SHARE = 0.1
_STALL_PERIODS = 5.0
_STALL_S = 0.2
_SLOW = (1.2, 1.9)
"""The usual interval in periods of the recorded rate. Twice and more is an action that is repeated by design."""
_LIVE = ("caller", "monotonic", "wall")


def clock_fault(episode: EpisodeFacts) -> Finding | None:
    """Stamps that go backwards, repeat themselves, or jump."""
    streams = [stream for stream in (*episode.sensors, *episode.actions) if stream.timed]
    if not streams:
        raise CannotJudge("no stream has times")
    faults = [fault for stream in _by_clock(streams) for fault in _faults(stream)]
    jump = _jump(episode)
    if jump is not None:
        faults.append(jump)
    if not faults:
        return None
    faults.sort(key=lambda fault: (-fault["confidence"], fault["onset_s"]))
    first = faults[0]
    counted = episode.part("stamps")
    return Finding(
        "clock_fault",
        first["title"],
        f"{first['stream']}: {first['text']}, first at {first['onset_s']:.3f} s. Rates, velocities and delays that are "
        "computed from such times are wrong.",
        first["confidence"],
        {
            "faults": [{key: fault[key] for key in ("stream", "kind", "count", "onset_s")} for fault in faults[:5]],
            "counted_while_recording": dict(counted),
        },
        first["onset_s"],
        tuple(dict.fromkeys(fault["stream"] for fault in faults)),
        "Stamp with a monotonic clock, at the source, and set no clock while the robot runs.",
    )


def _by_clock(streams: Iterable[Stream]) -> list[Stream]:
    """One stream of each series of times: those that were recorded together share one."""
    found: dict[bytes, Stream] = {}
    for stream in streams:
        if stream.name != "wall_clock":
            assert stream.stamps is not None
            found.setdefault(stream.stamps.tobytes(), stream)
    return list(found.values())


def _faults(stream: Stream) -> list[dict[str, Any]]:
    assert stream.stamps is not None
    intervals = np.diff(stream.stamps)
    found = []
    back = np.flatnonzero(intervals < 0)
    if len(back):
        latest = np.maximum.accumulate(stream.stamps)
        text = f"{len(back)} of {len(intervals)} steps go back in time, by up to {-intervals.min() / 1e9:.3f} s"
        at = float(latest[back[0]]) / 1e9
        found.append(_fault(stream, "backwards", "The clock went backwards", text, len(back), at, 0.9))
    same = np.flatnonzero(intervals == 0)
    if len(same) >= max(_FEWEST_REPEATED, _REPEATED * len(intervals)):
        text = f"{len(same)} of {len(intervals)} rows have the time of the one before"
        at = float(stream.stamps[same[0]]) / 1e9
        found.append(_fault(stream, "repeated", "The clock stood still", text, len(same), at, 0.7))
    return found


def _fault(
    stream: Stream, kind: str, title: str, text: str, count: int, onset_s: float, confidence: float
) -> dict[str, Any]:
    return {
        "stream": stream.name,
        "kind": kind,
        "title": title,
        "text": text,
        "count": count,
        "onset_s": onset_s,
        "confidence": confidence,
    }


def _jump(episode: EpisodeFacts) -> dict[str, Any] | None:
    """The caller's clock moves on by much more than this machine's own, which is recorded beside it."""
    wall = next((stream for stream in episode.sensors if stream.name == "wall_clock"), None)
    if wall is None or wall.stamps is None or wall.rows < _MIN_ROWS or not _is_live(episode):
        return None
    if wall.values.dtype.kind not in "iu" or wall.values.ndim != 1:
        return None
    told, real = (np.diff(clock[: wall.rows].astype(np.float64)) for clock in (wall.stamps, wall.values))
    usual = float(np.median(told))
    apart = told - real
    row = int(apart.argmax())
    rest_told, rest_real = float(told.sum() - told[row]), float(real.sum() - real[row])
    if usual <= 0 or apart[row] < _JUMP * usual or abs(rest_told - rest_real) > _AGREE * rest_told:
        return None
    text = f"it moved on by {told[row] / 1e9:.3f} s in one step, in which {max(real[row], 0) / 1e9:.3f} s passed"
    at = float(wall.stamps[row]) / 1e9
    return _fault(wall, "jump", "The clock jumped", text, int(np.count_nonzero(apart >= _JUMP * usual)), at, 0.85)


def _is_live(episode: EpisodeFacts) -> bool:
    return episode.source == "real" and episode.metadata.get("clock", "caller") in _LIVE


def loop_overrun(episode: EpisodeFacts) -> Finding | None:
    """A loop in real time whose steps come late, or that stands still for a moment."""
    if not _is_live(episode):
        raise CannotJudge("the episode's clock is simulated: being late means nothing in it")
    loop = _loop(episode)
    if loop is None or loop.stamps is None:
        raise CannotJudge("there is no action or observation with times")
    intervals = np.diff(loop.stamps[: loop.rows])
    rows = np.flatnonzero(intervals > 0)
    intervals = intervals[rows] / 1e9
    if len(intervals) < _MIN_ROWS:
        raise CannotJudge(f"fewer than {_MIN_ROWS} steps with times")
    usual = float(np.median(intervals))
    period = usual if not episode.fps or not 0.5 <= usual * episode.fps <= _SLOW[1] else 1 / episode.fps
    late = intervals > _LATE * period
    share, worst = float(late.mean()), float(intervals.max())
    stalled = worst >= max(_STALL_PERIODS * period, _STALL_S) and not _is_jump(episode)
    slow = usual > _SLOW[0] * period
    if not stalled and not slow and share < _LATE_SHARE:
        return None
    text, confidence, at = _lateness(intervals, late, period, stalled=stalled, slow=slow)
    rate, wanted = 1 / usual, 1 / period
    return Finding(
        "loop_overrun",
        "The loop stood still" if stalled else "The loop was late",
        f"{text} Usually it ran at {rate:.3g} Hz, and should at {wanted:.3g} Hz.",
        confidence,
        {"period_s": period, "usual_s": usual, "worst_s": worst, "late_share": share, "late_steps": int(late.sum())},
        loop.time_s(int(rows[at])),
        (loop.name,),
        "Measure what the steps wait for: inference, a camera, a blocking call, another process on the processor.",
    )


def _lateness(
    intervals: NDArray[Any], late: NDArray[Any], period: float, *, stalled: bool, slow: bool
) -> tuple[str, float, int]:
    worst = float(intervals.max())
    if stalled:
        text = f"One step took {worst:.3f} s, {worst / period:.0f} periods."
        return text, 0.6 + 0.3 * min(1.0, worst), int(intervals.argmax())
    share = float(late.mean())
    if share >= _LATE_SHARE:
        text = f"{int(late.sum())} of {len(late)} steps were late by half a period and more."
        return text, 0.5 + 0.4 * min(1.0, share / 0.5), int(np.flatnonzero(late)[0])
    assert slow
    return "All steps were slower than the recorded rate.", 0.6, 0


def _is_jump(episode: EpisodeFacts) -> bool:
    """Whether it is the clock that moved on, not the loop that waited."""
    return _jump(episode) is not None


def _loop(episode: EpisodeFacts) -> Stream | None:
    return next((stream for stream in (*episode.actions, *episode.measured) if stream.timed), None)
