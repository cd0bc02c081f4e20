"""What the routes work with, and who may call them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from robotrace.serve.database import Database
from robotrace.serve.device_sessions import GuessLimit
from robotrace.serve.keys import find_key, key_prefix
from robotrace.serve.later import Later
from robotrace.serve.models import DEFAULT_PROJECT_ID
from robotrace.serve.settings import Settings
from robotrace.serve.store import ObjectStore

__all__ = [
    "ApiCaller",
    "Caller",
    "PageViewer",
    "Services",
    "Viewer",
    "get_services",
    "portal_viewer",
    "public_base_url",
    "require_key",
    "sent_key",
]


@dataclass(frozen=True)
class Services:
    """The parts of one running deployment; ``app.state.services`` holds them."""

    settings: Settings
    database: Database
    store: ObjectStore
    guesses: GuessLimit = field(default_factory=GuessLimit)
    later: Later = field(default_factory=Later)


@dataclass(frozen=True)
class Caller:
    """Who calls the API: the holder of a key, whose project is everything they can see."""

    project_id: int
    key_id: int
    key_prefix: str


@dataclass(frozen=True)
class Viewer:
    """Who looks at a page, and the project they see."""

    project_id: int


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


def require_key(request: Request) -> Caller:
    """Let a request with a valid API key pass.

    Raises:
        HTTPException: 401 otherwise.
    """
    text = sent_key(request)
    if text:
        with get_services(request).database.read() as session:
            key = find_key(session, text)
            if key is not None:
                return Caller(key.project_id, key.id, key_prefix(key))
    raise HTTPException(
        401,
        "a valid API key is needed: Authorization: Bearer <key>",
        headers={"WWW-Authenticate": "Bearer"},
    )


def portal_viewer(request: Request) -> Viewer:
    """Who looks at a page."""
    return Viewer(DEFAULT_PROJECT_ID)


# A dependency is called once a request, however often it is named.
ApiCaller = Annotated[Caller, Depends(require_key)]
PageViewer = Annotated[Viewer, Depends(portal_viewer)]
