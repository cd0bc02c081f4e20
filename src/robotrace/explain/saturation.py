"""Actions that stand at the end of what the actuator can do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.explain.bounds import Bounds, action_bounds
from robotrace.explain.facts import CannotJudge, EpisodeFacts, Finding, Stream
from robotrace.explain.runs import longest_run, segments

__all__ = ["action_saturation"]

_MIN_ROWS = 20
_TOLERANCE = 1e-3
"""Of the range: what is nearer to a bound stands at it; a policy's tanh never quite gets there."""
_LONG_RUN = 0.15
"""Of the episode, at one bound without a break. Swing-ups and other good controllers push for a while at the limit:
the longest such run of the nominal Pendulum episodes of the test bench is 8 % of the episode."""
_FEWEST_ROWS = 10
_HOLDS = 5.0
"""Times that the action is usually held: one that is repeated by design stands at a bound for that long by chance."""
_FREE = 0.05
"""Of the episode that the action must have been between its bounds before: what is at a bound from the first step on,
or knows nothing else, is on and off by design (a gripper, bang-bang control)."""


def action_saturation(episode: EpisodeFacts) -> Finding | None:
    """An action that moved between its recorded bounds comes to stand at one of them."""
    bounds = action_bounds(episode.metadata)
    if not bounds:
        raise CannotJudge("no bounds of a continuous action space are recorded")
    known = [stream for stream in episode.actions if stream.name in bounds and stream.table is not None]
    hits = [hit for stream in known for hit in _stuck(stream, bounds[stream.name])]
    if not hits:
        return None
    hits.sort(key=lambda hit: -hit["longest_run"])
    first = hits[0]
    share = first["longest_run"] / first["of"]
    when = "" if first["onset_s"] is None else f" from {first['onset_s']:.3f} s on"
    return Finding(
        "action_saturation",
        f"{first['action']} stood at its {first['bound']} bound",
        f"{first['action']} stood at its {first['bound']} bound for {first['longest_run']} of {first['of']} steps "
        f"without a break{when}; it is at a bound in {first['share']:.0%} of all steps.",
        min(0.9, 0.5 + 0.8 * share),
        {"actions": hits[:5]},
        first["onset_s"],
        tuple(dict.fromkeys(hit["stream"] for hit in hits)),
        "Look for what the controller fights: a load, a blocked joint, a wrong reading. Or the limit is too low.",
    )


def _stuck(stream: Stream, bounds: Bounds) -> list[dict[str, Any]]:
    table = stream.table
    assert table is not None
    rows, columns = table.shape
    if rows < _MIN_ROWS or len(bounds[0]) not in (1, columns):
        return []
    low, high = (np.broadcast_to(side, columns) for side in bounds)
    hits = []
    for column in range(columns):
        values, span = table[:, column].astype(np.float64), high[column] - low[column]
        if not np.isfinite(span) or span <= 0:
            continue
        at_low, at_high = values <= low[column] + _TOLERANCE * span, values >= high[column] - _TOLERANCE * span
        for bound, at in (("lower", at_low), ("upper", at_high)):
            start, length = longest_run(at)
            free = ~(at_low | at_high)[:start]
            least = max(_FEWEST_ROWS, _LONG_RUN * rows)
            if length < least or np.count_nonzero(free) < max(5, _FREE * rows):
                continue
            _, holds = segments(np.diff(values[:start]) != 0)
            if length >= _HOLDS * float(np.median(holds)):
                hits.append(_hit(stream, column, bound, at_low | at_high, start, length))
    return hits


def _hit(stream: Stream, column: int, bound: str, at: NDArray[Any], start: int, length: int) -> dict[str, Any]:
    return {
        "stream": stream.name,
        "action": stream.column(column),
        "bound": bound,
        "longest_run": length,
        "of": len(at),
        "share": float(at.mean()),
        "onset_s": stream.time_s(start),
    }
