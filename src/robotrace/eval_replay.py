"""A policy on the rows of one recorded episode, and the metrics of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from robotrace.eval_baseline import Baseline, UnreplayableError
from robotrace.eval_metrics import ActionDistance, OutOfDistribution, claimed_outcome, extract_outcome, metric_arrays
from robotrace.eval_rows import align

__all__ = ["Action", "Observation", "PolicyCallable", "measured"]

Observation = dict[str, Any]
"""One row of what was recorded: ``{"<stream>/<field>": array, …, "<stream>/_t_ns": array}``."""

Action = dict[str, Any]
"""What a policy does about it, under the keys of the recorded actions; ``_outcome`` in the last is its own verdict."""

PolicyCallable = Callable[[Observation], Action]
"""Called once for each recorded row, in their order."""


def measured(baseline: Baseline, baseline_id: str, policy: PolicyCallable, np: Any) -> dict[str, Any]:
    """Run the policy on every recorded row; the metrics of docs/evals.md.

    Args:
        baseline: The recorded episode.
        baseline_id: Its id, for the error.
        policy: The candidate.
        np: NumPy.

    Raises:
        UnreplayableError: The episode has no row.
        TypeError: The policy returned something that is no mapping.
        Exception: Whatever the policy raises.
    """
    arrays = metric_arrays(baseline.actions, np)
    observed, acted = align(baseline.sensors, baseline.actions, list(arrays), np)
    moments = observed.moments()
    if not moments:
        raise UnreplayableError(f"baseline episode {baseline_id}: its sensors have no row to replay")
    distance = ActionDistance(np)
    of_candidate, of_baseline = OutOfDistribution(arrays, np), OutOfDistribution(arrays, np)
    action: Mapping[str, Any] = {}
    # Measured as they come: a policy may well return the same buffers at every step.
    for moment in moments:
        action = policy(observed[moment])
        if not isinstance(action, Mapping):
            raise TypeError(f"the policy has to return a mapping of action keys to arrays, not {type(action).__name__}")
        recorded = acted[moment]
        distance.add(recorded, action)
        of_candidate.add(action)
        of_baseline.add(recorded)
    theirs, ours = extract_outcome(baseline.metadata), claimed_outcome(action)
    outcomes = {
        f"{name}_{side}": outcome.get(name)
        for name in ("success", "reward_total", "collision_count", "time_to_goal_s")
        for side, outcome in (("baseline", theirs), ("candidate", ours))
    }
    return {
        **outcomes,
        "action_l2_distance": distance.mean,
        "ood_action_share": of_candidate.share,
        "step_count": len(moments),
        "ood_action_share_baseline": of_baseline.share,
        "nonfinite_steps": distance.nonfinite_steps,
        "outcome_candidate": "claimed" if ours else None,
    }
