"""The three ingest calls of the wire contract, shared by the synchronous client and the background uploader."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from robotrace.errors import APIError, ConfigurationError
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

_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "seed": operator.index,
    "bytes_total": operator.index,
    "fps": float,
    "duration_s": float,
    "failure_time_s": float,
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
        ConfigurationError: ``seed`` is no integer or ``fps`` no finite number.
    """
    _check_numbers(fields)
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

    Raises:
        ConfigurationError: ``bytes_total`` is no integer or another one no finite number.
    """
    _check_numbers(fields)
    given = {**fields, "metadata": None if metadata is None else metadata_json(metadata)}
    return {"status": status, **{name: value for name, value in given.items() if value is not None}}


def _check_numbers(fields: dict[str, Any]) -> None:
    # In place; NumPy's scalars become Python's, which JSON knows.
    for name, convert in _NUMBERS.items():
        if fields.get(name) is not None:
            fields[name] = _number(name, fields[name], convert)


def _number(name: str, value: Any, convert: Callable[[Any], Any]) -> Any:
    try:
        number = convert(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name} must be a number, got {value!r}") from None
    if not math.isfinite(number):
        raise ConfigurationError(f"{name} must be a finite number, got {value!r}")
    return number


def create_episode(
    transport: Transport, payload: Mapping[str, Any], *, idempotency_key: str, retry_rate_limit: bool = False
) -> dict[str, Any]:
    """``POST /api/ingest/episode``; repeating it with the same key gives the same episode with fresh URLs.

    Returns:
        The answer, with ``episode_id`` and a list ``upload_urls`` of ``{kind, url, expires_at, public_url}``.

    Raises:
        APIError: A refusal, or an answer that is none of a deployment's.
        TransportError: No answer.
    """
    answer = transport.call(
        "POST",
        "/api/ingest/episode",
        payload,
        headers={"Idempotency-Key": idempotency_key},
        retry_rate_limit=retry_rate_limit,
    )
    urls = answer.get("upload_urls") or []
    whole = isinstance(urls, list) and all(isinstance(item, dict) and {"kind", "url"} <= item.keys() for item in urls)
    if not whole or not isinstance(answer.get("episode_id"), (str, int)):
        raise APIError("the answer to create is none of a deployment's", status_code=201, response_body=answer)
    return {**answer, "episode_id": str(answer["episode_id"]), "upload_urls": urls}


def finalize_episode(transport: Transport, episode_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """``POST /api/ingest/episode/{id}/finalize``; idempotent."""
    return transport.call("POST", f"/api/ingest/episode/{episode_id}/finalize", payload)
