"""What stands before every route: who may be addressed, how much may be sent, which headers every answer has."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "security_headers"]

_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

# A create or finalize with its metadata; files go to /objects, where the signed URL has the limit.
_MAX_JSON_BYTES = 16 * 1024 * 1024


def security_headers(store_origin: str = "") -> dict[str, str]:
    """What is sent with every answer, errors included.

    Args:
        store_origin: Where pages load videos from, when that is not the deployment.
    """
    media = "".join(f"; {kind} 'self' {store_origin}" for kind in ("media-src", "img-src", "connect-src"))
    return {
        "Content-Security-Policy": _POLICY + (media if store_origin else ""),
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


class Guard:
    """ASGI middleware of the deployment.

    Args:
        app: What it stands before.
        hosts: The names in a Host header that are answered. A page elsewhere can let its own name resolve to loopback
            and would then be of our origin (DNS rebinding); its name is what gives it away.
        store_origin: As in :func:`security_headers`.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], store_origin: str = "") -> None:
        self._headers = security_headers(store_origin)
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > _MAX_JSON_BYTES:
                raise HTTPException(413, f"a request may have {_MAX_JSON_BYTES} bytes")
            return message

        if _host_name(Headers(scope=scope).get("host", "")) not in self._hosts:
            answer = JSONResponse({"error": "this host name is not served here"}, 400)
            await answer(scope, receive, send_with_headers)
        elif scope["path"].startswith("/objects/"):
            await self._app(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive_bounded, send_with_headers)


def _host_name(host: str) -> str:
    """The name in a Host header, without the port; an IPv6 address keeps its brackets."""
    name, bracket, _ = host.partition("]")
    return (name + bracket if bracket else host.partition(":")[0]).lower()
