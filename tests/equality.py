"""Equal to the bit: what tests compare recordings with, independently of the engine that runs episodes again."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["same"]


def same(ours: Any, theirs: Any) -> bool:
    """Equal to the bit, dtype and shape included; a Python number is what NumPy makes of it."""
    if isinstance(ours, dict) or isinstance(theirs, dict):
        mappings = isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys()
        return mappings and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, str) or isinstance(theirs, str):
        return type(ours) is type(theirs) and ours == theirs
    if isinstance(ours, (tuple, list)) and isinstance(theirs, (tuple, list)):
        return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    if ours is None or theirs is None:
        return ours is theirs
    one, other = np.asarray(ours), np.asarray(theirs)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype == object:  # its bytes are addresses
        return all(same(a, b) for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True))
    return one.tobytes() == other.tobytes()
