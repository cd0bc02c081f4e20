"""Metadata made fit for JSON, whatever a robot's code puts into it.

Never a TypeError after an episode was opened: NumPy scalars and arrays (known by ``tolist``, so that NumPy is not
imported), paths, dates, sets and typed values are converted; NaN and infinity, which JSON has no word for, become
null and are listed, by their dotted key, in ``metadata["robotrace"]["sanitized"]``; anything else becomes its
``str()`` and is listed too. So is text with a lone surrogate (a file name that is not UTF-8), which no JSON reader
has to take.
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


def metadata_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``metadata`` that :func:`json.dumps` takes with ``allow_nan=False``."""
    sanitized: list[str] = []
    converted = _convert_items(metadata, "", sanitized, (id(metadata),))
    if sanitized:
        ours = converted.setdefault("robotrace", {})
        if isinstance(ours, dict):
            before = ours.get("sanitized")
            known = [item for item in before if isinstance(item, str)] if isinstance(before, list) else []
            ours["sanitized"] = sorted({*known, *sanitized})
    return converted


def _convert(value: Any, path: str, sanitized: list[str], inside: tuple[int, ...]) -> Any:
    # `inside` holds the ids of the containers around the value: a cycle is cut where it closes, not 32 levels down,
    # where one with two branches would have grown to 2³² values.
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):  # before str and int: some enums are both
        return _convert(value.value, path, sanitized, inside)
    if isinstance(value, str):
        text = _text(value)
        if text != value:
            sanitized.append(path)
        return text
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        sanitized.append(path)
        return None
    if len(inside) > _MAX_DEPTH or id(value) in inside:
        sanitized.append(path)
        return str(type(value))
    inside = (*inside, id(value))
    try:
        plain = _plain(value)
    except Exception:  # a user's own object may fail in its own way; the episode may not
        plain = NotImplemented
    if plain is NotImplemented:
        sanitized.append(path)
        return _text(value)
    if isinstance(plain, dict):
        return _convert_items(plain, f"{path}.", sanitized, inside)
    if isinstance(plain, list):
        return [_convert(item, f"{path}.{index}", sanitized, inside) for index, item in enumerate(plain)]
    return _convert(plain, path, sanitized, inside)


def _convert_items(
    mapping: Mapping[Any, Any], prefix: str, sanitized: list[str], inside: tuple[int, ...]
) -> dict[str, Any]:
    converted = {}
    for key, value in mapping.items():
        name = _text(key.value if isinstance(key, enum.Enum) else key)
        converted[name] = _convert(value, prefix + name, sanitized, inside)
    return converted


def _plain(value: Any) -> Any:
    """One level nearer to JSON; NotImplemented for what is not known."""
    if hasattr(value, "to_dict") and type(value).__module__ == "robotrace.types":
        return encode(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return value.tolist()
    return NotImplemented


def _text(value: Any) -> str:
    try:
        text = str.__str__(value) if isinstance(value, str) else str(value)
    except Exception:  # a user's own __str__ may fail; the episode may not
        text = f"<{type(value).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()
