"""Who has signed in: a cookie with a key's public part and an expiry, signed with the deployment's secret.

Nothing is stored: the key is looked up with each request, so revoking it ends its sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

from fastapi import Response
from sqlalchemy.orm import Session

from robotrace.serve.keys import key_in_force
from robotrace.serve.models import ApiKey

__all__ = ["SESSION_S", "Cookies"]

SESSION_S = 7 * 24 * 3600
"""How long somebody stays signed in."""

_PROJECT_S = 365 * 24 * 3600


class Cookies:
    """The cookies of a deployment's pages.

    Args:
        secret: The deployment's.
        secure: Whether browsers may send them over TLS only.
        clock: Seconds since the epoch.
    """

    def __init__(self, secret: bytes, *, secure: bool, clock: Callable[[], float] = time.time) -> None:
        # Of its own: what signs URLs must not sign sessions.
        self._secret = hmac.new(secret, b"robotrace portal sessions", hashlib.sha256).digest()
        self._secure = secure
        self._clock = clock
        # A browser sends a cookie to every port of a host: two deployments on one machine must not share theirs.
        mark = hashlib.sha256(self._secret).hexdigest()[:8]
        self.session_name = f"robotrace_session_{mark}"
        self.project_name = f"robotrace_project_{mark}"

    def sign_in(self, response: Response, key: ApiKey) -> None:
        """Let the browser be whoever holds this key."""
        expires = int(self._clock()) + SESSION_S
        text = f"{key.public}.{expires}"
        self._set(response, self.session_name, f"{text}.{self._signature(text)}", SESSION_S)

    def sign_out(self, response: Response) -> None:
        """Let it be nobody."""
        response.delete_cookie(self.session_name, path="/", secure=self._secure, httponly=True, samesite="lax")

    def key_of(self, session: Session, cookies: Mapping[str, str]) -> ApiKey | None:
        """The key that somebody has signed in with; None when nobody has, or has no longer."""
        text, _, signature = cookies.get(self.session_name, "").rpartition(".")
        if not hmac.compare_digest(self._signature(text).encode(), signature.encode()):
            return None
        public, _, expires = text.partition(".")
        return key_in_force(session, public) if int(expires) > self._clock() else None

    def choose_project(self, response: Response, slug: str) -> None:
        """Show this project from now on, where nobody has to sign in."""
        self._set(response, self.project_name, slug, _PROJECT_S)

    def _set(self, response: Response, name: str, value: str, max_age: int) -> None:
        response.set_cookie(name, value, max_age=max_age, path="/", secure=self._secure, httponly=True, samesite="lax")

    def _signature(self, text: str) -> str:
        return hmac.new(self._secret, text.encode("utf-8", "backslashreplace"), hashlib.sha256).hexdigest()
