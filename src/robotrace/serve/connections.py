"""The HTTP/1.1 connections of a deployment, which nobody can keep by sending nothing.

uvicorn limits how long a connection may rest between requests, and nothing else.
"""

from __future__ import annotations

import asyncio
import resource

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["MAX_HEAD_BYTES", "BoundedProtocol", "max_connections"]

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers."""

_MAX_CONNECTIONS = 2000


def max_connections() -> int:
    """How many there may be at once, beside the files that this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(50, min(_MAX_CONNECTIONS, soft // 2))


class BoundedProtocol(H11Protocol):
    """A connection that is closed when what it sends stops half way.

    Attributes:
        head_s: How long the head of a request may take to arrive, from its first byte or from the connection's start.
        body_s: How long the next piece of a body may take, while somebody waits for it.
    """

    head_s = 20.0
    body_s = 60.0
    _timer: asyncio.TimerHandle | None = None
    _watches_head = False
    _latest = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived."""
        self._latest = self.loop.time()
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may be there in part already."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._disarm()
        super().connection_lost(exc)

    def _watch(self) -> None:
        awaits_head = self.cycle is None or self.cycle.response_complete
        if self._timer is not None and (awaits_head != self._watches_head or not self._is_waiting()):
            self._disarm()
        # Not armed again with each piece: a timer of a body looks at when the latest one came.
        if self._timer is None and self._is_waiting():
            self._watches_head = awaits_head
            self._timer = self.loop.call_later(self.head_s if awaits_head else self.body_s, self._on_timeout)

    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        if self._watches_head:
            left_s = 0.0
        elif self.flow.read_paused:  # the disk is what is slow
            left_s = self.body_s
        else:
            left_s = self._latest + self.body_s - self.loop.time()
        if left_s > 0.0:
            self._timer = self.loop.call_later(left_s, self._on_timeout)
        elif self._is_waiting() and not self.transport.is_closing():
            self.transport.close()
