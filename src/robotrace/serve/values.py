"""What can be read out of JSON that a client made: the value of the expected type, or nothing."""

from __future__ import annotations

import math

__all__ = ["boolean", "finite"]


def boolean(value: object) -> bool | None:
    """The value if it is a bool, else None: 1 and "true" are something else."""
    return value if isinstance(value, bool) else None


def finite(value: object) -> float | None:
    """The value as a float if it is a finite number, else None; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond float64
        return None
    return number if math.isfinite(number) else None
