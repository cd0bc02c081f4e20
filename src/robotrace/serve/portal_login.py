"""Signing in to the pages, signing out, choosing a project where nobody has to sign in, and the colours."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from robotrace.serve.audit import Actor, audit
from robotrace.serve.keys import find_key, key_prefix
from robotrace.serve.pages import form_fields, page
from robotrace.serve.rate_limits import client_address, refuse_too_many
from robotrace.serve.same_origin import require_same_origin
from robotrace.serve.services import PageViewer, SignInNeeded, get_services
from robotrace.serve.themes import THEMES, keep_theme

__all__ = ["ask_to_sign_in", "local_path", "router"]

router = APIRouter(include_in_schema=False)

_HOME = "/portal/episodes"
_LOGIN = "/portal/login"


def local_path(text: str) -> str:
    r"""Where to go after signing in: a path of ours, or the list of episodes.

    A browser takes ``//host`` and ``/\host`` for other hosts, and leaves out what is no printable ASCII on the way.
    """
    strange = "\\" in text or not all("!" <= char <= "~" for char in text)
    if strange or not text.startswith("/") or text.startswith("//"):
        return _HOME
    parts = urlsplit(text)
    return _HOME if parts.scheme or parts.netloc or parts.path == _LOGIN else text


def ask_to_sign_in(request: Request, error: Exception) -> Response:
    """What somebody gets who has not signed in: the way to do so, or where a script asks, JSON that says so."""
    assert isinstance(error, SignInNeeded)
    if "." in request.url.path.rpartition("/")[2]:  # the JSON and binary twins of pages
        return JSONResponse({"error": error.detail}, error.status_code)
    there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    query = f"?{urlencode({'next': there})}" if request.method == "GET" and there != "/portal/episodes" else ""
    return RedirectResponse(_LOGIN + query, 303)


@router.get(_LOGIN)
def login_page(request: Request, next: str = "") -> Response:
    """The form for a key; where nobody has to sign in there is none."""
    if not get_services(request).settings.asks_for_sign_in:
        return RedirectResponse(local_path(next), 303)
    return _form(next)


@router.post(_LOGIN, dependencies=[Depends(require_same_origin)])
def sign_in(request: Request, fields: Annotated[dict[str, str], Depends(form_fields)]) -> Response:
    """Take a key once, and let the browser be its holder for a week."""
    services, there = get_services(request), fields.get("next", "")
    if not services.settings.asks_for_sign_in:
        return RedirectResponse(local_path(there), 303)
    try:
        refuse_too_many(services.limits.sign_ins, client_address(request), "attempts to sign in")
    except HTTPException as refused:
        answer = _form(there, 429, f"{str(refused.detail).capitalize()}.")
        answer.headers.update(refused.headers or {})
        return answer
    text = fields.get("key", "").strip()
    with services.database.read() as session:
        key = find_key(session, text)
    if key is None or key.internal:
        return _form(there, 401, "This API key is not in force. Check that all of it was copied.")
    with services.database.write() as session:
        audit(session, Actor(key.project_id, key_prefix(key)), "portal.sign_in", key.name)
    done = RedirectResponse(local_path(there), 303)
    services.cookies.sign_in(done, key)
    return done


@router.post("/portal/logout", dependencies=[Depends(require_same_origin)])
def sign_out(request: Request) -> RedirectResponse:
    """Forget who it was."""
    done = RedirectResponse(_LOGIN, 303)
    get_services(request).cookies.sign_out(done)
    return done


@router.post("/portal/project", dependencies=[Depends(require_same_origin)])
def choose_project(
    request: Request, viewer: PageViewer, fields: Annotated[dict[str, str], Depends(form_fields)]
) -> RedirectResponse:
    """Look at another project."""
    slug = fields.get("project", "")
    if slug not in (viewer.slug, *viewer.others):
        raise HTTPException(404, "there is no such project")
    done = RedirectResponse(_HOME, 303)
    get_services(request).cookies.choose_project(done, slug)
    return done


@router.post("/portal/theme", dependencies=[Depends(require_same_origin)])
def choose_theme(request: Request, fields: Annotated[dict[str, str], Depends(form_fields)]) -> RedirectResponse:
    """Show every page light, dark, or as the browser prefers; back to where it was chosen.

    The pages send themselves as the referrer: with the instant that a script has written into the address meanwhile.
    """
    theme = fields.get("theme", "")
    if theme not in THEMES:
        raise HTTPException(400, f"theme: one of {', '.join(THEMES)}")
    here = urlsplit(request.headers.get("referer", ""))
    done = RedirectResponse(local_path(here._replace(scheme="", netloc="", fragment="").geturl()), 303)
    keep_theme(done, theme)
    return done


def _form(there: str, status_code: int = 200, error: str | None = None) -> HTMLResponse:
    answer = page("login.html", status_code, next=local_path(there), error=error)
    answer.headers["Cache-Control"] = "no-store"
    return answer
