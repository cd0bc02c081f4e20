"""What a replay comes to: outcomes, and the distance between what two policies did.

Pure functions over arrays that are already there; ``np`` is the NumPy module, handed in so that the base install
imports without it. docs/evals.md states the formulas in words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from robotrace.eval_rows import is_beside, numpy_module
from robotrace.types import encode

__all__ = [
    "ActionDistance",
    "OutOfDistribution",
    "claimed_outcome",
    "extract_outcome",
    "metric_action_l2_distance",
    "metric_arrays",
    "metric_ood_action_share",
]

_FIELDS: dict[str, tuple[str, ...]] = {
    "success": ("success", "next.success"),
    "reward_total": ("reward_total", "next.reward_sum", "reward"),
    "collision_count": ("collision_count",),
    "time_to_goal_s": ("time_to_goal_s",),
}
"""Each field of an outcome, and the keys it goes by in metadata."""

_OUT_OF_DISTRIBUTION_Z = 3.0
_LEAST_ROWS = 5  # fewer say nothing about a distribution
_CONSTANT_STD = 1e-9  # what rounding leaves of a component that never changes


def extract_outcome(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The outcome that an episode's metadata tells.

    Looked for in the metadata itself, then in its ``outcome``, then in its ``lerobot_episode_outcome``; the first hit
    counts, for each field on its own. A ``success`` that is no bool and a number that is not finite are none.

    Args:
        metadata: The episode's.

    Returns:
        Of ``success`` (bool), ``reward_total``, ``collision_count`` and ``time_to_goal_s`` (seconds) those that are
        known.
    """
    sources = (metadata, metadata.get("outcome"), metadata.get("lerobot_episode_outcome"))
    found: dict[str, Any] = {}
    for source in sources:
        for field, value in _outcome_of(source, _FIELDS).items():
            found.setdefault(field, value)
    return {field: found[field] for field in _FIELDS if field in found}


def claimed_outcome(action: Mapping[str, Any]) -> dict[str, Any]:
    """What a policy says of its own outcome, ``_outcome`` in its last action; as :func:`extract_outcome` returns it."""
    return _outcome_of(action.get("_outcome"), {field: (field,) for field in _FIELDS})


def _outcome_of(source: Any, fields: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    source = encode(source)  # an EpisodeOutcome will do as well
    if not isinstance(source, Mapping):
        return {}
    found = {}
    for field, names in fields.items():
        read = _boolean if field == "success" else _number
        value = next((value for name in names if (value := read(source.get(name))) is not None), None)
        if value is not None:
            found[field] = value
    return found


def _scalar(value: Any) -> Any:
    """A NumPy scalar or an array (or tensor) of one number as Python's own."""
    return value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value


def _boolean(value: Any) -> bool | None:
    value = _scalar(value)
    return value if isinstance(value, bool) else None


def _number(value: Any) -> int | float | None:
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer beyond float64
        return None


# --- what two policies did


def metric_arrays(actions: Mapping[str, Any] | None, np: Any) -> dict[str, Any]:
    """The arrays that a metric compares: real numbers under a key with a ``/`` that is no clock, a row a step.

    Rows of different lengths are left out: what one policy put at a place of such a row the other need not have.

    Args:
        actions: ``{key: array (N, …)}``.
        np: NumPy.
    """
    actions = actions or {}
    arrays = {
        key: np.asarray(array)
        for key, array in actions.items()
        if _is_metric_key(key) and not is_beside(key) and f"{key.rpartition('/')[0]}/_offsets" not in actions
    }
    return {key: array for key, array in arrays.items() if array.ndim and array.dtype.kind in "iuf"}


def _is_metric_key(key: str) -> bool:
    return "/" in key and not key.endswith("/_t_ns")


def _rows_by_index(arrays: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """``{key: row i}`` for each i up to the shortest array."""
    count = min((len(array) for array in arrays.values()), default=0)
    return ({key: array[index] for key, array in arrays.items()} for index in range(count))


class ActionDistance:
    """The mean L2 distance between the actions of two policies, fed step by step.

    A step's distance is sqrt(Σ ‖baseline − candidate‖²) over the keys that both have, in float64. A candidate's value
    is looked up by the whole key, else by what stands before the last ``/``; one of another size is no match.

    Args:
        np: NumPy.
    """

    def __init__(self, np: Any) -> None:
        self._np = np
        self._total = 0.0
        self._steps = 0
        self.nonfinite_steps = 0
        """Steps left out of the mean, since a NaN, an infinity or an overflow is in their distance."""

    @property
    def mean(self) -> float | None:
        """Over the steps with at least one key in common; None when there is none."""
        return self._total / self._steps if self._steps else None

    def add(self, baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> None:
        """Take a step in.

        Args:
            baseline: What was done; values that are no numbers and keys that no metric compares are to be left out.
            candidate: What the candidate does instead.
        """
        squares, matched = 0.0, False
        for key, value in baseline.items():
            ours = _vector(_lookup(candidate, key), self._np)
            theirs = self._np.asarray(value, dtype=self._np.float64).ravel()
            if ours is None or ours.shape != theirs.shape:
                continue
            matched = True
            with self._np.errstate(all="ignore"):
                difference = theirs - ours
                squares += float(self._np.dot(difference, difference))
        if not matched:
            return
        if math.isfinite(squares):
            self._total += math.sqrt(squares)
            self._steps += 1
        else:
            self.nonfinite_steps += 1


class OutOfDistribution:
    """The share of a policy's steps that lie outside the distribution of the baseline's actions, fed step by step.

    A step does when |z| > 3 for any component of any key, with z = (value − mean) / std over the baseline's rows
    (population std; one below 1e-9 counts as 1). A value that is not finite lies outside of every distribution; a row
    of the baseline that is not is left out of its mean. Values are looked up as in :class:`ActionDistance`.

    Args:
        arrays: The baseline's, ``{key: array (N, …)}``; an array of fewer than 5 finite rows is left out.
        np: NumPy.
    """

    def __init__(self, arrays: Mapping[str, Any], np: Any) -> None:
        self._np = np
        self._known: dict[str, tuple[Any, Any]] = {}
        self._steps = self._outside = 0
        for key, array in arrays.items():
            rows = np.asarray(array, dtype=np.float64).reshape(len(array), -1)
            rows = rows[np.isfinite(rows).all(axis=1)]
            if len(rows) < _LEAST_ROWS:
                continue
            with np.errstate(all="ignore"):
                std = rows.std(axis=0)
                self._known[key] = rows.mean(axis=0), np.where(std < _CONSTANT_STD, 1.0, std)

    @property
    def share(self) -> float | None:
        """Of the steps with at least one known key; None when there is none."""
        return self._outside / self._steps if self._steps else None

    def add(self, action: Mapping[str, Any]) -> None:
        """Take a step in."""
        known = outside = False
        for key, (mean, std) in self._known.items():
            value = _vector(_lookup(action, key), self._np)
            if value is None or value.shape != mean.shape:
                continue
            known = True
            with self._np.errstate(all="ignore"):
                inside = abs((value - mean) / std) <= _OUT_OF_DISTRIBUTION_Z  # NaN is not
            outside = outside or not inside.all()
        self._steps += known
        self._outside += outside


def _lookup(action: Mapping[str, Any], key: str) -> Any:
    return action[key] if key in action else action.get(key.rpartition("/")[0])


def _vector(value: Any, np: Any) -> Any:
    """A policy's value as a flat float64 array; None when it is none of real numbers."""
    if value is None:
        return None
    try:
        if callable(getattr(value, "detach", None)):  # a torch tensor, which may have a gradient and be on a GPU
            value = value.detach().cpu()
            if "bfloat16" in str(value.dtype):  # NumPy has no such type
                value = value.float()
        array = np.asarray(value)
        if array.dtype.kind not in "biufO":
            return None
        return array.astype(np.float64).ravel()
    except Exception:  # ragged, text, or an object that fails in a way of its own
        return None


# --- helpers for a user's own loop


def metric_action_l2_distance(
    baseline: Mapping[str, Any] | None, candidate: Iterable[Mapping[str, Any]] | None, *, np: Any = None
) -> float | None:
    """The mean over the steps of sqrt(Σ over the keys of ‖baseline − candidate‖²), in float64.

    Compared are the real numbers under keys with a ``/`` that are no clock, up to the shortest array; the candidate's
    are looked up by the whole key, else by what stands before its last ``/``. A step whose distance is not finite is
    left out.

    Args:
        baseline: The recorded actions, ``{key: array (N, …)}``.
        candidate: The candidate's, step by step.
        np: NumPy; imported when it is not given.

    Returns:
        None when no step has a key in common.

    Raises:
        ConfigurationError: NumPy is not installed.
    """
    np = np or numpy_module()
    distance = ActionDistance(np)
    for recorded, action in zip(_rows_by_index(metric_arrays(baseline, np)), candidate or (), strict=False):
        distance.add(recorded, action)
    return distance.mean


def metric_ood_action_share(
    baseline: Mapping[str, Any] | None, candidate: Iterable[Mapping[str, Any]] | None, *, np: Any = None
) -> float | None:
    """The share of the candidate's steps in which any |z| > 3 against the baseline's mean and population std.

    Args:
        baseline: The recorded actions, ``{key: array (N, …)}``; an array of fewer than 5 rows says nothing.
        candidate: The candidate's, step by step; counted are those with at least one known key.
        np: NumPy; imported when it is not given.

    Returns:
        None when no step was counted.

    Raises:
        ConfigurationError: NumPy is not installed.
    """
    np = np or numpy_module()
    outside = OutOfDistribution(metric_arrays(baseline, np), np)
    for action in candidate or ():
        outside.add(action)
    return outside.share
