"""The JSON of running episodes again, in and out; it mirrors the plain values of ``robotrace.reroll.jobs``."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field, PlainSerializer

from robotrace.reroll.jobs import Outcome
from robotrace.serve.schemas import ArtifactKinds, Count, Finite, Utc, iso

__all__ = [
    "RenderState",
    "RenderView",
    "Report",
    "ReportedVideo",
    "RerunView",
    "RunCode",
    "SignUploads",
    "StoredReproduction",
]

# A text is a name, a short value or the message of an exception; a list one of packages or streams. More than an env
# has, and a report stays below a few MB whatever a client sends.
_MAX_TEXT = 4000
_MAX_ITEMS = 1000


def _number_or_none(value: Any) -> Any:
    """The distance to a NaN is none; JSON has no word for it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _name_only(value: str) -> str:
    """Where the file lay on the machine that made it is nobody else's business."""
    return PurePath(value).name


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(timezone.utc)
    except OverflowError:
        raise ValueError("beyond the years that have a date") from None


Text = Annotated[str, Field(max_length=_MAX_TEXT)]
Distance = Annotated[Annotated[float, Field(strict=True)] | None, BeforeValidator(_number_or_none)]
CheckedAt = Annotated[AwareDatetime, AfterValidator(_in_utc), PlainSerializer(iso, return_type=str)]
Pixels = Annotated[int, Field(strict=True, ge=1, le=100_000)]


class Difference(BaseModel):
    """Something that is another here than where the episode was recorded."""

    name: Text
    recorded: Text
    here: Text | None


class Divergence(BaseModel):
    """The first value that came out differently."""

    step: Count
    t_s: Finite | None
    stream: Text
    recorded: Text
    here: Text
    distance: Distance = None


class Code(BaseModel):
    """What was imported and called."""

    entry_point: Text
    what: Text
    package: Text
    version: Text | None = None


class ReportedVideo(BaseModel):
    """The video that was made; its ``path`` is cut down to the name."""

    path: Annotated[Text, AfterValidator(_name_only)]
    frames: Count
    width: Pixels
    height: Pixels
    preset: Text
    size: Count


class Report(BaseModel):
    """``POST /api/ingest/episode/{id}/reproduction``: a verdict. Fields of a newer version are left out."""

    verdict: Outcome
    reason: Text | None = None
    differences: Annotated[list[Difference], Field(max_length=_MAX_ITEMS)] = []
    divergence: Divergence | None = None
    steps: Count = 0
    total_steps: Count | None = None
    compared: Annotated[list[Text], Field(max_length=_MAX_ITEMS)] = []
    not_compared: Annotated[dict[Text, Text], Field(max_length=_MAX_ITEMS)] = {}
    code: Annotated[list[Code], Field(max_length=_MAX_ITEMS)] = []
    raised: Text | None = None
    video: ReportedVideo | None = None
    video_fault: Text | None = None
    checked_at: CheckedAt | None = None
    checked_by: Text | None = None


class StoredReproduction(BaseModel):
    """The answer to it."""

    episode_id: str
    verdict: Outcome
    checked_at: Utc


class SignUploads(BaseModel):
    """``POST /api/ingest/episode/{id}/upload-urls``: slots to sign beside those that create asked for."""

    kinds: ArtifactKinds = []


RenderState = Literal["queued", "running", "done", "failed", "cancelled"]


class RenderView(BaseModel):
    """How the render of an episode stands; ``total`` is None before its length is known."""

    state: RenderState
    done: int
    total: int | None
    ahead: int
    reason: str | None


class RunCode(BaseModel):
    """A piece of code that running an episode again here imports, and its version where it was recorded and here."""

    entry_point: str
    package: str
    recorded: str | None
    here: str | None


class RerunView(BaseModel):
    """Whether an episode can be run again here, and what that would run.

    ``anywhere`` is False where what was recorded does not suffice on any machine.
    """

    why_not: str | None
    anywhere: bool
    code: list[RunCode]
    deferred: bool
    render: RenderView | None
