"""What a vector environment gives for all its environments at once, taken apart for one of them.

Observations and actions are batches by their space: arrays of any library with one row an environment, dicts and tuples
of such arrays, or, where values cannot be stacked (Text, Graph, Sequence), a tuple with one value an environment. Infos
are dicts of such columns with a mask ``_key`` beside each; where the mask is false the column holds zeros that mean
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MISSING",
    "alike",
    "as_flags",
    "final_info",
    "final_observation",
    "info_of",
    "on_host",
    "rebuilt",
    "row_of",
    "same_rows",
]

MISSING: Any = object()
"""There is no such value."""

_FINAL_OBSERVATIONS = ("final_obs", "final_observation", "terminal")
"""Gymnasium from 1.1 on and Isaac Lab; Gymnasium before and ManiSkill; mjlab."""
_FINAL_INFO = "final_info"
_UNBATCHED = ("Graph", "OneOf", "Sequence", "Text")
_NOT_INFOS = frozenset((*_FINAL_OBSERVATIONS, _FINAL_INFO))


def row_of(space: Any, batch: Any, index: int, count: int) -> Any:
    """The value of one environment; arrays are views of the batch.

    Args:
        space: Of a single environment; None where it is not known.
        batch: Of all ``count`` environments.
        index: Which one.
        count: How many there are.
    """
    if isinstance(batch, Mapping) or hasattr(batch, "keys"):  # TensorDict is no Mapping
        parts = getattr(space, "spaces", None)
        known = parts if isinstance(parts, Mapping) else {}
        return {key: row_of(known.get(key), batch[key], index, count) for key in batch.keys()}  # noqa: SIM118
    if isinstance(batch, (tuple, list)) and _is_nest(space, batch, count):
        spaces = getattr(space, "spaces", None) or [None] * len(batch)
        return tuple(row_of(part, item, index, count) for part, item in zip(spaces, batch, strict=True))
    return batch[index]


def _is_nest(space: Any, batch: Sequence[Any], count: int) -> bool:
    """Whether a tuple holds a batch for each of its parts, and not a value for each environment."""
    if space is not None:
        return type(space).__name__ == "Tuple"
    return len(batch) > 0 and all(getattr(item, "shape", ())[:1] == (count,) for item in batch)


def on_host(values: Any, indices: slice | list[int] | None) -> NDArray[Any]:
    """The rows of some environments as a NumPy array; may share its memory with ``values``.

    Args:
        values: (count, …), of any library, on any device.
        indices: Which rows, selected before they leave the device; None for all.
    """
    if indices is not None:
        if isinstance(values, (tuple, list)):
            values = np.asarray(values)
        # Of a list JAX says that it is no index.
        values = values[indices if isinstance(indices, slice) else np.asarray(indices)]
    if hasattr(values, "detach"):  # torch
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def as_flags(values: Any) -> NDArray[np.bool_]:
    """Done flags, (count,), of whatever came as (count,) or (count, 1)."""
    return on_host(values, None).reshape(-1).astype(np.bool_, copy=False)


def info_of(infos: Any, index: int, count: int) -> dict[str, Any]:
    """The info of one environment; only what its masks say is its own.

    Args:
        infos: A dict of columns with masks, or a sequence of dicts.
        index: Which environment.
        count: How many there are.
    """
    if not isinstance(infos, Mapping):
        own = infos[index] if isinstance(infos, Sequence) and len(infos) == count else None
        return dict(own) if isinstance(own, Mapping) else {}
    found: dict[str, Any] = {}
    for key, value in infos.items():
        if key in _NOT_INFOS or (isinstance(key, str) and key[:1] == "_" and key[1:] in infos):
            continue
        own = _own(infos, key, value, index, count)
        if own is not MISSING:
            found[key] = own
    return found


def final_info(infos: Any, index: int, count: int) -> dict[str, Any]:
    """The last info of an episode whose environment was reset within the step."""
    if isinstance(infos, Mapping) and _FINAL_INFO in infos:
        own = _own(infos, _FINAL_INFO, infos[_FINAL_INFO], index, count)
        if isinstance(own, Mapping):
            return dict(own)
    info = info_of(infos, index, count)
    own = info.get(_FINAL_INFO)
    return dict(own) if isinstance(own, Mapping) else info


def final_observation(infos: Any, index: int, count: int, space: Any) -> Any:
    """The last observation of an episode whose environment was reset within the step; :data:`MISSING` where it is not.

    Args:
        infos: Of the step.
        index: Which environment.
        count: How many there are.
        space: Of a single environment's observations.
    """
    own = MISSING
    if isinstance(infos, Mapping):
        for key in _FINAL_OBSERVATIONS:
            if key in infos and _is_own(infos, key, index):
                value = infos[key]
                objects = isinstance(value, np.ndarray) and value.dtype == object
                own = value[index] if objects else row_of(space, value, index, count)
                break
    elif isinstance(infos, Sequence) and len(infos) == count and isinstance(infos[index], Mapping):
        keys = (*_FINAL_OBSERVATIONS, "terminal_observation")  # the last of these is Stable-Baselines3's
        own = next((infos[index][key] for key in keys if key in infos[index]), MISSING)
    return MISSING if own is None else own


def same_rows(one: Any, other: Any) -> bool:
    """Whether two rows are equal to the bit, NaN and all."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_rows(one[key], other[key]) for key in one)
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(same_rows, one, other))
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    try:
        first, second = on_host(one, None), on_host(other, None)
    except Exception:  # an object of the user's own
        return False
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


def _own(infos: Mapping[Any, Any], key: Any, value: Any, index: int, count: int) -> Any:
    if not _is_own(infos, key, index):
        return MISSING
    if isinstance(value, Mapping):
        return info_of(value, index, count)
    shape = getattr(value, "shape", None)
    if shape is not None:
        if len(shape) == 0:
            return value
        return value[index] if shape[0] == count else MISSING
    if isinstance(value, (list, tuple)):
        return value[index] if len(value) == count else MISSING
    return value


def _is_own(infos: Mapping[Any, Any], key: Any, index: int) -> bool:
    mask = infos.get(f"_{key}")
    return mask is None or bool(mask[index])


def rebuilt(value: tuple[Any, ...], items: Iterable[Any]) -> tuple[Any, ...]:
    """A tuple of other items, of the same kind: that of a Graph has names."""
    return type(value)(*items) if hasattr(value, "_fields") else tuple(items)


def alike(value: Any, like: Any, space: Any = None) -> Any:
    """An observation of a single environment in the dtypes that it has in the batch whose row is ``like``.

    Args:
        value: The observation.
        like: Another one, out of a batch.
        space: Of both; what is not batched by it (Graph, OneOf, Sequence, Text) has its own dtypes already.
    """
    if type(space).__name__ in _UNBATCHED or isinstance(value, (str, list)) or value is None:
        return value
    parts = getattr(space, "spaces", None)
    if isinstance(value, Mapping):
        known = parts if isinstance(parts, Mapping) else {}
        return {
            key: alike(item, like[key], known.get(key)) if isinstance(like, Mapping) and key in like else item
            for key, item in value.items()
        }
    if isinstance(value, tuple):
        if not isinstance(like, tuple) or len(value) != len(like):
            return value
        spaces = parts if isinstance(parts, (tuple, list)) and len(parts) == len(value) else [None] * len(value)
        return rebuilt(value, map(alike, value, like, spaces))
    if isinstance(like, (np.ndarray, np.generic)):
        array = on_host(value, None)
        if array.shape == like.shape and array.dtype != like.dtype:
            return array.astype(like.dtype)[()]
        return array[()] if array.ndim == 0 else array
    return value
