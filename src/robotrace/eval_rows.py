"""Recorded arrays as the rows a policy saw, pure functions over arrays; ``np`` is the NumPy module, handed in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robotrace.errors import ConfigurationError

__all__ = ["AlignedRows", "align", "is_beside", "iter_baseline_steps", "materialize_observations", "numpy_module"]

_CLOCK = "_t_ns"
_OFFSETS = "_offsets"
_BESIDE = re.compile(r"(?:.*/)?_(?:offsets(?:_\d+)?|rows)")
"""Arrays that say how the rows of others lie (docs/recording.md); they are no rows themselves."""


@dataclass(frozen=True)
class AlignedRows:
    """Recorded arrays on one timeline, a row made when it is asked for.

    Args:
        arrays: ``{key: array (N, …)}``.
        indices: Of each key, for each moment of the timeline, the row that holds then; -1 where there is none yet.
        count: The moments of the timeline.
        np: NumPy.
    """

    arrays: Mapping[str, Any]
    indices: Mapping[str, Any]
    count: int
    np: Any

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, moment: int) -> dict[str, Any]:
        """``{key: row}`` of a moment; each row is a copy, and a key without a row is not there."""
        return {
            key: self.np.array(self.arrays[key][indices[moment]])
            for key, indices in self.indices.items()
            if indices[moment] >= 0
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[moment] for moment in range(self.count))

    def moments(self) -> list[int]:
        """The moments at which there is anything at all."""
        seen = self.np.zeros(self.count, dtype=bool)
        for indices in self.indices.values():
            seen |= indices >= 0
        return [int(moment) for moment in self.np.flatnonzero(seen)]


def _index_rows(arrays: Mapping[str, Any] | None, np: Any) -> AlignedRows:
    """Row i of every array, as far as the shortest goes; a single value has no rows and is left out.

    Args:
        arrays: ``{key: array (N, …)}``.
        np: NumPy.
    """
    kept = _with_rows(arrays or {}, np)
    count = min(map(len, kept.values()), default=0)
    return AlignedRows(kept, dict.fromkeys(kept, np.arange(count)), count, np)


def align(
    sensors: Mapping[str, Any], actions: Mapping[str, Any], action_keys: Sequence[str], np: Any
) -> tuple[AlignedRows, AlignedRows]:
    """Observations and actions on the timeline of the actions, since an action's time is when its observation was seen.

    Without a clock of the actions it is the timeline of the sensor stream with the most rows. At each moment a stream
    with a clock gives its latest row at or before it, never one from the future. A stream without one goes by index:
    of the sensors when it has a row for each moment, of the actions as far as it goes. Where no sensor stream has a
    clock, the rule of :func:`materialize_observations` holds.

    Args:
        sensors: ``{key: array (N, …)}``, with the clock of ``<stream>/<field>`` under ``<stream>/_t_ns``, in
            nanoseconds.
        actions: Alike.
        action_keys: The keys of ``actions`` to align, in the order in which they are asked for a clock.
        np: NumPy.
    """
    observed = _with_rows(sensors, np)
    acted = {key: array for key, array in _with_rows(actions, np).items() if key in action_keys}
    if not any(_clock(sensors, key, len(array), np) is not None for key, array in observed.items()):
        rows = _index_rows(sensors, np)
        return rows, AlignedRows(acted, {key: _by_index(a, rows.count, np) for key, a in acted.items()}, rows.count, np)
    moments = _timeline(sensors, observed, actions, acted, np)
    count = len(moments)
    held: dict[str, dict[str, Any]] = {"sensors": {}, "actions": {}}
    for kind, arrays, streams in (("sensors", sensors, observed), ("actions", actions, acted)):
        shared: dict[tuple[str, int], Any] = {}  # the fields of a stream have one clock
        for key, array in streams.items():
            place = key.rpartition("/")[0], len(array)
            clock = _clock(arrays, key, len(array), np)
            if clock is not None:
                if place not in shared:
                    shared[place] = _latest(clock, moments, np)
                held[kind][key] = shared[place]
            elif kind == "actions" or len(array) >= count:
                held[kind][key] = _by_index(array, count, np)
    return AlignedRows(observed, held["sensors"], count, np), AlignedRows(acted, held["actions"], count, np)


def is_beside(key: str) -> bool:
    """Whether an array only says how the rows of another one lie."""
    return _BESIDE.fullmatch(key) is not None


class _RaggedRows:
    """Rows of different lengths, concatenated: row i is all items between two offsets."""

    def __init__(self, values: Any, offsets: Any) -> None:
        self._values = values
        self._offsets = offsets

    def __len__(self) -> int:
        return max(0, len(self._offsets) - 1)

    def __getitem__(self, row: int) -> Any:
        return self._values[int(self._offsets[row]) : int(self._offsets[row + 1])]


def _with_rows(arrays: Mapping[str, Any], np: Any) -> dict[str, Any]:
    """What has rows: arrays, and ragged ones as their rows; not what only says how those lie."""
    found = {key: np.asarray(array) for key, array in arrays.items() if not is_beside(key)}
    kept = {key: array for key, array in found.items() if array.ndim}
    for key in kept:
        offsets = _offsets_of(arrays, key, np)
        if offsets is not None:
            kept[key] = _RaggedRows(found[key], offsets)
    return kept


def _offsets_of(arrays: Mapping[str, Any], key: str, np: Any) -> Any:
    """Where the rows of a ragged array begin and end, through all its levels; None for any other array."""
    leaf, _, field = key.rpartition("/")
    if field != "value":
        return None
    levels: list[Any] = []
    while (name := f"{leaf}/{_OFFSETS}" + (f"_{len(levels)}" if levels else "")) in arrays:
        levels.append(np.asarray(arrays[name]))
    if not levels:
        return None
    offsets = levels[0]
    for inner in levels[1:]:
        offsets = inner[offsets]
    return offsets


def _timeline(
    sensors: Mapping[str, Any],
    observed: Mapping[str, Any],
    actions: Mapping[str, Any],
    acted: Mapping[str, Any],
    np: Any,
) -> Any:
    for key, array in acted.items():
        clock = _clock(actions, key, len(array), np)
        if clock is not None:
            return clock
    clocks = [clock for key, array in observed.items() if (clock := _clock(sensors, key, len(array), np)) is not None]
    return max(clocks, key=len)  # of equally long ones the first


def _clock(arrays: Mapping[str, Any], key: str, rows: int, np: Any) -> Any:
    """The times of the rows of an array, as many as are known; None where no clock stands beside it."""
    stream, slash, _ = key.rpartition("/")
    clock = arrays.get(f"{stream}{slash}{_CLOCK}")
    if clock is None:
        return None
    clock = np.asarray(clock)
    if clock.ndim != 1 or clock.dtype.kind not in "iu" or not len(clock) or not rows:
        return None
    return clock[:rows].astype(np.int64)


def _latest(clock: Any, moments: Any, np: Any) -> Any:
    order = np.argsort(clock, kind="stable")  # a clock may have been set back
    place = np.searchsorted(clock[order], moments, side="right") - 1
    found = np.where(place >= 0, order[place], -1)
    # Clocks that agree say nothing about rows of the same time: a simulator without a time stamps all of them 0.
    agree = min(len(clock), len(moments))
    if np.array_equal(clock[:agree], moments[:agree]):
        found[:agree] = np.arange(agree)
    return found


def _by_index(array: Any, count: int, np: Any) -> Any:
    indices = np.arange(count)
    return np.where(indices < len(array), indices, -1)


# --- helpers for a user's own loop


def materialize_observations(sensors: Mapping[str, Any] | None, *, np: Any = None) -> list[dict[str, Any]]:
    """Row i of every array as one observation, as far as the shortest goes.

    By index alone: :func:`robotrace.evals.run_against` aligns streams of different rates by their clocks before.

    Args:
        sensors: ``{key: array (N, …)}``; a single value has no rows and is left out.
        np: NumPy; imported when it is not given.

    Returns:
        ``[{key: row 0}, {key: row 1}, …]``, each row a copy.

    Raises:
        ConfigurationError: NumPy is not installed.
    """
    return list(_index_rows(sensors, np or numpy_module()))


def iter_baseline_steps(baseline_sensors: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """:func:`materialize_observations`, one at a time.

    Args:
        baseline_sensors: ``{key: array (N, …)}``.

    Raises:
        ConfigurationError: NumPy is not installed.
    """
    return iter(_index_rows(baseline_sensors, numpy_module()))


def numpy_module() -> Any:
    """NumPy.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import numpy
    except ImportError as exc:
        raise ConfigurationError("replaying needs numpy; run: pip install numpy") from exc
    return numpy
