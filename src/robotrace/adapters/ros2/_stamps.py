"""When a message was: by its own stamp where that is on the bag's clock, else by when it was received."""

from __future__ import annotations

from typing import Any

__all__ = ["MOST_APART_NS", "header_stamp", "on_clock"]

MOST_APART_NS = 10_000_000_000
"""A stamp further from its receipt is of another clock (simulated time, a device's uptime), or says when a message was
that is handed to every newcomer (``/map``, ``/tf_static``): on the episode's clock it would be hours away."""

_NS = 1_000_000_000


def header_stamp(message: Any) -> int | None:
    """The stamp in a message's header, in ns; None without a header, or where the publisher left it 0."""
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    if stamp is None or not (hasattr(stamp, "sec") and hasattr(stamp, "nanosec")):
        return None
    ns = int(stamp.sec) * _NS + int(stamp.nanosec)
    return ns or None


def on_clock(stamp_ns: int | None, receive_ns: int) -> bool:
    """Whether a stamp can be on the clock that the bag was recorded by."""
    return stamp_ns is not None and abs(stamp_ns - receive_ns) <= MOST_APART_NS
