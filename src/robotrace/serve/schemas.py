"""The JSON of the contract, in and out."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, PlainSerializer

__all__ = [
    "CAMERA_PATTERN",
    "KINDS",
    "MAX_CAMERAS",
    "ArtifactClaim",
    "ArtifactInfo",
    "ArtifactKind",
    "ArtifactKinds",
    "CreateEpisode",
    "CreatedEpisode",
    "EpisodeDetail",
    "EpisodePage",
    "EpisodeSummary",
    "FinalizeEpisode",
    "FinalizedEpisode",
    "FindingFeedback",
    "FindingView",
    "ListedEpisode",
    "Otel",
    "RevokedKey",
    "UploadUrl",
    "UploadUrls",
    "Utc",
    "is_kind",
    "iso",
]

_INT64_MAX = 2**63 - 1
# What writes the answers gives up at 255 levels, the answer's own among them.
_MAX_NESTING = 100


def iso(moment: datetime) -> str:
    """A time as ISO 8601 in UTC with a ``Z``."""
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def _storable(value: dict[str, Any]) -> dict[str, Any]:
    if _is_nested_too_deep(value):
        raise ValueError(f"nested deeper than {_MAX_NESTING} levels")
    try:
        # NaN and lone surrogates pass a lenient parser, but no strict one could read them back.
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        raise ValueError("must be JSON: no NaN, no infinity, no broken Unicode") from None
    return value


def _is_nested_too_deep(value: dict[str, Any]) -> bool:
    level: list[Any] = [value]
    for _ in range(_MAX_NESTING):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return False
        level = inner
    return True


KINDS = ("video", "sensors", "actions")
"""The slots of the contract."""
CAMERA_PATTERN = r"video\.[a-z0-9][a-z0-9_.-]{0,39}"
"""The slot of one more camera. Lower case: a store's folder may not tell the cases apart."""
MAX_CAMERAS = 16
"""Of an episode, beside ``video``."""
_KIND = re.compile(rf"{'|'.join(KINDS)}|{CAMERA_PATTERN}")


def is_kind(text: str) -> bool:
    """Whether there is a slot of this name."""
    return _KIND.fullmatch(text) is not None


def _countable(kinds: list[str]) -> list[str]:
    if len({kind for kind in kinds if kind not in KINDS}) > MAX_CAMERAS:
        raise ValueError(f"an episode has at most {MAX_CAMERAS} further cameras")
    return kinds


ArtifactKind = Annotated[str, Field(pattern=rf"^({_KIND.pattern})$", examples=["video", "video.wrist"])]
ArtifactKinds = Annotated[list[ArtifactKind], Field(max_length=100), AfterValidator(_countable)]
Utc = Annotated[datetime, PlainSerializer(iso, return_type=str)]
Metadata = Annotated[dict[str, Any], AfterValidator(_storable)]
# Strict: "7" or true for a number is a mistake of the sender, not a number.
Int64 = Annotated[int, Field(strict=True, ge=-_INT64_MAX - 1, le=_INT64_MAX)]
Count = Annotated[int, Field(strict=True, ge=0, le=_INT64_MAX)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
Version = Annotated[str, Field(max_length=200)]
# JavaScript has no 64-bit integers. Not ``str`` itself: pydantic 2.7 wants a signature, which a type has none of.
BrowserInt = Annotated[int, PlainSerializer(lambda value: str(value), return_type=str)]


class Otel(BaseModel):
    """The span an episode was recorded in."""

    trace_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    span_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    traceparent: Annotated[str, Field(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]


class CreateEpisode(BaseModel):
    """``POST /api/ingest/episode``; everything may be left out."""

    name: Annotated[str, Field(max_length=200)] | None = None
    source: Literal["real", "sim", "replay"] = "real"
    robot: Annotated[str, Field(max_length=120)] | None = None
    policy_version: Version | None = None
    env_version: Version | None = None
    git_sha: Annotated[str, Field(max_length=64)] | None = None
    seed: Int64 | None = None
    fps: NotNegative | None = None
    metadata: Metadata | None = None
    otel: Otel | None = None
    request_uploads: ArtifactKinds = list(KINDS)


class UploadUrl(BaseModel):
    """Where to PUT one file."""

    kind: ArtifactKind
    url: str
    expires_at: Utc
    public_url: str | None


class CreatedEpisode(BaseModel):
    """The answer to a create."""

    episode_id: str
    status: str
    storage: Literal["r2", "unconfigured"]
    upload_urls: list[UploadUrl]


class UploadUrls(BaseModel):
    """Freshly signed URLs."""

    episode_id: str
    upload_urls: list[UploadUrl]


class ArtifactClaim(BaseModel):
    """What a client says it has uploaded."""

    kind: ArtifactKind
    size: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FinalizeEpisode(BaseModel):
    """``POST /api/ingest/episode/{id}/finalize``."""

    status: Literal["ready", "failed"]
    duration_s: NotNegative | None = None
    fps: NotNegative | None = None
    bytes_total: Count | None = None
    failure_time_s: Finite | None = None
    metadata: Metadata | None = None
    artifacts: Annotated[list[ArtifactClaim], Field(max_length=100)] | None = None


class FinalizedEpisode(BaseModel):
    """The answer to a finalize."""

    episode_id: str
    status: str
    updated_at: Utc


class EpisodeSummary(BaseModel):
    """An episode in a list of the portal; as JSON its seed is text."""

    id: str
    name: str | None
    status: str
    source: str
    robot: str | None
    policy_version: str | None
    env_version: str | None
    git_sha: str | None
    seed: BrowserInt | None
    fps: float | None
    duration_s: float | None
    failure_time_s: float | None
    created_at: Utc
    updated_at: Utc
    has_video: bool
    success: bool | None
    reward_total: float | None
    steps: int | None
    failure_reason: str | None


class ListedEpisode(EpisodeSummary):
    """An episode in a list of the API, which calls its id what every other route calls it."""

    id: str = Field(serialization_alias="episode_id")
    seed: int | None


class EpisodePage(BaseModel):
    """``GET /api/episodes``."""

    episodes: list[ListedEpisode]
    next: str | None


class ArtifactInfo(BaseModel):
    """A file that has arrived."""

    kind: str
    size: int
    sha256: str
    content_type: str
    file_name: str


FindingFeedback = Literal["right", "wrong"]


class FindingView(BaseModel):
    """Something that may be why an episode failed; ``feedback`` is what somebody who knows said of it."""

    code: str
    title: str
    description: str
    confidence: float
    likelihood: str
    evidence: dict[str, Any]
    onset_s: float | None
    streams: list[str]
    next_step: str
    feedback: FindingFeedback | None


class EpisodeDetail(BaseModel):
    """``GET /api/episodes/{id}``."""

    episode_id: str
    name: str | None
    status: str
    source: str
    robot: str | None
    policy_version: str | None
    env_version: str | None
    git_sha: str | None
    seed: int | None
    fps: float | None
    duration_s: float | None
    failure_time_s: float | None
    bytes_total: int | None
    metadata: dict[str, Any]
    otel: dict[str, Any] | None
    created_at: Utc
    updated_at: Utc
    artifacts: list[ArtifactInfo]
    reproduction: dict[str, Any] | None
    findings: list[FindingView] | None


class RevokedKey(BaseModel):
    """A key that is out of force."""

    status: Literal["revoked"] = "revoked"
    key_id: str
    key_prefix: str
    revoked_at: Utc
