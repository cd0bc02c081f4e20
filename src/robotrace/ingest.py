"""The three ingest calls of the wire contract, shared by the synchronous client and the background uploader."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from robotrace.errors import ConfigurationError
from robotrace.jsonable import metadata_json

if TYPE_CHECKING:
    from robotrace.transport import Transport

__all__ = [
    "CONTENT_TYPES",
    "ArtifactKind",
    "EpisodeFinalStatus",
    "EpisodeSource",
    "checked_choice",
    "create_episode",
    "create_payload",
    "finalize_episode",
    "finalize_payload",
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


def create_payload(
    *,
    source: EpisodeSource,
    request_uploads: Sequence[ArtifactKind],
    client_episode_id: str,
    metadata: Mapping[str, Any],
    **fields: Any,
) -> dict[str, Any]:
    """The body of a create: fields that are None are left out, the metadata is made fit for JSON.

    A server that does not know the ``Idempotency-Key`` header still learns the uuid, from the metadata.

    Args:
        source: Always sent.
        request_uploads: Always sent; empty for metadata only.
        client_episode_id: The client-made uuid.
        metadata: The caller's.
        **fields: ``name``, ``robot``, ``policy_version``, ``env_version``, ``git_sha``, ``seed``, ``fps``, ``otel``.

    Raises:
        ConfigurationError: ``seed`` is no integer or ``fps`` no number.
    """
    if fields.get("seed") is not None:
        fields["seed"] = _number("seed", fields["seed"], operator.index)
    if fields.get("fps") is not None:
        fields["fps"] = _number("fps", fields["fps"], float)
    return {
        "source": source,
        "request_uploads": list(dict.fromkeys(request_uploads)),
        **{name: value for name, value in fields.items() if value is not None},
        "metadata": {"client_episode_id": client_episode_id, **metadata_json(metadata)},
    }


def finalize_payload(
    *, status: EpisodeFinalStatus, metadata: Mapping[str, Any] | None, **fields: Any
) -> dict[str, Any]:
    """The body of a finalize: fields that are None are left out, the metadata is made fit for JSON.

    Args:
        status: Always sent.
        metadata: Merged by the server over what it has.
        **fields: ``duration_s``, ``fps``, ``bytes_total``, ``failure_time_s``.
    """
    given = {**fields, "metadata": None if metadata is None else metadata_json(metadata)}
    return {"status": status, **{name: value for name, value in given.items() if value is not None}}


def _number(name: str, value: Any, convert: Callable[[Any], Any]) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name} must be a number, got {value!r}") from None


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
