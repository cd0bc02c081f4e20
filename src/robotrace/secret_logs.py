"""Keeps signed URLs out of the debug log of the HTTP library.

At DEBUG ``httpcore`` logs the headers of every response, and the ``Location`` of a redirect to a store is a signed
URL: whoever reads the log may read (or write) the object. While a request that can be answered with one is under way,
that thread's records of ``httpcore`` are dropped; nothing else of anyone's logging changes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

__all__ = ["logged", "unlogged"]

_state = threading.local()

# By name: a logger's filters see its own records, not those of the loggers below it.
_LOGGERS = ("connection", "http11", "http2", "proxy", "socks")


class _Filter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_state, "unlogged", False)


for _name in _LOGGERS:
    logging.getLogger(f"httpcore.{_name}").addFilter(_Filter())


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
    """No record of ``httpcore`` comes from this thread inside the block."""
    with _set(True):
        yield


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Inside :func:`unlogged`, around code of the user's: its own requests are logged as ever."""
    with _set(False):
        yield


@contextlib.contextmanager
def _set(value: bool) -> Iterator[None]:
    before = getattr(_state, "unlogged", False)
    _state.unlogged = value
    try:
        yield
    finally:
        _state.unlogged = before
