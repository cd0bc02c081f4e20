"""Which page had the browser send a request, and what follows for it."""

from __future__ import annotations

from fastapi import HTTPException, Request

from robotrace.serve.services import public_base_url

__all__ = ["refuse_in_passing", "require_same_origin"]


def require_same_origin(request: Request) -> None:
    """Let a request pass that one of our own pages sent.

    Any page in the same browser could post to ours, with the cookie of whoever has signed in, or where nobody has to.
    What tells is written by the browser and out of reach of a page's scripts: ``Sec-Fetch-Site``, and where a browser
    does not send that, ``Origin``. A program that is no browser uses the API routes and a key.

    Example::

        @router.post("/portal/things", dependencies=[Depends(require_same_origin)])

    Raises:
        HTTPException: 403 otherwise.
    """
    site = request.headers.get("sec-fetch-site")
    same = site == "same-origin" if site is not None else request.headers.get("origin") == public_base_url(request)
    if not same:
        raise HTTPException(403, "this form is only accepted from a page of this deployment")


def refuse_in_passing(request: Request) -> None:
    """Refuse what a page of another site has the browser send without being asked to; a link to here is fine.

    For routes that take no key and count what comes: a page could not read the answers, but use up the limits.

    Raises:
        HTTPException: 403.
    """
    foreign = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    if foreign and not (request.method == "GET" and request.headers.get("sec-fetch-dest") == "document"):
        raise HTTPException(403, "not from a page of another site")
