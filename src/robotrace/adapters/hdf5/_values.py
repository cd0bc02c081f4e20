"""Attributes and stamps of HDF5 files, whatever type their writers gave them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_bool", "as_json", "as_number", "as_text", "first_number", "stamps_from"]

_UNITS = {"ns": 1, "nanoseconds": 1, "us": 1_000, "microseconds": 1_000, "ms": 1_000_000, "milliseconds": 1_000_000}
_UNITS |= {"s": 1_000_000_000, "sec": 1_000_000_000, "seconds": 1_000_000_000}


def as_text(value: Any) -> str | None:
    """Text, bytes or an array of one of them; None for anything else."""
    value = _single(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value) if isinstance(value, str) else None


def as_number(value: Any) -> float | None:
    """A finite number, a numeric text, or an array of one of them; None for anything else."""
    value = _single(value)
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, (bytes, str)):
        text = as_text(value)
        try:
            value = float(text or "")
        except ValueError:
            return None
    if not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def as_bool(value: Any) -> bool | None:
    """A truth value, 0 or 1, or a word for one; None for anything else."""
    value = _single(value)
    if isinstance(value, (bytes, str)):
        return {"true": True, "1": True, "false": False, "0": False}.get((as_text(value) or "").strip().lower())
    return bool(value) if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)) else None


def as_json(value: Any) -> Any:
    """What a text of JSON says; None where it is none."""
    text = as_text(value)
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return None


def first_number(attributes: Iterable[Mapping[str, Any]], names: Iterable[str]) -> float | None:
    """The first number above 0 under one of the names."""
    wanted = tuple(names)
    for mapping in attributes:
        for name in wanted:
            found = as_number(mapping[name]) if name in mapping else None
            if found is not None and found > 0:
                return found
    return None


def stamps_from(values: NDArray[Any], name: str, unit: str | None) -> NDArray[np.int64] | None:
    """Stamps in ns out of a dataset of times; None where it is none: not one number a row, or going back.

    The unit is that of the attribute, or the end of the name (``timestamp_ns``). Else floats are seconds, unless they
    are too large for that since 1970; whole numbers are told by their size, or by how far apart they are.

    Args:
        values: (N,) or (N, 1) numbers.
        name: Of the dataset.
        unit: What its attribute ``unit`` or ``units`` says.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not len(values):
        return None
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return None
    if (np.diff(values.astype(np.float64)) < 0).any():
        return None
    factor = _UNITS.get((unit or "").lower()) or _UNITS.get(name.rpartition("_")[2].lower()) or _guessed(values)
    if values.dtype.kind == "f":
        stamps: NDArray[np.int64] = np.rint(values.astype(np.float64) * factor).astype(np.int64)
    else:
        stamps = values.astype(np.int64) * factor
    return stamps if (np.diff(stamps) > 0).any() or len(stamps) == 1 else None


def _guessed(values: NDArray[Any]) -> int:
    last = float(values[-1])
    # Since 1970: seconds have 10 digits, milliseconds 13, microseconds 16, nanoseconds 19.
    for least, factor in ((1e17, 1), (1e14, 1_000), (1e11, 1_000_000), (1e8, 1_000_000_000)):
        if last >= least and float(values[0]) >= least / 10:
            return factor
    if values.dtype.kind == "f":
        return 1_000_000_000
    apart = float(np.median(np.diff(values.astype(np.float64)))) if len(values) > 1 else 0.0
    return 1 if apart >= 5e5 else 1_000 if apart >= 500 else 1_000_000


def _single(value: Any) -> Any:
    """An array of one value, or NumPy's scalar, as Python's own."""
    if isinstance(value, np.ndarray):
        if value.size != 1:
            return None
        value = value.reshape(-1)[0]
    return value.item() if isinstance(value, np.generic) else value
