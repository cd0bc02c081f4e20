"""The API keys of a project, over the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from pydantic import AfterValidator, BaseModel
from sqlalchemy.orm import Session

from robotrace.serve.keys import key_prefix, list_keys, make_key, revoke_key, valid_key_name
from robotrace.serve.models import ApiKey
from robotrace.serve.schemas import RevokedKey, Utc
from robotrace.serve.services import ApiCaller, get_services, require_key

__all__ = ["KeyId", "key_or_404", "router"]

router = APIRouter(prefix="/api/keys", dependencies=[Depends(require_key)])

KeyId = Annotated[int, Path(ge=0, lt=2**31)]  # what the database can compare with


class CreateKey(BaseModel):
    """``POST /api/keys``."""

    name: Annotated[str, AfterValidator(valid_key_name)]


class ListedKey(BaseModel):
    """A key; ``last_used_at`` to the minute, None: never."""

    key_id: str
    key_prefix: str
    name: str
    created_at: Utc
    last_used_at: Utc | None
    revoked_at: Utc | None


class CreatedKey(ListedKey):
    """A new key, and its text, this once."""

    api_key: str


class ListedKeys(BaseModel):
    """The keys, newest first."""

    keys: list[ListedKey]


@router.post("", status_code=201)
def post_key(body: CreateKey, request: Request, response: Response, caller: ApiCaller) -> CreatedKey:
    """Make a key of the caller's project."""
    with get_services(request).database.write() as session:
        key, text = make_key(session, caller, body.name)
        created = CreatedKey(**dict(_listed(key)), api_key=text)
    response.headers["Cache-Control"] = "no-store"
    return created


@router.get("")
def get_keys(request: Request, caller: ApiCaller) -> ListedKeys:
    """The keys of the caller's project, revoked ones too; their texts are not stored."""
    with get_services(request).database.read() as session:
        return ListedKeys(keys=[_listed(key) for key in list_keys(session, caller.project_id)])


@router.delete("/{key_id}")
def delete_key(key_id: KeyId, request: Request, caller: ApiCaller) -> RevokedKey:
    """Take a key of the caller's project out of force, at once and for good; may be repeated."""
    with get_services(request).database.write() as session:
        key = key_or_404(session, key_id, caller.project_id)
        revoked_at = revoke_key(session, caller, key)
        return RevokedKey(key_id=str(key.id), key_prefix=key_prefix(key), revoked_at=revoked_at)


def key_or_404(session: Session, key_id: int, project_id: int) -> ApiKey:
    """The key of a project; the deployment's own, which nobody was given, is none.

    Raises:
        HTTPException: 404 when there is none.
    """
    key = session.get(ApiKey, key_id)
    if key is None or key.internal or key.project_id != project_id:
        raise HTTPException(404, "no such key")
    return key


def _listed(key: ApiKey) -> ListedKey:
    return ListedKey(
        key_id=str(key.id),
        key_prefix=key_prefix(key),
        name=key.name,
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )
