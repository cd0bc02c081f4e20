"""What the routes work with, and who may call them."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import HTTPException, Request

from robotrace.serve.database import Database
from robotrace.serve.device_sessions import GuessLimit
from robotrace.serve.keys import find_key
from robotrace.serve.settings import Settings
from robotrace.serve.store import ObjectStore

__all__ = ["Services", "get_services", "public_base_url", "require_key", "sent_key"]


@dataclass(frozen=True)
class Services:
    """The parts of one running deployment; ``app.state.services`` holds them."""

    settings: Settings
    database: Database
    store: ObjectStore
    guesses: GuessLimit = field(default_factory=GuessLimit)


def get_services(request: Request) -> Services:
    """The parts of the deployment that serves this request."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def public_base_url(request: Request) -> str:
    """The deployment as the caller reaches it; the Host header was checked before."""
    return str(request.base_url).rstrip("/")


def sent_key(request: Request) -> str:
    """The API key a request carries, unchecked; empty when it has none."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else request.headers.get("x-robotrace-key", "")


def require_key(request: Request) -> None:
    """Let a request with a valid API key pass.

    Raises:
        HTTPException: 401 otherwise.
    """
    text = sent_key(request)
    if text:
        with get_services(request).database.read() as session:
            if find_key(session, text) is not None:
                return
    raise HTTPException(
        401,
        "a valid API key is needed: Authorization: Bearer <key>",
        headers={"WWW-Authenticate": "Bearer"},
    )
