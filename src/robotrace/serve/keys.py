"""API keys: ``rt_<10 public characters>_<43 secret characters>``.

A key is found by its public part and compared by the SHA-256 of the whole; 256 random bits need no slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from robotrace.serve.audit import HasActor, audit
from robotrace.serve.models import DEFAULT_PROJECT_ID, ApiKey, utc_now

__all__ = [
    "create_key",
    "find_key",
    "has_keys",
    "key_in_force",
    "key_prefix",
    "list_keys",
    "make_key",
    "replace_internal_key",
    "revoke_key",
    "valid_key_name",
]

_PUBLIC_ALPHABET = string.ascii_lowercase + string.digits
_PUBLIC_LENGTH = 10
_MAX_NAME = 200
_SECRET_BYTES = 32  # 43 characters of base64url
_KEY = re.compile(r"rt_([a-z0-9]{10})_[A-Za-z0-9_-]{43}")
_NO_KEY_SHA256 = "0" * 64


def valid_key_name(name: str) -> str:
    """The name of a key, without the space around it.

    Raises:
        ValueError: It is none.
    """
    name = name.strip()
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise ValueError(f"a key's name has 1 to {_MAX_NAME} printable characters")
    return name


def create_key(session: Session, actor: HasActor, name: str) -> str:
    """Make a key of the actor's project and return its text, which cannot be had again."""
    return make_key(session, actor, name)[1]


def make_key(session: Session, actor: HasActor, name: str) -> tuple[ApiKey, str]:
    """Make a key of the actor's project; returns it and its text, which cannot be had again."""
    key, text = _add_key(session, actor.project_id, name, internal=False)
    audit(session, actor, "key.created", key_prefix(key), name=key.name)
    return key, text


def revoke_key(session: Session, actor: HasActor, key: ApiKey) -> datetime:
    """Take a key out of force; one that is so already keeps the time at which it was. Returns that."""
    if key.revoked_at is None:
        key.revoked_at = utc_now()
        audit(session, actor, "key.revoked", key_prefix(key), name=key.name)
    return key.revoked_at


def _add_key(session: Session, project_id: int, name: str, *, internal: bool) -> tuple[ApiKey, str]:
    public = "".join(secrets.choice(_PUBLIC_ALPHABET) for _ in range(_PUBLIC_LENGTH))
    text = f"rt_{public}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    key = ApiKey(
        project_id=project_id,
        public=public,
        secret_sha256=_sha256(text),
        name=name[:_MAX_NAME],
        internal=internal,
        created_at=utc_now(),
    )
    session.add(key)
    session.flush()  # gives it its id
    return key, text


def has_keys(session: Session) -> bool:
    """Whether a key was ever made for a user; revoked ones count."""
    return bool(session.scalar(select(func.count()).select_from(ApiKey).where(ApiKey.internal.is_(False))))


def replace_internal_key(session: Session) -> str:
    """Make the key of this run of the deployment; those of earlier runs stop working."""
    session.execute(delete(ApiKey).where(ApiKey.internal.is_(True)))
    return _add_key(session, DEFAULT_PROJECT_ID, "internal", internal=True)[1]


def find_key(session: Session, text: str) -> ApiKey | None:
    """The key that this is the text of, when it is in force."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    key = key_in_force(session, match.group(1))
    # Compared even when there is none, so that an unknown public part takes as long as a wrong secret.
    same = hmac.compare_digest(_sha256(text), _NO_KEY_SHA256 if key is None else key.secret_sha256)
    return key if same else None


def key_in_force(session: Session, public: str) -> ApiKey | None:
    """The key with this public part, unless it was revoked."""
    return session.scalar(select(ApiKey).where(ApiKey.public == public, ApiKey.revoked_at.is_(None)))


def list_keys(session: Session, project_id: int) -> list[ApiKey]:
    """The keys of a project that were made for users, newest first, revoked ones too."""
    query = select(ApiKey).where(ApiKey.project_id == project_id, ApiKey.internal.is_(False))
    return list(session.scalars(query.order_by(ApiKey.id.desc())))


def key_prefix(key: ApiKey) -> str:
    """What may be shown of a key."""
    return f"rt_{key.public}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
