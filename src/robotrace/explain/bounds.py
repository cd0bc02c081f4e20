"""The bounds of the action space, out of the metadata: the recorder keeps a space as its text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "action_bounds", "parse_space"]

Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Low and high, ``(columns,)`` each; infinite where there is none."""

_KEY = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(\w+)): """)
_NUMBER = re.compile(r"[-+]?(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)", re.IGNORECASE)
_MAX_COLUMNS = 1024
_MAX_TEXT = 100_000
_MAX_DEPTH = 8


def action_bounds(metadata: Mapping[str, Any]) -> dict[str, Bounds]:
    """The bounds of each action stream of floating point, by its name.

    ``metadata.env.action_space`` as the recorder writes it, or ``metadata.action_bounds``, ``{"low": …, "high": …}``
    with a number or a list each, which a loop without an environment can give.
    """
    given = metadata.get("action_bounds")
    if isinstance(given, Mapping):
        low, high = (np.atleast_1d(np.asarray(given.get(side), dtype=np.float64)) for side in ("low", "high"))
        low, high = np.broadcast_arrays(low, high)
        return {"action": (low.ravel(), high.ravel())}
    env = metadata.get("env")
    text = env.get("action_space") if isinstance(env, Mapping) else None
    return parse_space(text, "action") if isinstance(text, str) else {}


def parse_space(text: str, name: str) -> dict[str, Bounds]:
    """The Boxes of floating point in the text of a Gymnasium space, by the name of their stream.

    Example::

        parse_space("Box(-2.0, 2.0, (1,), float32)", "action")  # {"action": (array([-2.]), array([2.]))}
    """
    return dict(_boxes(text.strip(), name, 0)) if len(text) <= _MAX_TEXT else {}


def _boxes(text: str, name: str, depth: int) -> Iterator[tuple[str, Bounds]]:
    kind, opened, inner = text.partition("(")
    if not opened or not inner.endswith(")") or depth > _MAX_DEPTH:
        return
    parts = _split(inner[:-1])
    if kind == "Box":
        bounds = _box(parts)
        if bounds is not None:
            yield name, bounds
    elif kind == "Dict":
        for part in parts:
            match = _KEY.match(part)
            if match is not None:
                key = next(group for group in match.groups() if group is not None)
                yield from _boxes(part[match.end() :].strip(), f"{name}.{key}", depth + 1)
    elif kind == "Tuple":
        for index, part in enumerate(parts):
            yield from _boxes(part.strip(), f"{name}.{index}", depth + 1)


def _split(text: str) -> list[str]:
    """At the commas that are in no bracket."""
    parts, level, start = [], 0, 0
    for position, letter in enumerate(text):
        if letter in "([{":
            level += 1
        elif letter in ")]}":
            level -= 1
        elif letter == "," and level == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    return [*parts, text[start:].strip()]


def _box(parts: list[str]) -> Bounds | None:
    if len(parts) != 4 or not parts[3].startswith("float") or "..." in parts[0] + parts[1]:
        return None  # numpy leaves out the middle of what has more than 1,000 values
    shape = [int(number) for number in re.findall(r"\d+", parts[2])]
    size = math.prod(shape)
    if not 0 < size <= _MAX_COLUMNS:
        return None
    low, high = (np.array([float(number) for number in _NUMBER.findall(part)]) for part in parts[:2])
    if any(len(side) not in (1, size) for side in (low, high)):
        return None
    return np.broadcast_to(low, size).copy(), np.broadcast_to(high, size).copy()
