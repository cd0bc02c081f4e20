"""Light or dark by choice: a cookie that the server reads, so that a page is of its colours from the first byte."""

from __future__ import annotations

from contextvars import ContextVar
from http.cookies import CookieError, SimpleCookie

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["THEMES", "Themes", "current_theme", "keep_theme"]

THEMES = ("auto", "light", "dark")
"""``auto`` is what the browser prefers."""
_COOKIE = "robotrace_theme"  # of no deployment: whoever likes the dark likes it on each port
_KEPT_S = 365 * 24 * 3600

_theme: ContextVar[str] = ContextVar("robotrace_theme", default="auto")


def current_theme() -> str:
    """The theme of the request that is being answered."""
    return _theme.get()


def keep_theme(response: Response, theme: str) -> None:
    """Let the browser ask for this theme from now on."""
    if theme == "auto":
        response.delete_cookie(_COOKIE, path="/", httponly=True, samesite="lax")
    else:
        response.set_cookie(_COOKIE, theme, max_age=_KEPT_S, path="/", httponly=True, samesite="lax")


class Themes:
    """ASGI middleware that knows the theme of each request.

    Args:
        app: What it stands before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; each has a context of its own."""
        if scope["type"] == "http":
            _theme.set(_asked_for(Headers(scope=scope).get("cookie", "")))
        await self._app(scope, receive, send)


def _asked_for(cookies: str) -> str:
    if _COOKIE not in cookies:
        return "auto"
    try:
        morsel = SimpleCookie(cookies).get(_COOKIE)
    except CookieError:
        return "auto"
    return morsel.value if morsel is not None and morsel.value in THEMES else "auto"
