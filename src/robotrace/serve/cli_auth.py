"""``robotrace login``: the device flow's routes (RFC 8628), and the page where a person approves.

The program and the browser may be on different machines; what ties them together is the code that both show.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, Field

from robotrace.serve.audit import audit
from robotrace.serve.device_sessions import (
    INTERVAL_S,
    TTL_S,
    TooManySessionsError,
    canonical_user_code,
    find_session,
    redeem,
    session_status,
    start_session,
)
from robotrace.serve.keys import find_key, key_prefix, revoke_key
from robotrace.serve.models import utc_now
from robotrace.serve.pages import form_fields, page
from robotrace.serve.same_origin import refuse_in_passing, require_same_origin
from robotrace.serve.schemas import RevokedKey
from robotrace.serve.services import ApiCaller, PageViewer, Services, Viewer, get_services, public_base_url, sent_key

__all__ = ["router"]

router = APIRouter()

_PAGE = "/cli/auth"
# Answers with a secret in them are nobody's to keep (RFC 6749, 5.1).
_NO_STORE = {"Cache-Control": "no-store"}


class StartLogin(BaseModel):
    """``POST /api/cli/auth/start``; everything may be left out."""

    user_agent: Annotated[str, Field(max_length=10_000)] | None = None
    hostname: Annotated[str, Field(max_length=10_000)] | None = None


class StartedLogin(BaseModel):
    """The codes, and where a person enters theirs."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    interval: int
    expires_in: int


class PollLogin(BaseModel):
    """``POST /api/cli/auth/poll``."""

    device_code: Annotated[str, Field(max_length=200)]


class LoginStatus(BaseModel):
    """How the login stands; with ``approved`` the key, this once."""

    status: Literal["pending", "approved", "denied"]
    api_key: str | None = None
    base_url: str | None = None
    portal_url: str | None = None


@router.post("/api/cli/auth/start", dependencies=[Depends(refuse_in_passing)])
def start_login(request: Request, response: Response, body: StartLogin | None = None) -> StartedLogin:
    """Begin a login; asks for no key, since whoever calls has none yet."""
    said = body or StartLogin()
    user_agent = said.user_agent or request.headers.get("user-agent")
    try:
        with get_services(request).database.write() as session:
            started = start_session(session, hostname=said.hostname, user_agent=user_agent, now=utc_now())
    except TooManySessionsError as error:
        raise HTTPException(429, str(error), headers={"Retry-After": str(error.retry_after_s)}) from None
    response.headers.update(_NO_STORE)
    uri = f"{public_base_url(request)}{_PAGE}"
    return StartedLogin(
        device_code=started.device_code,
        user_code=started.user_code,
        verification_uri=uri,
        verification_uri_complete=f"{uri}?code={started.user_code}",
        interval=INTERVAL_S,
        expires_in=TTL_S,
    )


@router.post("/api/cli/auth/poll", response_model=LoginStatus, response_model_exclude_none=True)
def poll_login(body: PollLogin, request: Request, response: Response) -> LoginStatus | JSONResponse:
    """Say how a login stands; the first poll after the approval makes the key and is the only one that gets it.

    Asking more often than ``interval`` says is not punished: a question costs one look into an index.
    """
    database = get_services(request).database
    with database.read() as session:
        status = session_status(session, body.device_code, utc_now())
    response.headers.update(_NO_STORE)
    if status == "pending" or status == "denied":
        return LoginStatus(status=status)
    if status == "approved":
        with database.write() as session:
            key = redeem(session, body.device_code, utc_now())
        if key is not None:
            base_url = public_base_url(request)
            return LoginStatus(
                status="approved", api_key=key, base_url=base_url, portal_url=f"{base_url}/portal/episodes"
            )
        status = "consumed"  # by another poll at the same moment
    text = "this login has expired" if status == "expired" else "this login was used already"
    return JSONResponse({"status": status, "error": text}, 410, headers=_NO_STORE)


@router.post("/api/cli/auth/revoke")
def revoke_login(request: Request, caller: ApiCaller) -> RevokedKey:
    """Take the key of this request out of force, at once and for good."""
    with get_services(request).database.write() as session:
        key = find_key(session, sent_key(request))
        if key is None:  # revoked by another request since it was let in
            raise HTTPException(401, "the API key is not in force")
        revoked_at = revoke_key(session, caller, key)
        return RevokedKey(key_id=str(key.id), key_prefix=key_prefix(key), revoked_at=revoked_at)


@router.get(_PAGE, include_in_schema=False, dependencies=[Depends(refuse_in_passing)])
def auth_page(request: Request, viewer: PageViewer, code: str = "") -> HTMLResponse:
    """The form for a code, or the login that a code stands for."""
    if not code.strip():
        return _form(viewer)
    services = get_services(request)
    wait_s = services.guesses.wait_s()
    if wait_s > 0:
        return _too_many(wait_s, viewer, code)
    with services.database.read() as session:
        found = find_session(session, code, utc_now())
    if found is None:
        return _wrong(services, viewer, code)
    return page("cli_auth.html", viewer=viewer, login=found, code=found.user_code, error=None)


@router.post(_PAGE, include_in_schema=False, dependencies=[Depends(require_same_origin)])
def decide_login(
    request: Request, viewer: PageViewer, fields: Annotated[dict[str, str], Depends(form_fields)]
) -> Response:
    """Approve or deny a login, whose key is then of the viewer's project, and show what became of it."""
    services = get_services(request)
    code, decision = fields.get("code", ""), fields.get("decision", "")
    if decision not in ("approve", "deny"):
        raise HTTPException(400, "decision: approve or deny")
    wait_s = services.guesses.wait_s()
    if wait_s > 0:
        return _too_many(wait_s, viewer, code)
    with services.database.write() as session:
        found = find_session(session, code, utc_now())
        if found is not None and found.status == "pending":
            found.status = "approved" if decision == "approve" else "denied"
            found.project_id = viewer.project_id
            done = f"login.{found.status}"
            audit(session, viewer, done, found.hostname or "a program", program=found.user_agent)
    if found is None:
        return _wrong(services, viewer, code)
    return RedirectResponse(f"{_PAGE}?code={canonical_user_code(code)}", 303)


def _form(viewer: Viewer, status_code: int = 200, code: str = "", error: str | None = None) -> HTMLResponse:
    return page("cli_auth.html", status_code, viewer=viewer, login=None, code=code[:20], error=error)


def _wrong(services: Services, viewer: Viewer, code: str) -> HTMLResponse:
    services.guesses.wrong()
    return _form(
        viewer, 404, code, "No login waits for this code. Codes are good for ten minutes; check it letter by letter."
    )


def _too_many(wait_s: float, viewer: Viewer, code: str) -> HTMLResponse:
    seconds = math.ceil(wait_s)
    answer = _form(viewer, 429, code, f"Too many wrong codes. Try again in {seconds} s.")
    answer.headers["Retry-After"] = str(seconds)
    return answer
