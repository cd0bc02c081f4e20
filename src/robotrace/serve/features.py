"""What this deployment can beyond the contract, so that a client need not try."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from robotrace._version import __version__
from robotrace.serve.artifacts import MAX_SIZE, UPLOAD_LIFETIME
from robotrace.serve.guard import MAX_JSON_BYTES
from robotrace.serve.schemas import CAMERA_PATTERN, KINDS, MAX_CAMERAS

__all__ = ["Features", "features", "router"]

router = APIRouter(prefix="/api")

# Names are for ever: a client asks for one, never for a version.
_FEATURES = (
    "archive",
    "artifact_claims",
    "camera_slots",
    "delete",
    "downloads",
    "episode_list",
    "idempotency_key",
    "quotas",
    "reproductions",
    "upload_urls",
)


class Slots(BaseModel):
    """The slots that a create may ask for; ``camera_pattern`` is a regular expression of the further ones."""

    kinds: list[str]
    camera_pattern: str
    max_cameras: int


class Limits(BaseModel):
    """How much one request may bring."""

    json_bytes: int
    artifact_bytes: int
    upload_url_s: int
    page: int


class Features(BaseModel):
    """``GET /api/features``."""

    server: str
    version: str
    features: list[str]
    slots: Slots
    limits: Limits


@router.get("/features")
async def read_features() -> Features:
    """Names of what there is beyond the contract, and its limits; asks for no key."""
    return features()


def features() -> Features:
    """What this version can."""
    return Features(
        server="robotrace-embedded",
        version=__version__,
        features=list(_FEATURES),
        slots=Slots(kinds=list(KINDS), camera_pattern=f"^{CAMERA_PATTERN}$", max_cameras=MAX_CAMERAS),
        limits=Limits(
            json_bytes=MAX_JSON_BYTES,
            artifact_bytes=MAX_SIZE,
            upload_url_s=int(UPLOAD_LIFETIME.total_seconds()),
            page=200,
        ),
    )
