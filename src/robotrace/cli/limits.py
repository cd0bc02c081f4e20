"""Limits as they are written on a command line: a size or a number, or "none" for no limit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

__all__ = ["COUNT", "NONE", "SIZE"]

NONE = "none"
_LARGEST = 2**62
_UNITS = {"": 1, **{f"{prefix}B": 1000**power for power, prefix in enumerate(("", "K", "M", "G", "T", "P"))}}
_UNITS |= {f"{prefix}iB": 1024**power for power, prefix in enumerate(("K", "M", "G", "T", "P"), start=1)}
_BY_LOWER = {unit.lower(): factor for unit, factor in _UNITS.items()}

if TYPE_CHECKING:
    _LimitType = click.ParamType[Any]
else:
    _LimitType = click.ParamType  # generic in recent versions of click only


class _Limit(_LimitType):
    name = "limit"

    def __init__(self, units: dict[str, int], what: str) -> None:
        self._units = units
        self._what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value).strip().lower()
        if text == NONE:
            return NONE
        match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([a-z]*)", text)
        factor = None if match is None else self._units.get(match[2])
        number = None if match is None or factor is None else float(match[1]) * factor
        if number is None or number != int(number) or number > _LARGEST:
            self.fail(f"{value!r} is neither none nor {self._what}", param, ctx)
        return int(number)


SIZE = _Limit(_BY_LOWER, "a size as 500GB or 2TiB")
"""Bytes; without a unit they are bytes, too."""
COUNT = _Limit({"": 1}, "a whole number")
