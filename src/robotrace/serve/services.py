"""What the routes work with, and who may call them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from sqlalchemy.orm import Session

from robotrace.serve.camera_tracks import CameraTracks
from robotrace.serve.database import Database
from robotrace.serve.device_sessions import GuessLimit
from robotrace.serve.key_uses import KeyUses
from robotrace.serve.keys import find_key, key_prefix
from robotrace.serve.later import Later
from robotrace.serve.models import Project, utc_now
from robotrace.serve.projects import list_projects
from robotrace.serve.rate_limits import Limits, client_address, refuse_too_many
from robotrace.serve.sessions import Cookies
from robotrace.serve.settings import Settings
from robotrace.serve.store import ObjectStore
from robotrace.serve.usage import UsageCache

__all__ = [
    "ApiCaller",
    "Caller",
    "PageViewer",
    "Services",
    "SignInNeeded",
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
    cookies: Cookies
    limits: Limits = field(default_factory=Limits)
    key_uses: KeyUses = field(default_factory=KeyUses)
    guesses: GuessLimit = field(default_factory=GuessLimit)
    usage: UsageCache = field(default_factory=UsageCache)
    later: Later = field(default_factory=Later)
    started_at: datetime = field(default_factory=utc_now)
    cameras: CameraTracks = field(init=False)

    def __post_init__(self) -> None:
        """Name the folder of the camera tracks; it is made with the first of them."""
        object.__setattr__(self, "cameras", CameraTracks(self.settings.cameras_dir))


@dataclass(frozen=True)
class Caller:
    """Who calls the API: the holder of a key, whose project is everything they can see.

    ``internal``: it is this deployment's own process.
    """

    project_id: int
    key_id: int
    key_prefix: str
    internal: bool = False

    @property
    def who(self) -> str:
        """As the audit log names them."""
        return self.key_prefix


@dataclass(frozen=True)
class Viewer:
    """Who looks at a page, and the project they see.

    Args:
        project_id: That project.
        slug: What it is called.
        key_prefix: The beginning of the key they have signed in with; None where nobody has to.
        others: The slugs of the projects they may switch to.
    """

    project_id: int
    slug: str
    key_prefix: str | None = None
    others: tuple[str, ...] = ()

    @property
    def who(self) -> str:
        """As the audit log names them."""
        return self.key_prefix or "portal"


class SignInNeeded(HTTPException):
    """A page is asked for by somebody who has not signed in."""

    def __init__(self) -> None:
        super().__init__(401, "sign in first: /portal/login")


def get_services(request: Request) -> Services:
    """The parts of the deployment that serves this request."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def public_base_url(request: Request) -> str:
    """The deployment as the caller reaches it; the Host header was checked before."""
    public_url = get_services(request).settings.public_url
    caller = getattr(request.state, "caller", None)
    # Our own process takes the short way: the public name may not even be known on this machine.
    if public_url is None or (caller is not None and caller.internal):
        return str(request.base_url).rstrip("/")
    return public_url


def sent_key(request: Request) -> str:
    """The API key a request carries, unchecked; empty when it has none."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else request.headers.get("x-robotrace-key", "")


def require_key(request: Request) -> Caller:
    """Let a request with a valid API key pass.

    Raises:
        HTTPException: 401 otherwise; 429 when too many come with this key, or with wrong ones from this address.
    """
    services, text = get_services(request), sent_key(request)
    if text:
        with services.database.read() as session:
            key = find_key(session, text)
            caller = None if key is None else Caller(key.project_id, key.id, key_prefix(key), key.internal)
        if caller is not None:
            if not caller.internal:
                refuse_too_many(services.limits.calls, caller.key_id, "calls with this API key")
                services.key_uses.note(caller.key_id)
            request.state.caller = caller
            return caller
        # Valid keys pass whatever happens: one robot with a wrong key must not shut out its neighbours.
        refuse_too_many(services.limits.failures, client_address(request), "calls without a valid API key")
    raise HTTPException(
        401,
        "a valid API key is needed: Authorization: Bearer <key>",
        headers={"WWW-Authenticate": "Bearer"},
    )


def portal_viewer(request: Request) -> Viewer:
    """Who looks at a page.

    Raises:
        SignInNeeded: Nobody who has signed in, where that is needed.
    """
    services = get_services(request)
    with services.database.read() as session:
        if services.settings.asks_for_sign_in:
            return _signed_in(services, session, request)
        projects = list_projects(session)
    chosen = request.cookies.get(services.cookies.project_name)
    project = next((each for each in projects if each.slug == chosen), projects[0])
    others = tuple(each.slug for each in projects if each is not project)
    return Viewer(project.id, project.slug, others=others)


def _signed_in(services: Services, session: Session, request: Request) -> Viewer:
    key = services.cookies.key_of(session, request.cookies)
    if key is None:
        raise SignInNeeded
    project = session.get(Project, key.project_id)
    assert project is not None  # a foreign key
    return Viewer(project.id, project.slug, key_prefix(key))


# A dependency is called once a request, however often it is named.
ApiCaller = Annotated[Caller, Depends(require_key)]
PageViewer = Annotated[Viewer, Depends(portal_viewer)]
