"""The page of a project's API keys: a way to make one, and to take one out of force."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel

from robotrace.serve.api_keys import KeyId, key_or_404
from robotrace.serve.keys import create_key, key_prefix, list_keys, revoke_key, valid_key_name
from robotrace.serve.pages import form_fields, page
from robotrace.serve.same_origin import require_same_origin
from robotrace.serve.schemas import Utc
from robotrace.serve.services import PageViewer, Services, Viewer, get_services, public_base_url

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_KEYS = "/portal/api-keys"


class KeyView(BaseModel):
    """What is shown of a key."""

    id: int
    name: str
    prefix: str
    created_at: Utc
    last_used_at: Utc | None
    revoked_at: Utc | None


class KeyList(BaseModel):
    """The keys, newest first."""

    keys: list[KeyView]


def _key_list(services: Services, viewer: Viewer) -> KeyList:
    with services.database.read() as session:
        return KeyList(
            keys=[
                KeyView(
                    id=key.id,
                    name=key.name,
                    prefix=key_prefix(key),
                    created_at=key.created_at,
                    last_used_at=key.last_used_at,
                    revoked_at=key.revoked_at,
                )
                for key in list_keys(session, viewer.project_id)
            ]
        )


@router.get(_KEYS)
def keys_page(request: Request, viewer: PageViewer) -> HTMLResponse:
    """The keys."""
    keys = _key_list(get_services(request), viewer).keys
    return page("api_keys.html", viewer=viewer, keys=keys, base_url=public_base_url(request), made=None, error=None)


@router.get(_KEYS + ".json")
def keys_json(request: Request, viewer: PageViewer) -> KeyList:
    """The keys."""
    return _key_list(get_services(request), viewer)


@router.post(_KEYS, dependencies=[Depends(require_same_origin)])
def create_key_form(
    request: Request, viewer: PageViewer, fields: Annotated[dict[str, str], Depends(form_fields)]
) -> HTMLResponse:
    """Make a key, and show it on the page that answers: this once."""
    services = get_services(request)
    made = error = None
    try:
        name = valid_key_name(fields.get("name", ""))
    except ValueError as refused:
        error = str(refused)
    else:
        with services.database.write() as session:
            made = create_key(session, viewer, name)
    answer = page(
        "api_keys.html",
        201 if made else 400,
        viewer=viewer,
        keys=_key_list(services, viewer).keys,
        base_url=public_base_url(request),
        made=made,
        error=error,
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.post(_KEYS + "/{key_id}/revoke", dependencies=[Depends(require_same_origin)])
def revoke_key_form(key_id: KeyId, request: Request, viewer: PageViewer) -> RedirectResponse:
    """Take a key out of force; one that is so already keeps the time at which it was."""
    with get_services(request).database.write() as session:
        revoke_key(session, viewer, key_or_404(session, key_id, viewer.project_id))
    return RedirectResponse(_KEYS, 303)
