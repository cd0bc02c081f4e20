"""Metadata made fit for JSON, whatever a robot's code puts into it.

Never a TypeError after an episode was opened: NumPy scalars and arrays (known by ``tolist``, so that NumPy is not
imported), paths, dates, sets and typed values are converted; NaN and infinity, which JSON has no word for, become
null and are listed, by their dotted key, in ``metadata["robotrace"]["sanitized"]``; anything else becomes its
``str()`` and is listed too.
"""

from __future__ import annotations

import datetime
import enum
import math
import os
from collections.abc import Mapping
from typing import Any

from robotrace.types import encode

__all__ = ["metadata_json"]

_MAX_DEPTH = 32
"""Deeper nesting is cut with its str(): a cycle would never end."""


def metadata_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``metadata`` that :func:`json.dumps` takes with ``allow_nan=False``."""
    sanitized: list[str] = []
    converted = {str(key): _convert(value, str(key), sanitized, 0) for key, value in metadata.items()}
    if sanitized:
        ours = converted.setdefault("robotrace", {})
        if isinstance(ours, dict):
            ours["sanitized"] = sorted({*ours.get("sanitized", ()), *sanitized})
    return converted


def _convert(value: Any, path: str, sanitized: list[str], depth: int) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, enum.Enum):
        return _convert(value.value, path, sanitized, depth)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        sanitized.append(path)
        return None
    if depth >= _MAX_DEPTH:
        sanitized.append(path)
        return str(type(value))
    if hasattr(value, "to_dict") and type(value).__module__ == "robotrace.types":
        value = encode(value)
    if isinstance(value, Mapping):
        return {str(key): _convert(item, f"{path}.{key}", sanitized, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_convert(item, f"{path}.{index}", sanitized, depth + 1) for index, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        ordered = sorted(value, key=str)
        return [_convert(item, f"{path}.{index}", sanitized, depth + 1) for index, item in enumerate(ordered)]
    if isinstance(value, os.PathLike):
        return os.fspath(value) if isinstance(os.fspath(value), str) else str(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return _convert(value.tolist(), path, sanitized, depth + 1)
    sanitized.append(path)
    try:
        return str(value)
    except Exception:  # a user's own __str__ may fail; the episode may not
        return f"<{type(value).__name__}>"
