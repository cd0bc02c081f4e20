"""Sensors that stop: their value stands still, or no more rows come."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.explain.facts import CannotJudge, EpisodeFacts, Finding, Stream
from robotrace.explain.runs import segments

__all__ = ["dropped_sensor", "frozen_sensor"]

_MOVES_BEFORE = 10
"""Times that a value must have changed before: what never moved is constant by design, a goal or a flag."""
_STEADY = 4
"""How many times its usual hold a value may have stood before. What is held longer now and then (a target, a gripper,
a coarse encoder) is not expected to move, and is not judged."""
_FREEZE = 8
"""How many times its usual hold a value stands when it is frozen, and at least so many rows: a measured value of
floating point is never the same eight times in a row while it moves; none is in the nominal episodes of the bench."""
_LONE_ROWS = 10
"""For a single column: one joint of a robot may come to rest, the whole vector at once does not."""
_END_STOP = 0.05
"""Of a column's range: an end stop, or a speed limit, is overshot by some 3 % before it holds (BipedalWalker)."""
_ABRUPT = 0.3
"""Of the usual change per row: how fast it must still have moved right before. What comes to rest slows down first."""
_SETTLED = 1e-5
"""Of a column's range: changes smaller than that are the end of coming to rest, however large beside those before."""
_QUANTA = 1.5
"""Smallest changes of an encoder: one that went by single counts stands at a turning point, between two counts."""
_RECENT = 4096
"""Changes that the usual one is the median of: with all of a million rows it would be four copies of them."""
_COMMANDED = re.compile(r"(^|[._/])(goal|target|desired|reference|setpoint|command|cmd|ref(?![a-z]))", re.IGNORECASE)
"""What is asked for and not measured may stop at once, at the end of a trajectory."""
_GROUP = 0.5
"""Of the columns that move: so many at once are a sensor that froze, not a value that settled."""

_GAP = 5.0
"""Usual intervals without a row. Jitter and one lost message stay below 3; see docs/explain.md."""
_REGULAR = 2.0
"""The slowest tenth of a regular sensor's intervals, in usual ones; what comes on events is not judged."""
_OTHERS_ROWS = 3
"""Rows of another stream in the gap: else everything stood still, which is the loop's fault."""
_MIN_ROWS = 10
_LONG_GAP = 10.0


@dataclass(frozen=True)
class _Frozen:
    stream: Stream
    columns: tuple[int, ...]
    start: int
    length: int
    whole: bool

    @property
    def label(self) -> str:
        return self.stream.name if self.whole else ", ".join(self.stream.column(index) for index in self.columns[:4])


def frozen_sensor(episode: EpisodeFacts) -> Finding | None:
    """Values that had moved, and from one row to the next stand still while other things go on."""
    measured = [stream for stream in episode.measured if _COMMANDED.search(stream.name) is None]
    streams = [stream for stream in measured if stream.table is not None and not _is_discrete(episode, stream)]
    if not streams:
        raise CannotJudge("there are no numeric sensor streams (images are not judged)")
    found = [hit for stream in streams for hit in _freezes(stream)]
    rated = [(confidence, hit) for hit in found if (confidence := _confidence(hit, episode)) is not None]
    if not rated:
        return None
    rated.sort(key=lambda pair: (-pair[0], pair[1].start))
    confidence, first = rated[0]
    onset = first.stream.time_s(first.start)
    when = f"row {first.start}" if onset is None else f"{onset:.3f} s"
    return Finding(
        "frozen_sensor",
        f"{first.label} froze",
        f"{first.label} moved until {when}, then kept exactly the same value for {first.length} rows.",
        confidence,
        {
            "frozen": [
                {
                    "stream": hit.stream.name,
                    "columns": list(hit.columns[:10]),
                    "row": hit.start,
                    "rows": hit.length,
                    "onset_s": hit.stream.time_s(hit.start),
                }
                for _, hit in rated[:5]
            ]
        },
        onset,
        tuple(dict.fromkeys(hit.stream.name for _, hit in rated)),
        "Check the sensor's cable, driver and time stamps; have the policy stop when a reading is stale.",
    )


def _freezes(stream: Stream) -> list[_Frozen]:
    table = stream.table
    assert table is not None
    rows, columns = table.shape
    if rows < _MOVES_BEFORE + _FREEZE:
        return []
    changed = np.not_equal(table[1:], table[:-1])
    moving = [column for column in range(columns) if int(np.count_nonzero(changed[:, column])) >= _MOVES_BEFORE]
    if not moving:
        return []
    whole = _freeze(table[:, moving], changed[:, moving], _FREEZE)
    if whole is not None and (len(moving) > 1 or not _may_rest(table[whole[0], moving[0]], table[:, moving[0]])):
        return [_Frozen(stream, tuple(moving), *whole, whole=True)]
    if len(moving) == 1:
        return []
    alone = [
        (column, freeze)
        for column in moving
        if (freeze := _freeze(table[:, [column]], changed[:, [column]], _FREEZE)) is not None
    ]
    by_start: dict[int, list[tuple[int, int]]] = {}
    for column, (start, length) in alone:
        by_start.setdefault(start, []).append((column, length))
    found = []
    for start, group in by_start.items():
        together = len(group) >= max(2, _GROUP * len(moving))
        for members in [group] if together else [[member] for member in group]:
            column, length = members[0][0], min(length for _, length in members)
            if together or (length >= _LONE_ROWS and not _may_rest(table[start, column], table[:, column])):
                found.append(_Frozen(stream, tuple(column for column, _ in members), start, length, whole=together))
    return found


def _freeze(table: NDArray[Any], changed: NDArray[Any], least: int) -> tuple[int, int] | None:
    """Where all columns stop at once for good or for long: the row and how many; None where they do not."""
    starts, lengths = segments(np.any(changed, axis=1))
    longest = int(lengths.argmax())
    if longest < _MOVES_BEFORE:
        return None
    before = lengths[1:longest]  # the first may be the time before it began to move
    usual, worst = float(np.median(before)), int(before.max())
    start, length = int(starts[longest]), int(lengths[longest])
    if worst > _STEADY * usual or length < max(least, _FREEZE * usual, 2 * worst):
        return None
    return (start, length) if _was_moving(table, starts[1 : longest + 1]) else None


def _was_moving(table: NDArray[Any], changes: NDArray[np.intp]) -> bool:
    """Whether the last changes before it stopped were as large as the others."""
    changes = changes[-_RECENT:]
    steps = np.abs(table[changes].astype(np.float64) - table[changes - 1].astype(np.float64))
    usual = np.nanmedian(steps, axis=0)
    moved = usual > 0
    if not moved.any():
        return False
    latest = steps[-3:][:, moved]
    span = np.nanmax(table, axis=0).astype(np.float64) - np.nanmin(table, axis=0).astype(np.float64)
    settled = np.nanmax(latest / span[moved]) < _SETTLED
    quantum = np.nanmin(np.where(steps > 0, steps, np.inf), axis=0)[moved]
    # Where all changes are of a size, as under bang-bang control, the smallest is no count.
    creeping = bool(((latest <= _QUANTA * quantum) & (usual[moved] > _QUANTA * quantum)).all())
    return bool(np.nanmean(latest / usual[moved]) >= _ABRUPT and not settled and not creeping)


def _may_rest(value: Any, values: NDArray[Any]) -> bool:
    """At its largest or smallest values a column may have run into an end stop; at zero there is nothing to be felt."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = _END_STOP * (high - low)
    return bool(value == 0 or value <= low + margin or value >= high - margin)


def _confidence(hit: _Frozen, episode: EpisodeFacts) -> float | None:
    """None where nothing can be said against it having come to rest."""
    others = _others_move(hit, [*episode.sensors, *episode.actions])
    if hit.whole and len(hit.columns) > 1:
        # A policy that sees nothing new does nothing new: that nothing else moves is no acquittal.
        return 0.9 if others else 0.6
    if not others:
        return None
    return 0.8 if hit.whole else 0.55


def _others_move(hit: _Frozen, streams: Sequence[Stream]) -> bool:
    """Whether another stream, or another column, changes in most of the rows meanwhile."""
    table = hit.stream.table
    assert table is not None
    rest = [column for column in range(table.shape[1]) if column not in hit.columns]
    if rest and _moves(table[hit.start : hit.start + hit.length, rest]):
        return True
    stamps = hit.stream.stamps
    if stamps is None:
        return False
    begin, end = stamps[hit.start], stamps[min(hit.start + hit.length, len(stamps)) - 1]
    for stream in streams:
        if stream is hit.stream or stream.name == "wall_clock" or stream.table is None or stream.stamps is None:
            continue
        within = (stream.stamps[: stream.rows] >= begin) & (stream.stamps[: stream.rows] <= end)
        if _moves(stream.table[within]):
            return True
    return False


def _moves(rows: NDArray[Any]) -> bool:
    return len(rows) > 2 and bool((rows[1:] != rows[:-1]).any(axis=1).mean() >= 0.5)


def _is_discrete(episode: EpisodeFacts, stream: Stream) -> bool:
    """A state that is one of a few may stay the same for long: an agent at a wall."""
    space = episode.part("env").get("observation_space")
    return isinstance(space, str) and "iscrete" in space and stream.values.dtype.kind in "iu"


def dropped_sensor(episode: EpisodeFacts) -> Finding | None:
    """A sensor with a rate of its own of which no rows come for a while, or no more, while other streams go on."""
    clocks = [stream for stream in (*episode.measured, *episode.actions) if stream.rows and stream.stamps is not None]
    timed = [stream for stream in episode.measured if stream.rows >= _MIN_ROWS and stream.stamps is not None]
    if not timed or len(clocks) < 2:
        raise CannotJudge("there is no sensor with times of its own beside another stream")
    hits = [hit for stream in timed if (hit := _gap(stream, clocks)) is not None]
    if not hits:
        return None
    hits.sort(key=lambda hit: -hit["intervals"])
    first = hits[0]
    until = "until the end" if first["until_the_end"] else f"for {first['gap_s']:.3f} s"
    return Finding(
        "dropped_sensor",
        f"{first['stream']} dropped out",
        f"{first['stream']} came every {first['usual_s'] * 1000:.3g} ms until {first['onset_s']:.3f} s, then not "
        f"{until} ({first['intervals']:.0f} intervals), while other streams went on.",
        0.9 if first["until_the_end"] or first["intervals"] >= _LONG_GAP else 0.7,
        {"dropped": hits[:5]},
        first["onset_s"],
        tuple(hit["stream"] for hit in hits),
        "Check the sensor's connection, its driver's log and the bandwidth of its bus at that moment.",
    )


def _gap(stream: Stream, clocks: Sequence[Stream]) -> dict[str, Any] | None:
    assert stream.stamps is not None
    stamps = np.sort(stream.stamps[: stream.rows])
    intervals = np.diff(stamps)
    usual = float(np.median(intervals))
    if usual <= 0 or np.quantile(intervals, 0.9) > _REGULAR * usual:
        return None
    others = [
        np.sort(other.stamps)
        for other in clocks
        if other is not stream and other.stamps is not None and not np.array_equal(other.stamps, stream.stamps)
    ]
    if not others:
        return None
    end = max(int(other[-1]) for other in others)
    widest = int(intervals.argmax())
    gaps = [(int(stamps[-1]), end, True), (int(stamps[widest]), int(stamps[widest + 1]), False)]
    begin, end, last = max(gaps, key=lambda gap: gap[1] - gap[0])
    if end - begin <= _GAP * usual:
        return None
    rows = max(
        int(np.searchsorted(other, end, "right" if last else "left") - np.searchsorted(other, begin, "right"))
        for other in others
    )
    if rows < _OTHERS_ROWS:
        return None
    return {
        "stream": stream.name,
        "usual_s": usual / 1e9,
        "gap_s": (end - begin) / 1e9,
        "intervals": (end - begin) / usual,
        "until_the_end": last,
        "onset_s": begin / 1e9,
    }
