"""The page of the API keys: what each is called, and a way to take it out of force."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel

from robotrace.serve.keys import key_prefix, list_keys
from robotrace.serve.models import ApiKey, utc_now
from robotrace.serve.pages import page
from robotrace.serve.same_origin import require_same_origin
from robotrace.serve.schemas import Utc
from robotrace.serve.services import PageViewer, Services, Viewer, get_services

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_KEYS = "/portal/api-keys"


class KeyView(BaseModel):
    """What is shown of a key."""

    id: int
    name: str
    prefix: str
    created_at: Utc
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
                    revoked_at=key.revoked_at,
                )
                for key in list_keys(session, viewer.project_id)
            ]
        )


@router.get(_KEYS)
def keys_page(request: Request, viewer: PageViewer) -> HTMLResponse:
    """The keys."""
    return page("api_keys.html", viewer=viewer, keys=_key_list(get_services(request), viewer).keys)


@router.get(_KEYS + ".json")
def keys_json(request: Request, viewer: PageViewer) -> KeyList:
    """The keys."""
    return _key_list(get_services(request), viewer)


@router.post(_KEYS + "/{key_id}/revoke", dependencies=[Depends(require_same_origin)])
def revoke_key(key_id: Annotated[int, Path(lt=2**63)], request: Request, viewer: PageViewer) -> RedirectResponse:
    """Take a key out of force; one that is so already keeps the time at which it was."""
    with get_services(request).database.write() as session:
        key = session.get(ApiKey, key_id)
        if key is None or key.internal or key.project_id != viewer.project_id:  # internal: which nobody was given
            raise HTTPException(404, "no such key")
        key.revoked_at = key.revoked_at or utc_now()
    return RedirectResponse(_KEYS, 303)
