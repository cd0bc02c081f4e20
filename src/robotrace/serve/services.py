"""What the routes work with, and who may call them."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import HTTPException, Request

from robotrace.serve.database import Database
from robotrace.serve.keys import verify_key
from robotrace.serve.settings import Settings
from robotrace.serve.store import LocalStore

__all__ = ["Services", "get_services", "public_base_url", "require_key"]


@dataclass(frozen=True)
class Services:
    """The parts of one running deployment; ``app.state.services`` holds them."""

    settings: Settings
    database: Database
    store: LocalStore


def get_services(request: Request) -> Services:
    """The parts of the deployment that serves this request."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def public_base_url(request: Request) -> str:
    """The deployment as the caller reaches it; the Host header was checked before."""
    return str(request.base_url).rstrip("/")


def require_key(request: Request) -> None:
    """Let a request with a valid API key pass.

    Raises:
        HTTPException: 401 otherwise.
    """
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    text = credential.strip() if scheme.lower() == "bearer" else request.headers.get("x-robotrace-key", "")
    if text:
        with get_services(request).database.read() as session:
            if verify_key(session, text):
                return
    raise HTTPException(
        401,
        "a valid API key is needed: Authorization: Bearer <key>",
        headers={"WWW-Authenticate": "Bearer"},
    )
