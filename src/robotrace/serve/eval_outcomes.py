"""What became of each baseline of an eval run, told by its metrics: pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from robotrace.serve.proportions import Pairs
from robotrace.serve.values import boolean, finite

__all__ = ["ORDER", "OUTCOMES", "Outcome", "change_of", "outcome_of", "pairs_of"]

Outcome = Literal["broke", "fixed", "neither", "both", "unknown", "failed", "pending"]

OUTCOMES: tuple[Outcome, ...] = ("broke", "fixed", "neither", "both", "unknown", "failed", "pending")
"""Where the baseline succeeded and the candidate failed, the other way round, where both failed, where both succeeded;
where an outcome is not known; a replay that failed, and one that has not come."""

ORDER: Mapping[Outcome, int] = {
    "broke": 0,
    "fixed": 1,
    "failed": 2,
    "neither": 3,
    "unknown": 3,
    "both": 3,
    "pending": 3,
}
"""What tells the two policies apart comes first, then what went wrong."""

_CELLS: Mapping[tuple[bool, bool], Outcome] = {
    (True, False): "broke",
    (False, True): "fixed",
    (False, False): "neither",
    (True, True): "both",
}


def outcome_of(status: str, metrics: Mapping[str, Any]) -> Outcome:
    """The outcome of a result of this status, "pending", "complete" or "failed", and these metrics."""
    if status == "pending":
        return "pending"
    if status == "failed":
        return "failed"
    baseline, candidate = boolean(metrics.get("success_baseline")), boolean(metrics.get("success_candidate"))
    return "unknown" if baseline is None or candidate is None else _CELLS[baseline, candidate]


def pairs_of(outcomes: Iterable[Outcome]) -> Pairs:
    """The paired table of baselines (first) and candidate (second)."""
    counts = Counter(outcomes)
    return Pairs(
        both=counts["both"], only_first=counts["broke"], only_second=counts["fixed"], neither=counts["neither"]
    )


def change_of(metrics: Mapping[str, Any], name: str) -> float | None:
    """The candidate's value of a metric less the baseline's; None where one of them is none."""
    baseline, candidate = finite(metrics.get(f"{name}_baseline")), finite(metrics.get(f"{name}_candidate"))
    return None if baseline is None or candidate is None else candidate - baseline
