"""The three ingest calls of the wire contract, shared by the synchronous client and the background uploader."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import quote

from robotrace.errors import APIError, ConfigurationError, NotFoundError
from robotrace.jsonable import metadata_json

if TYPE_CHECKING:
    from robotrace.transport import Transport

__all__ = [
    "CONTENT_TYPES",
    "LONGEST_TEXT",
    "ArtifactKind",
    "EpisodeFinalStatus",
    "EpisodeSource",
    "camera_kind",
    "checked_choice",
    "checked_kind",
    "checked_text",
    "checked_version",
    "content_type_of",
    "create_episode",
    "create_payload",
    "finalize_episode",
    "finalize_payload",
    "is_camera_kind",
    "push_verdict",
    "read_features",
    "sign_uploads",
]

ArtifactKind = Literal["video", "sensors", "actions"]
EpisodeSource = Literal["real", "sim", "replay"]
EpisodeFinalStatus = Literal["ready", "failed"]

CONTENT_TYPES: dict[ArtifactKind, str] = {
    "video": "video/mp4",
    "sensors": "application/octet-stream",
    "actions": "application/octet-stream",
}

_CAMERA = re.compile(r"video\.[a-z0-9][a-z0-9_.-]{0,39}")

LONGEST_TEXT = {"name": 200, "robot": 120}
"""Characters the wire takes; the contract bounds no other text."""


@dataclass(frozen=True)
class _Number:
    convert: Callable[[Any], Any]
    fits: Callable[[Any], bool] = math.isfinite
    rule: str = "must be a finite number"


# What every deployment can store; ours refuses the rest with a 400 after the episode's files are written.
_NUMBERS = {
    "seed": _Number(operator.index, lambda seed: -(2**63) <= seed < 2**63, "must fit into 64 bits"),
    "bytes_total": _Number(operator.index, lambda size: 0 <= size < 2**63, "must be 0 or more"),
    "fps": _Number(float, lambda fps: 0 < fps < math.inf, "must be a finite number above 0"),
    "duration_s": _Number(float, lambda seconds: 0 <= seconds < math.inf, "must be a finite number, 0 or more"),
    "failure_time_s": _Number(float),  # the server clamps it into the duration
}


def checked_choice(name: str, value: object, literal: Any) -> None:
    """Refuse a value that is none of the ``Literal``'s.

    Raises:
        ConfigurationError: Names the argument and what it takes.
    """
    known = get_args(literal)
    if value not in known:
        raise ConfigurationError(f"{name} is {value!r}; it takes {', '.join(known)}")


def checked_kind(name: str, value: object) -> None:
    """Refuse what is no slot: none of :data:`ArtifactKind`, and no further camera's ``video.<camera>``.

    Raises:
        ConfigurationError: Names the argument and what it takes.
    """
    if not is_camera_kind(value):
        checked_choice(name, value, ArtifactKind)


def is_camera_kind(value: object) -> bool:
    """Whether it is the slot of a further camera."""
    return isinstance(value, str) and _CAMERA.fullmatch(value) is not None


def camera_kind(camera: object) -> str:
    """The slot of a further camera, an addition of ours to the wire.

    Raises:
        ConfigurationError: The name does not fit into one.
    """
    kind = f"video.{camera}"
    if not isinstance(camera, str) or not _CAMERA.fullmatch(kind):
        raise ConfigurationError(
            f"camera {camera!r}: a name has 1 to 40 characters of a-z 0-9 _ . - and begins with a letter or digit"
        )
    return kind


def content_type_of(kind: str) -> str:
    """What the file of a slot is sent as."""
    return CONTENT_TYPES["video" if kind.partition(".")[0] == "video" else "sensors"]


def read_features(transport: Transport) -> frozenset[str]:
    """``GET /api/features``: what a deployment can beyond the contract; nothing, where it does not know the question.

    Raises:
        APIError: A refusal.
        TransportError: No answer.
    """
    try:
        names = transport.call("GET", "/api/features").get("features")
    except NotFoundError:
        return frozenset()
    return frozenset(str(name) for name in names) if isinstance(names, list) else frozenset()


def checked_text(name: str, value: object, longest: int | None = None) -> None:
    """Refuse what is neither None nor text of at most ``longest`` characters.

    Raises:
        ConfigurationError: Names the argument.
    """
    if value is None:
        return
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be text, got {value!r}")
    if longest is not None and len(value) > longest:
        raise ConfigurationError(f"{name} may have {longest} characters, this one has {len(value)}")


def checked_version(version: object) -> None:
    """Refuse a candidate's policy version that is no text or empty.

    Raises:
        ConfigurationError: Says so.
    """
    checked_text("candidate_policy_version", version)
    if not isinstance(version, str) or not version.strip():
        raise ConfigurationError("candidate_policy_version is needed, and may not be empty")


def create_payload(
    *,
    source: EpisodeSource,
    request_uploads: Sequence[str],
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
        ConfigurationError: ``seed`` is no integer of 64 bits, ``fps`` no number above 0, ``metadata`` no mapping.
    """
    _check_numbers(fields)
    return {
        "source": source,
        "request_uploads": list(dict.fromkeys(request_uploads)),
        **{name: value for name, value in fields.items() if value is not None},
        "metadata": {"client_episode_id": client_episode_id, **_checked_metadata(metadata)},
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
        ConfigurationError: A number is none, not finite or out of its range, or ``metadata`` is no mapping.
    """
    _check_numbers(fields)
    given = {**fields, "metadata": None if metadata is None else _checked_metadata(metadata)}
    return {"status": status, **{name: value for name, value in given.items() if value is not None}}


def _check_numbers(fields: dict[str, Any]) -> None:
    # In place; NumPy's scalars become Python's, which JSON knows.
    for name, number in _NUMBERS.items():
        if fields.get(name) is not None:
            fields[name] = _checked_number(name, fields[name], number)


def _checked_number(name: str, value: Any, number: _Number) -> Any:
    try:
        # A truth value is a slip of the caller's; NumPy's is no subclass of int, and float() takes it.
        if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
            raise TypeError
        converted = number.convert(value)
    except (TypeError, ValueError):
        what = "an integer" if number.convert is operator.index else "a number"
        raise ConfigurationError(f"{name} must be {what}, got {value!r}") from None
    except OverflowError:  # an integer beyond float64
        converted = math.inf
    if not number.fits(converted):
        raise ConfigurationError(f"{name} {number.rule}, got {value!r}")
    return converted


def _checked_metadata(metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise ConfigurationError(f"metadata must be a mapping, got {type(metadata).__name__}")
    return metadata_json(metadata)


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
    if not isinstance(answer.get("episode_id"), (str, int)) or answer["episode_id"] == "":
        raise APIError("the answer to create has no episode_id", status_code=201, response_body=answer)
    urls = _upload_urls("create", answer)
    return {**answer, "episode_id": str(answer["episode_id"]), "upload_urls": urls}


def sign_uploads(
    transport: Transport,
    episode_id: str,
    kinds: Sequence[ArtifactKind] | None = None,
    *,
    retry_rate_limit: bool = False,
) -> dict[str, str]:
    """``POST /api/ingest/episode/{id}/upload-urls``: fresh URLs by kind. An addition of ours to the wire.

    Args:
        transport: The deployment.
        episode_id: The episode.
        kinds: Slots to be filled, empty ones that create did not ask for too; None: those that it asked for.
        retry_rate_limit: Whether a 429 is tried again.

    Raises:
        APIError: A refusal; 404 where a deployment has no such route.
        TransportError: No answer.
    """
    path = f"/api/ingest/episode/{quote(episode_id, safe='')}/upload-urls"
    body = None if kinds is None else {"kinds": list(kinds)}
    answer = transport.call("POST", path, body, retry_rate_limit=retry_rate_limit)
    return {item["kind"]: item["url"] for item in _upload_urls("upload-urls", answer)}


def push_verdict(
    transport: Transport, episode_id: str, verdict: Mapping[str, Any], *, retry_rate_limit: bool = False
) -> dict[str, Any]:
    """``POST /api/ingest/episode/{id}/reproduction``: what running it again came to. An addition of ours to the wire.

    Args:
        transport: The deployment.
        episode_id: The episode.
        verdict: As JSON.
        retry_rate_limit: Whether a 429 is tried again.

    Raises:
        APIError: A refusal; 404 where a deployment has no such route.
        TransportError: No answer.
    """
    path = f"/api/ingest/episode/{quote(episode_id, safe='')}/reproduction"
    return transport.call("POST", path, verdict, retry_rate_limit=retry_rate_limit)


def _upload_urls(call: str, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    urls = answer.get("upload_urls") or []
    if not isinstance(urls, list) or not all(
        isinstance(item, dict) and {"kind", "url"} <= item.keys() for item in urls
    ):
        message = f"the answer to {call} has upload_urls without a URL"
        raise APIError(message, status_code=201, response_body=answer)
    return urls


def finalize_episode(transport: Transport, episode_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """``POST /api/ingest/episode/{id}/finalize``; idempotent."""
    return transport.call("POST", f"/api/ingest/episode/{episode_id}/finalize", payload)
