"""The three ingest calls of the wire contract, shared by the synchronous client and the background uploader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from robotrace.errors import ConfigurationError

if TYPE_CHECKING:
    from robotrace.transport import Transport

__all__ = [
    "CONTENT_TYPES",
    "ArtifactKind",
    "EpisodeFinalStatus",
    "EpisodeSource",
    "checked_choice",
    "create_episode",
    "finalize_episode",
]

ArtifactKind = Literal["video", "sensors", "actions"]
EpisodeSource = Literal["real", "sim", "replay"]
EpisodeFinalStatus = Literal["ready", "failed"]

CONTENT_TYPES: dict[ArtifactKind, str] = {
    "video": "video/mp4",
    "sensors": "application/octet-stream",
    "actions": "application/octet-stream",
}


def checked_choice(name: str, value: object, literal: Any) -> None:
    """Refuse a value that is none of the ``Literal``'s.

    Raises:
        ConfigurationError: Names the argument and what it takes.
    """
    known = get_args(literal)
    if value not in known:
        raise ConfigurationError(f"{name} is {value!r}; it takes {', '.join(known)}")


def create_episode(
    transport: Transport, payload: Mapping[str, Any], *, idempotency_key: str, retry_rate_limit: bool = False
) -> dict[str, Any]:
    """``POST /api/ingest/episode``; repeating it with the same key gives the same episode with fresh URLs."""
    return transport.call(
        "POST",
        "/api/ingest/episode",
        payload,
        headers={"Idempotency-Key": idempotency_key},
        retry_rate_limit=retry_rate_limit,
    )


def finalize_episode(transport: Transport, episode_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """``POST /api/ingest/episode/{id}/finalize``; idempotent."""
    return transport.call("POST", f"/api/ingest/episode/{episode_id}/finalize", payload)
