"""What stands before every route: who may be addressed, how much may be sent, which headers every answer has."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from robotrace.serve.hosts import host_name, is_address

__all__ = ["MAX_JSON_BYTES", "SECURITY_HEADERS", "Guard"]

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Sent with every answer, errors included."""

_TAKING_S = 0.05
# A create or finalize with its metadata; files go to /objects, where the signed URL has the limit.
MAX_JSON_BYTES = 16 * 1024 * 1024

_PROBES = ("/healthz", "/readyz")


class Guard:
    """ASGI middleware of the deployment.

    Args:
        app: What it stands before.
        hosts: The names in a Host header that are answered. A page elsewhere can let its own name resolve to loopback
            and would then be of our origin (DNS rebinding); its name is what gives it away.
        addresses: Whether IP addresses are answered, too, whichever they are; no page can be of one by DNS.

    Attributes:
        patience_s: How long a body may take to arrive; of files the connection watches over each piece instead.
    """

    patience_s = 60.0

    def __init__(self, app: ASGIApp, hosts: Collection[str], *, addresses: bool = False) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        deadline = asyncio.get_running_loop().time() + self.patience_s
        received, complete = 0, False

        async def receive_bounded() -> Message:
            nonlocal received, complete
            if complete:  # what comes now is the end of the connection, however late
                return await receive()
            # What is there already is taken however late we come to it.
            left_s = max(_TAKING_S, deadline - asyncio.get_running_loop().time())
            try:
                message = await asyncio.wait_for(receive(), left_s)
            except asyncio.TimeoutError:
                raise HTTPException(
                    408, "the body of the request did not arrive in time", headers={"Connection": "close"}
                ) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > MAX_JSON_BYTES:
                raise HTTPException(413, f"a request may have {MAX_JSON_BYTES} bytes")
            return message

        # A probe names the address of the machine or container it looks at, and learns nothing else.
        if scope["path"] not in _PROBES and not self._is_served(Headers(scope=scope).get("host", "")):
            answer = JSONResponse({"error": "this host name is not served here"}, 400)
            await answer(scope, receive, send_with_headers)
        elif scope["path"].startswith("/objects/"):
            await self._app(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive_bounded, send_with_headers)

    def _is_served(self, host: str) -> bool:
        name = host_name(host)
        return name in self._hosts or (self._addresses and is_address(name))
