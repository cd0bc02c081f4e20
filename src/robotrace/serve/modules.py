"""Which ES modules a script of the portal brings along, so that a page can name them at once.

A browser finds an import when it has read the module that has it: four levels of them are four round trips.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = ["imports_of"]

_STATIC = Path(__file__).parent / "static"
_IMPORT = re.compile(r'^(?:import|\})[^;"]*from "\./([\w-]+\.js)";$', re.MULTILINE)


@cache
def imports_of(*scripts: str) -> tuple[str, ...]:
    """All modules that scripts of the folder ``static`` import, and those import, sorted by name."""
    found: set[str] = set()
    unread = list(scripts)
    while unread:
        text = (_STATIC / unread.pop()).read_text(encoding="utf-8")
        new = set(_IMPORT.findall(text)) - found
        found |= new
        unread += new
    return tuple(sorted(found - set(scripts)))
