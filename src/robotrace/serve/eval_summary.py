"""What the results of an eval run come to: pure functions over metrics; docs/evals.md states the same in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robotrace.serve.schemas_evals import EvalMetric, EvalSummary
from robotrace.serve.values import boolean, finite

__all__ = ["ResultValues", "is_claimed", "summarize"]

_EQUAL = 1e-9  # a delta this small is rounding

Metrics = Mapping[str, Any]
Reader = Callable[[Metrics, str], float | None]


@dataclass(frozen=True)
class ResultValues:
    """What the summary needs of one baseline's result.

    Args:
        status: "pending", "complete" or "failed".
        metrics: What the client measured; values of an unexpected type count as unknown.
    """

    status: str
    metrics: Metrics


def is_claimed(metrics: Metrics) -> bool:
    """Whether the candidate's outcome in these metrics is the policy's own word."""
    return metrics.get("outcome_candidate") == "claimed"


def summarize(results: Sequence[ResultValues], *, run_status: str = "completed") -> EvalSummary:
    """Roll up a run.

    Args:
        results: One for each baseline of the run.
        run_status: How the run ended: "completed", "failed" or "cancelled".
    """
    complete = [result.metrics for result in results if result.status == "complete"]
    success_rate = _metric(complete, _success, higher_is_better=True)
    reward_mean = _metric(complete, _number("reward_total_{side}"), higher_is_better=True)
    collision_rate = _metric(complete, _collided, higher_is_better=False)
    time_to_goal_s = _metric(complete, _number("time_to_goal_s_{side}"), higher_is_better=False)
    ood_action_share = _ood_action_share(complete)
    metrics = (success_rate, reward_mean, collision_rate, time_to_goal_s, ood_action_share)
    reasons = _reasons_to_hold(results, complete, run_status)
    return EvalSummary(
        success_rate=success_rate,
        reward_mean=reward_mean,
        collision_rate=collision_rate,
        time_to_goal_s=time_to_goal_s,
        ood_action_share=ood_action_share,
        recommend="hold" if reasons else "ship",
        better_count=sum(metric.delta_is_better is True for metric in metrics),
        metric_total=sum(metric.delta is not None for metric in metrics),
        reasons=reasons,
        claimed=sum(map(is_claimed, complete)),
    )


def _success(metrics: Metrics, side: str) -> float | None:
    success = boolean(metrics.get(f"success_{side}"))
    return None if success is None else float(success)


def _collided(metrics: Metrics, side: str) -> float | None:
    count = finite(metrics.get(f"collision_count_{side}"))
    return None if count is None else float(count > 0)


def _number(key: str) -> Reader:
    return lambda metrics, side: finite(metrics.get(key.format(side=side)))


def _ood_side(metrics: Metrics, side: str) -> float | None:
    return finite(metrics.get("ood_action_share" if side == "candidate" else "ood_action_share_baseline"))


def _ood_action_share(complete: Sequence[Metrics]) -> EvalMetric:
    metric = _metric(complete, _ood_side, higher_is_better=False)
    if any(_ood_side(metrics, "baseline") is not None for metrics in complete):
        return metric
    # A client that knows only the contract sends no baseline side.
    return metric.model_copy(
        update={
            "candidate": _mean(
                [share for metrics in complete if (share := _ood_side(metrics, "candidate")) is not None]
            )
        }
    )


def _metric(complete: Sequence[Metrics], read: Reader, *, higher_is_better: bool) -> EvalMetric:
    pairs = [
        (baseline, candidate)
        for metrics in complete
        if (baseline := read(metrics, "baseline")) is not None and (candidate := read(metrics, "candidate")) is not None
    ]
    baseline, candidate = _mean([pair[0] for pair in pairs]), _mean([pair[1] for pair in pairs])
    delta = None if baseline is None or candidate is None else candidate - baseline
    if delta is not None and not math.isfinite(delta):  # means at both ends of float64
        delta = None
    better = None if delta is None or abs(delta) <= _EQUAL else (delta > 0) == higher_is_better
    return EvalMetric(baseline=baseline, candidate=candidate, delta=delta, delta_is_better=better, pairs=len(pairs))


def _mean(values: Sequence[float]) -> float | None:
    if not values:
        return None
    try:
        return math.fsum(values) / len(values)
    except OverflowError:  # the sum is beyond float64, the mean is not
        return math.fsum(value / len(values) for value in values)


def _reasons_to_hold(results: Sequence[ResultValues], complete: Sequence[Metrics], run_status: str) -> list[str]:
    total = len(results)
    pending = sum(result.status == "pending" for result in results)
    failed = sum(result.status == "failed" for result in results)
    unknown = sum(_success(metrics, "candidate") is None for metrics in complete)
    reasons = []
    if run_status != "completed":
        reasons.append(f"The run was ended as {run_status}.")
    if pending:
        reasons.append(f"{pending} of {total} baselines have no result.")
    if failed:
        reasons.append(f"The replay of {failed} of {total} baselines failed.")
    if unknown:
        reasons.append(f"The candidate has no outcome of its own on {unknown} of {total} baselines.")
    reasons += _worse(complete, _success, "succeeds", higher_is_better=True)
    reasons += _worse(complete, _collided, "collides", higher_is_better=False)
    return reasons


def _worse(complete: Sequence[Metrics], read: Reader, verb: str, *, higher_is_better: bool) -> list[str]:
    """Why a rate is worse, or could be: the candidate has to be as good as the best the baselines may have done."""
    known = [metrics for metrics in complete if read(metrics, "candidate") is not None]
    baselines = [read(metrics, "baseline") for metrics in known]
    candidate = sum(read(metrics, "candidate") or 0.0 for metrics in known)
    baseline = sum(value or 0.0 for value in baselines)
    unknown = baselines.count(None)
    at_best = baseline + (unknown if higher_is_better else 0)
    if candidate == at_best or (candidate > at_best) == higher_is_better:
        return []
    text = (
        f"The candidate {verb} on {candidate:.0f} of {len(known)} baselines, the baselines themselves on {baseline:.0f}"
    )
    return [f"{text}; of {unknown} that is not known." if unknown else f"{text}."]
