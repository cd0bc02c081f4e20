"""Where two arrays differ to the bit, and by how much: without overflow, whatever their dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["different_bits", "distances"]

_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def different_bits(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are not the same to the bit: a NaN equals itself, and -0.0 differs from 0.0.

    Args:
        one: An array of any dtype.
        other: Of the same shape and dtype.

    Returns:
        Of their shape.
    """
    word = _WORDS.get(one.dtype.itemsize)
    if word is not None and one.ndim and not one.dtype.hasobject:
        left, right = np.ascontiguousarray(one).view(word), np.ascontiguousarray(other).view(word)
        return np.not_equal(left, right)
    size = one.dtype.itemsize
    rows = [np.frombuffer(each.tobytes(), np.uint8).reshape(*one.shape, size) for each in (one, other)]
    different: NDArray[np.bool_] = (rows[0] != rows[1]).any(axis=-1)
    return different


def distances(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """The absolute differences of numbers; integers are subtracted as integers, however large they are.

    Args:
        one: Bools, integers or floats.
        other: Of the same shape; its dtype may be another one.

    Returns:
        Of their shape. NaN where one of the two is NaN, or both are the same infinity.
    """
    if one.dtype.kind in "biu" and other.dtype.kind in "biu":
        (negative, size), (other_negative, other_size) = _magnitude(one), _magnitude(other)
        # Of uint64 no difference and no sum that is taken here is negative; a sum may be beyond it.
        apart = np.maximum(size, other_size) - np.minimum(size, other_size)
        together = size.astype(np.float64) + other_size.astype(np.float64)
        return np.where(negative == other_negative, apart.astype(np.float64), together)
    with np.errstate(all="ignore"):
        return np.abs(one.astype(np.float64) - other.astype(np.float64))


def _magnitude(values: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
    """Which are below zero, and their absolute values; that of the smallest int64 has no int64, but a uint64."""
    if values.dtype.kind != "i":
        return np.zeros(values.shape, np.bool_), values.astype(np.uint64)
    with np.errstate(all="ignore"):
        return values < 0, np.abs(values.astype(np.int64)).astype(np.uint64)
