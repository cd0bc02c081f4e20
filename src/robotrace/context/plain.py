"""Hyperparameters and configurations as plain values that can go into every episode: short, finite, without secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["REDACTED", "is_secret", "plain_values"]

REDACTED = "[redacted]"

_SECRET = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
_LONGEST_TEXT = 200
_MOST_ITEMS = 64
"""Of a mapping or a list: hyperparameters are written into every episode."""
_DEEPEST = 5


def is_secret(name: str) -> bool:
    """Whether what goes by this name looks like a secret."""
    return _SECRET.search(name) is not None


def plain_values(value: Any, special: Callable[[Any], Any] | None = None) -> Any:
    """A value as JSON can say it: what looks like a secret by its name is left out, functions are told by their name.

    Args:
        value: Anything. Texts are cut at 200 characters, mappings and lists at 64 items and five levels; NaN and
            infinity are texts.
        special: Asked about a value that is of no plain type; returns what stands for it, or the value itself.
    """
    return _plain(value, special, 0)


def _plain(value: Any, special: Callable[[Any], Any] | None, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if depth >= _DEEPEST:
        return _name(value)
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_MOST_ITEMS]
        return {str(key): REDACTED if is_secret(str(key)) else _plain(item, special, depth + 1) for key, item in pairs}
    if isinstance(value, (list, tuple)):
        items = [_plain(item, special, depth + 1) for item in value[:_MOST_ITEMS]]
        names = getattr(value, "_fields", None)
        return items if names is None else dict(zip(names, items, strict=False))
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return _plain(value.item(), special, depth + 1)
    meant = value if special is None else special(value)
    if meant is not value:
        return _plain(meant, special, depth + 1)
    if hasattr(value, "value") and hasattr(value, "name"):  # an enum's member
        return _plain(value.value, special, depth + 1)
    return _name(value)


def _name(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"[:_LONGEST_TEXT]
