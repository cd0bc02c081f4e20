"""Are two values the same to the bit, and if not, where and by how much."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.bits import different_bits, distances

__all__ = ["Mismatch", "first_mismatch", "unrecorded"]

_SHOWN = 8
"""Arrays of so many values are shown whole."""
_LONGEST_TEXT = 160


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """Two values that are not the same.

    Attributes:
        name: The leaf, from the stream on: ``observation.pose``.
        recorded: In short.
        here: In short.
        distance: The largest absolute difference of their numbers; None where they cannot be subtracted.
    """

    name: str
    recorded: str
    here: str
    distance: float | None = None


def first_mismatch(recorded: Any, here: Any, name: str, *, cast: bool = False) -> Mismatch | None:
    """The first leaf that is not the same: dtype, shape, and every bit; a Python number is what NumPy makes of it.

    Args:
        recorded: A row of :func:`robotrace.capture.rows.read_rows`. What is not in it is not compared.
        here: What the env returned.
        name: Of the stream.
        cast: Numbers are compared in the recorded dtype, where NumPy may cast within a kind: a vector env copies what
            its envs return into arrays of the space's dtype, and rewards are recorded in one dtype.
    """
    if isinstance(recorded, Mapping):
        if not isinstance(here, Mapping):
            return _other(recorded, here, name)
        for key, value in recorded.items():
            if key not in here:
                return Mismatch(f"{name}.{key}", _short(value), "missing")
            found = first_mismatch(value, here[key], f"{name}.{key}", cast=cast)
            if found is not None:
                return found
        return None
    if isinstance(recorded, (tuple, list)):
        if not isinstance(here, (tuple, list)) or len(recorded) != len(here):
            return _other(recorded, here, name)
        pairs = enumerate(zip(recorded, here, strict=True))
        return next((found for i, (a, b) in pairs if (found := first_mismatch(a, b, f"{name}.{i}", cast=cast))), None)
    if recorded is None or here is None or isinstance(recorded, str) or isinstance(here, str):
        texts = isinstance(recorded, str) and isinstance(here, str)  # an array would be compared value by value
        return None if recorded is here or (texts and recorded == here) else _other(recorded, here, name)
    return _arrays(np.asarray(recorded), _asarray(here), name, cast=cast)


def unrecorded(recorded: Any, here: Any, name: str) -> Iterator[str]:
    """The leaves of ``here`` that have nothing to be compared with."""
    if isinstance(recorded, Mapping) and isinstance(here, Mapping):
        for key, value in here.items():
            if key not in recorded:
                yield f"{name}.{key}"
            else:
                yield from unrecorded(recorded[key], value, f"{name}.{key}")


def _arrays(recorded: NDArray[Any], here: NDArray[Any], name: str, *, cast: bool) -> Mismatch | None:
    if cast and here.dtype != recorded.dtype and np.can_cast(here.dtype, recorded.dtype, "same_kind"):
        here = here.astype(recorded.dtype)
    elif cast and here.dtype != recorded.dtype and {here.dtype.kind, recorded.dtype.kind} <= set("iufb"):
        converted = here.astype(recorded.dtype)
        here = converted if np.array_equal(converted, here) else here  # an int reward among floats
    if recorded.dtype == here.dtype and recorded.shape == here.shape and recorded.tobytes() == here.tobytes():
        return None
    if recorded.dtype != here.dtype or recorded.shape != here.shape:
        return Mismatch(name, f"{_kind(recorded)} {_short(recorded)}", f"{_kind(here)} {_short(here)}", None)
    distance = _distance(recorded, here)
    if recorded.size <= _SHOWN:
        return Mismatch(name, _short(recorded), _short(here), distance)
    where = np.flatnonzero(different_bits(recorded, here))
    first = tuple(int(i) for i in np.unravel_index(where[0], recorded.shape))
    at = f"[{', '.join(map(str, first))}]"
    count = f" ({where.size} of {recorded.size} values differ)"
    return Mismatch(name, f"{at} {_short(recorded[first])}", f"{at} {_short(here[first])}{count}", distance)


def _distance(recorded: NDArray[Any], here: NDArray[Any]) -> float | None:
    if recorded.dtype.kind not in "iufb" or not recorded.size:
        return None
    apart = distances(recorded, here)
    return float(np.max(apart)) if bool(np.isfinite(apart).all()) else None


def _asarray(value: Any) -> NDArray[Any]:
    if hasattr(value, "detach"):  # a torch tensor, on any device
        value = value.detach().cpu()
    return np.asarray(value)


def _other(recorded: Any, here: Any, name: str) -> Mismatch:
    return Mismatch(name, _short(recorded), _short(here))


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"


def _short(value: Any) -> str:
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.size > _SHOWN:
            return f"[{', '.join(repr(item) for item in array.ravel()[:3].tolist())}, …]"
        return repr(array.tolist())
    text = repr(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
