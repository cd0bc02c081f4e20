"""What a form that changes something asks of the request that sends it: that a page of this deployment did."""

from __future__ import annotations

from fastapi import HTTPException, Request

from robotrace.serve.services import public_base_url

__all__ = ["require_same_origin"]


def require_same_origin(request: Request) -> None:
    """Let a request pass that one of our own pages sent.

    The pages ask for no login, so any page in the same browser could post to them. What tells is written by the browser
    and out of reach of a page's scripts: ``Sec-Fetch-Site``, and where a browser does not send that, ``Origin``. A
    program that is no browser uses the API routes and a key.

    Example::

        @router.post("/portal/things", dependencies=[Depends(require_same_origin)])

    Raises:
        HTTPException: 403 otherwise.
    """
    site = request.headers.get("sec-fetch-site")
    same = site == "same-origin" if site is not None else request.headers.get("origin") == public_base_url(request)
    if not same:
        raise HTTPException(403, "this form is only accepted from a page of this deployment")
