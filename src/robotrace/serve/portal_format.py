"""How values read on the portal's pages: Jinja filters, pure functions."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlencode

from robotrace.serve.values import finite

__all__ = ["FILTERS", "GLOBALS", "ago", "compare_url", "length_s", "link_ms", "number", "percent", "pretty", "utc"]

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_AGO_LIMIT = 30 * _DAY
_ABSENT = "–"


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago something was, in its largest unit; the date beyond a month.

    Args:
        moment: An aware time.
        now: What to count from; the present when None.
    """
    seconds = ((now or datetime.now(timezone.utc)) - moment).total_seconds()
    if seconds < _MINUTE:
        return "just now"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min ago"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h ago"
    if seconds < _AGO_LIMIT:
        return f"{int(seconds // _DAY)} d ago"
    return moment.date().isoformat()


def utc(moment: datetime) -> str:
    """A time to the second, with its zone."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def length_s(seconds: float | None) -> str:
    """A duration: ``9.98 s``, ``3:05 min``, ``1:02:05 h``."""
    if seconds is None:
        return _ABSENT
    if round(seconds, 2) < _MINUTE:
        return f"{seconds:.2f} s"
    hours, rest = divmod(round(seconds), _HOUR)
    minutes, whole = divmod(rest, _MINUTE)
    return f"{hours}:{minutes:02d}:{whole:02d} h" if hours else f"{minutes}:{whole:02d} min"


def compare_url(a: str, b: str | None = None, t_s: float | None = None, **query: str) -> str:
    """The address of the page that compares two episodes.

    Args:
        a: The id of the first.
        b: The id of the second; None where it is to be chosen there.
        t_s: The moment to open it at, in seconds.
        **query: Further fields of the address, as ``align="end"``; empty ones are left out.
    """
    given = {"a": a, "b": b, **query, "t": None if t_s is None else f"{link_ms(t_s)}ms"}
    return f"/portal/compare?{urlencode({name: text for name, text in given.items() if text})}"


def link_ms(seconds: float) -> str:
    """A time as ``?t=…ms`` has it: to the nanosecond, without an exponent or zeros at its end."""
    return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".")


def number(value: float) -> str:
    """A figure at five significant digits, integers as integers."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e7 else f"{value:.5g}"


def percent(share: float) -> str:
    """A share: ``83.3%``."""
    return f"{share:.1%}"


def pretty(value: Any) -> str:
    """JSON to be read by people, in the order in which it was recorded."""
    return json.dumps(value, indent=2, ensure_ascii=False)


FILTERS = {
    "ago": ago,
    "finite": finite,
    "length_s": length_s,
    "link_ms": link_ms,
    "number": number,
    "percent": percent,
    "pretty": pretty,
    "utc": utc,
}
GLOBALS = {"compare_url": compare_url}
