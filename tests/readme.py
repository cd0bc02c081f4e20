"""The commands and snippets of the README and the docs, read from their own text. As a script: print command N."""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["ROOT", "blocks", "documents"]

ROOT = Path(__file__).parent.parent


def documents() -> list[Path]:
    """Every page a user reads."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    commands = {"demo": 0, "test": -1}
    print(blocks(ROOT / "README.md", "bash")[commands[sys.argv[1]]].strip())
