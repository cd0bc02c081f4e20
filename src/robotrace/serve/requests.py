"""What is known about every request: its id, one line in the log, its place in the metrics.

Nothing here knows a query string, a cookie or a key: a signed URL's permission is its query, and a path is named by its
route's template.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from datetime import datetime, timezone
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from robotrace.serve.metrics import RequestMetrics

__all__ = ["ACCESS_LOGGER", "REQUEST_ID_HEADER", "REQUEST_ID_KEY", "JsonFormatter", "Requests"]

ACCESS_LOGGER = "robotrace.serve.access"
"""Has one INFO line a request; where it goes is the process's business."""
REQUEST_ID_HEADER = "X-Request-Id"
REQUEST_ID_KEY = "robotrace.request_id"
"""Where a scope has it."""

_log = logging.getLogger(ACCESS_LOGGER)
# One that a proxy has given is kept, so that both logs speak of the same request; whatever could break a line is not.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PUBLIC_PART = re.compile(r"(?:bearer\s+)?(rt_[a-z0-9]{10})_[A-Za-z0-9_-]{43}", re.IGNORECASE)
_NO_ROUTE = "(none)"
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class Requests:
    """ASGI middleware, the outermost: what is refused by those within is counted, too.

    Args:
        app: What it stands before.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(8)
        scope[REQUEST_ID_KEY] = request_id
        received = sent = 0
        status = 0

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            nonlocal sent, status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            else:
                sent += len(message.get("body", b""))
            await send(message)

        begun = time.perf_counter()
        self._metrics.begin()
        try:
            await self._app(scope, counted_receive, counted_send)
        except Exception:
            status = status or 500  # answered outside of this
            raise
        finally:
            took_s = time.perf_counter() - begun
            method = scope["method"] if scope["method"] in _METHODS else "other"
            # No answer: the client went away, or the task was cut off.
            self._metrics.end(method, _route(scope), status, took_s, received, sent)
            if _log.isEnabledFor(logging.INFO):
                facts = {
                    "method": method,
                    "route": _route(scope),
                    "status": status,
                    "duration_ms": round(took_s * 1000, 2),
                    "bytes_in": received,
                    "bytes_out": sent,
                    "key": _key_prefix(headers),
                    "request_id": request_id,
                }
                text = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
                _log.info(text, extra={"facts": facts})


def _route(scope: Scope) -> str:
    """The template of the route; a path itself may name anything, and would make endless metrics."""
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    return "/static" if scope["path"].startswith("/static/") else _NO_ROUTE


def _key_prefix(headers: Headers) -> str | None:
    """The public part of the key that was sent; whether it is in force is what the status says."""
    sent = headers.get("authorization") or headers.get("x-robotrace-key") or ""
    match = _PUBLIC_PART.fullmatch(sent.strip())
    return None if match is None else match[1]


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, logger and message, and the facts of a request as fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        facts = getattr(record, "facts", None)
        if isinstance(facts, dict):
            line.update(facts)
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
