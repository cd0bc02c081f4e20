"""Values that are none: NaN and infinity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from robotrace.explain.facts import CannotJudge, EpisodeFacts, Finding, Stream

__all__ = ["nan_in_actions", "nan_in_observations"]

_HABIT_ROWS = 0.1
"""A column that is not finite in the first tenth of the rows is so by habit: a range finder without an echo, a field
that nobody fills in. Its later gaps say little."""
_HABIT_CONFIDENCE = 0.3


def nan_in_actions(episode: EpisodeFacts) -> Finding | None:
    """A policy that returns NaN or infinity: no robot can do that."""
    # All the same for columns that are NaN by habit: a command is a number.
    return _look(episode.actions, "nan_in_actions", "actions", 0.95, 0.6)


def nan_in_observations(episode: EpisodeFacts) -> Finding | None:
    """NaN or infinity in what was measured, or in the reward."""
    rewards = [stream for stream in episode.sensors if stream.name == "reward"]
    return _look([*episode.measured, *rewards], "nan_in_observations", "observations", 0.95, _HABIT_CONFIDENCE)


def _look(streams: Iterable[Stream], code: str, what: str, sure: float, by_habit: float) -> Finding | None:
    # Images too, but for those of integers, which have no NaN.
    floats = [stream for stream in streams if stream.values.dtype.kind == "f" and stream.rows]
    if not floats:
        raise CannotJudge(f"there are no {what} of floating point")
    hits = [hit for stream in floats if (hit := _first_bad(stream, sure, by_habit)) is not None]
    if not hits:
        return None
    hits.sort(key=lambda hit: (-hit["confidence"], hit["onset_s"] is None, hit["onset_s"] or 0.0))
    first = hits[0]
    when = f"row {first['row']}" if first["onset_s"] is None else f"{first['onset_s']:.3f} s"
    habit = " It is so from the start in these columns, which may be by design." if first["confidence"] < sure else ""
    return Finding(
        code,
        f"{first['kind']} in {what}: {first['stream']}",
        f"{first['stream']} has {first['kind']} in {first['rows']} of {first['of']} rows, from {when} on.{habit}",
        first["confidence"],
        {"streams": [{key: value for key, value in hit.items() if key != "confidence"} for hit in hits[:5]]},
        first["onset_s"],
        tuple(hit["stream"] for hit in hits),
        "Look at the inputs of the policy at that step: a division by zero, a missing reading, diverged weights."
        if code == "nan_in_actions"
        else "Look at the sensor and its driver at that moment, and at whether the policy gets that value.",
    )


def _first_bad(stream: Stream, sure: float, by_habit: float) -> dict[str, Any] | None:
    values = stream.values[: stream.rows].reshape(stream.rows, -1)
    bad = ~np.isfinite(values)
    rows = np.flatnonzero(bad.any(axis=1))
    if not len(rows):
        return None
    head = max(1, int(stream.rows * _HABIT_ROWS))
    sudden = bad[head:].any(axis=0) & ~bad[:head].any(axis=0)
    if sudden.any():
        rows = np.flatnonzero(bad[:, sudden].any(axis=1))
        columns = np.flatnonzero(sudden)
    else:
        columns = np.flatnonzero(bad.any(axis=0))
    row = int(rows[0])
    return {
        "stream": stream.name,
        "kind": "NaN" if bool(np.isnan(values[row]).any()) else "infinity",
        "row": row,
        "rows": len(rows),
        "of": stream.rows,
        "columns": [int(column) for column in columns[:10]],
        "onset_s": stream.time_s(row),
        "confidence": sure if sudden.any() or stream.rows == 1 else by_habit,
    }
