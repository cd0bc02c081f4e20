"""From the rounds to the results: medians, p10, differences and ratios to the bare loop, targets. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from plan import BARE, Case, Contestant, Target

__all__ = ["Rounds", "judge", "quantile", "summarise"]

Rounds = Mapping[tuple[str, str], Sequence[Mapping[str, Any] | None]]
"""(environment, contestant) → one answer a round, None where there was none."""


def quantile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between the sorted values, as numpy.quantile's default."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def summarise(case: Case, contestant: Contestant, rounds: Rounds) -> dict[str, Any]:
    """One contestant's row of the results: every figure, ``…over_bare`` and ``…ratio`` against the same round."""
    answers = rounds.get((contestant.environment, contestant.name), ())
    reason = contestant.absent or next((answer["error"] for answer in answers if answer and "error" in answer), None)
    row: dict[str, Any] = {
        "name": contestant.name,
        "label": contestant.label,
        "environment": contestant.environment,
        "status": "run" if reason is None and any(answers) else "not run",
    }
    if row["status"] == "not run":
        return {**row, "reason": reason or "it was not measured"}
    bare = rounds.get((contestant.environment, BARE), ()) if contestant.name != BARE else ()
    values: dict[str, list[float]] = {}
    facts: dict[str, list[str]] = {}
    same: dict[str, bool] = {}
    for index, answer in enumerate(answers):
        if not answer:
            continue
        other = bare[index] if index < len(bare) else None
        beside = (other or {}).get("figures", {})
        for name, value in answer["figures"].items():
            values.setdefault(name, []).append(value)
            if name in beside:
                values.setdefault(f"{name}.over_bare", []).append(value - beside[name])
                if beside[name]:
                    values.setdefault(f"{name}.ratio", []).append(value / beside[name])
        for name, text in answer["facts"].items():
            facts.setdefault(name, []).append(text)
            if other and "facts" in other:
                same[name] = same.get(name, True) and other["facts"].get(name) == text
    row["figures"] = {name: _spread(found) for name, found in values.items()}
    if facts:
        row["facts"] = {name: sorted(set(found)) for name, found in facts.items()}
        row["same_as_bare"] = same
    return row


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": _short(median(values)),
        "p10": _short(quantile(values, 0.1)),
        "p90": _short(quantile(values, 0.9)),
        "rounds": [_short(value) for value in values],
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def judge(target: Target, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether the target is met by the median; ``met`` is None where nothing was measured."""
    row = next(row for row in rows if row["name"] == target.contestant)
    value: Any = None
    if target.sense == "same":
        value = row.get("same_as_bare", {}).get(target.figure)
        met = value
    else:
        value = row.get("figures", {}).get(target.figure, {}).get("median")
        assert target.limit is not None
        met = None if value is None else value <= target.limit if target.sense == "at most" else value >= target.limit
    return {
        "text": target.text,
        "contestant": target.contestant,
        "figure": target.figure,
        "sense": target.sense,
        "limit": target.limit,
        "value": value,
        "met": met,
    }
