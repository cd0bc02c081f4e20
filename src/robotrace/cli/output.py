"""How commands print: JSON, tables, facts, and the progress of a transfer."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import click

__all__ = [
    "ABSENT",
    "Check",
    "Column",
    "CountBar",
    "clean",
    "episode_count",
    "local_time",
    "number",
    "only_json_on_stdout",
    "print_checks",
    "print_facts",
    "print_json",
    "print_table",
    "progress_bars",
    "size",
    "table",
    "yes_no",
]

ABSENT = "-"
"""What is not known; never a zero, never an empty cell that cannot be told from a space."""

Check = tuple[str, Literal["ok", "note", "wrong"], str]
"""What was looked at, how it is, and what to do about it."""

_GAP = "  "
_MARKS = {"ok": "ok", "note": "--", "wrong": "!!"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        right: Whether its cells end at the same place; for figures.
        least: The characters it may be cut down to where the terminal is narrow; None: never cut.
        rank: Columns of a rank above 0 are left out where the terminal is narrower still, the highest rank first.
    """

    title: str
    right: bool = False
    least: int | None = None
    rank: int = 0


def print_json(value: Any, *, lines: bool = False) -> None:
    """Print one JSON document, in letters that the terminal's encoding has; with ``lines`` on a line of its own."""
    plain = codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8"
    click.echo(json.dumps(value, indent=None if lines else 2, ensure_ascii=plain))


def print_checks(checks: Sequence[Check], *, as_json: bool) -> None:
    """Print a line for each check; ends the program with 1 when something is wrong."""
    if as_json:
        print_json({"checks": [{"check": name, "state": state, "detail": detail} for name, state, detail in checks]})
    else:
        width = max(len(name) for name, _, _ in checks)
        for name, state, detail in checks:
            click.echo(f"{_MARKS[state]}  {name:{width}}  {clean(detail)}")
    if any(state == "wrong" for _, state, _ in checks):
        sys.exit(1)


@contextlib.contextmanager
def only_json_on_stdout(active: bool) -> Iterator[None]:
    """Send to stderr what is written to stdout meanwhile; what user code prints must not end up in a document.

    By file descriptor, since simulators print from C, too.
    """
    if not active:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: as wide as the terminal, and whole where stdout is none."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines, left_out = table(columns, rows, width)
    for line in lines:
        click.echo(line)
    if left_out:
        click.echo(f"(no room for {', '.join(left_out)}; --json has everything)", err=True)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> tuple[list[str], list[str]]:
    """The lines of a table, and the titles of the columns that were left out.

    Args:
        columns: What the rows hold.
        rows: One cell a column each; what a terminal would obey instead of showing it is replaced.
        width: The most characters in a line, as far as ``least`` and ``rank`` allow; None: any number.
    """
    cells = [[column.title for column in columns], *([clean(cell) for cell in row] for row in rows)]
    widths = [max(_width(row[index]) for row in cells) for index in range(len(columns))]
    kept = list(range(len(columns)))
    if width is not None:
        excess = _excess(columns, widths, kept, width)
        for index in sorted((index for index in kept if columns[index].rank), key=lambda index: -columns[index].rank):
            # What all columns together can be cut by decides whether one has to go.
            if excess <= sum(_spare(columns[other], widths[other]) for other in kept):
                break
            kept.remove(index)
            excess = _excess(columns, widths, kept, width)
        while excess > 0 and any(_spare(columns[index], widths[index]) for index in kept):
            widest = max(kept, key=lambda index: (_spare(columns[index], widths[index]) > 0, widths[index]))
            widths[widest] -= 1
            excess -= 1
    lines = [
        _GAP.join(_fitted(row[index], widths[index], right=columns[index].right) for index in kept).rstrip()
        for row in cells
    ]
    return lines, [column.title for index, column in enumerate(columns) if index not in kept]


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values, a line each."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(f"{name:{width}}{_GAP}{clean(value)}".rstrip())


def clean(text: str) -> str:
    """Text without what a terminal would obey: names come from robots, and may hold escape sequences."""
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in text)


def yes_no(value: Any) -> str:
    """A truth value, where it is one."""
    return ("yes" if value else "no") if isinstance(value, bool) else ABSENT


def number(value: Any, unit: str = "") -> str:
    """A figure at five significant digits, integers in full, where it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ABSENT
    return f"{value}{unit}" if isinstance(value, int) else f"{value:.5g}{unit}"


def size(value: Any) -> str:
    """Bytes as people read them: ``512 B``, ``1.2 MB``, ``3.2 GB``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ABSENT
    amount, unit = float(value), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.95:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def episode_count(count: int) -> str:
    """``1 episode``, ``2 episodes``."""
    return f"{count} episode{'' if count == 1 else 's'}"


def local_time(value: Any) -> str:
    """A time of the wire (ISO 8601) on this machine's clock, to the minute."""
    if not isinstance(value, str):
        return ABSENT
    try:
        # Python 3.10 knows no Z.
        return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return value


@contextlib.contextmanager
def progress_bars(describe: Callable[[int], str] = size) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on stderr for each thing that takes a while; none where stderr is no terminal, or its size is not known.

    Args:
        describe: The size in words; of a file's bytes by default.

    Yields:
        To be called with the label, how much of it is done, and its size or None; another label is another bar.
    """
    bar: Any = None
    shown = ""

    def show(label: str, done: int, total: int | None) -> None:
        nonlocal bar, shown
        if label != shown:
            close()
            shown = label
        if bar is None and total and sys.stderr.isatty():
            bar = click.progressbar(length=total, label=f"{label} ({describe(total)})", file=sys.stderr)
            bar.__enter__()
        if bar is not None:
            if done < bar.pos:  # the file is sent again
                bar.pos, bar.finished = 0, False
            bar.update(done - bar.pos)

    def close() -> None:
        nonlocal bar
        if bar is not None:
            bar.__exit__(None, None, None)
            bar = None

    try:
        yield show
    finally:
        close()


class CountBar(contextlib.AbstractContextManager["CountBar"]):
    """A bar on stderr for things that are counted, whose number may grow; none where stderr is no terminal.

    Args:
        label: What is done with them.
        enabled: False: none at all.
    """

    def __init__(self, label: str, *, enabled: bool = True) -> None:
        self._label = label
        self._enabled = enabled and sys.stderr.isatty()
        self._bar: Any = None

    def show(self, done: int, total: int) -> None:
        """So many of so many."""
        if not self._enabled or total == 0:
            return
        if self._bar is None:
            self._bar = click.progressbar(length=total, label=self._label, file=sys.stderr, show_pos=True)
            self._bar.__enter__()
        self._bar.length = total
        self._bar.update(done - self._bar.pos)

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _width(text: str) -> int:
    """Columns of a terminal that the text takes."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _spare(column: Column, width: int) -> int:
    return 0 if column.least is None else max(0, width - column.least)


def _excess(columns: Sequence[Column], widths: Sequence[int], kept: Sequence[int], width: int) -> int:
    return sum(widths[index] for index in kept) + len(_GAP) * (len(kept) - 1) - width


def _fitted(text: str, width: int, *, right: bool) -> str:
    if _width(text) > width:
        while text and _width(text) > width - 1:
            text = text[:-1]
        text += "…"
    padding = " " * (width - _width(text))
    return padding + text if right else text + padding
