"""The pictures beside the episodes of a list."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from robotrace.serve.episodes import episode_or_404
from robotrace.serve.models import Artifact, Episode
from robotrace.serve.pages import REVALIDATE
from robotrace.serve.services import PageViewer, Services, get_services

__all__ = ["Picture", "pictures_of", "router", "thumbnail_url"]

router = APIRouter(prefix="/portal", include_in_schema=False)

# The address names the video's bytes, so what it leads to never changes.
_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}
# Quiet, and readable on a light and on a dark page.
_NO_PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 192 144"><g fill="none" stroke="#808890" stroke-width="3">'
    '<rect x="66" y="50" width="60" height="44" rx="6"/><path d="M62 98 130 46" stroke-linecap="round"/></g></svg>'
)


@dataclass(frozen=True)
class Picture:
    """The video that an episode's picture is made of."""

    object_key: str
    size: int
    sha256: str


def pictures_of(session: Session, episode_ids: Collection[str]) -> dict[str, Picture]:
    """The videos that pictures of these episodes are made of, by episode; the main camera's where there is one.

    None of an episode that is open: another video may come, and where it failed is known at its end.
    """
    # One that was archived while it was open may go on.
    ended = func.coalesce(Episode.archived_from, Episode.status)
    query = (
        select(Artifact.episode_id, Artifact.object_key, Artifact.size, Artifact.sha256)
        .join(Episode, Episode.id == Artifact.episode_id)
        .where(
            Artifact.episode_id.in_(episode_ids),
            ended != "recording",
            or_(ended != "failed", Episode.reaped_at.is_(None)),
            or_(Artifact.kind == "video", Artifact.kind.startswith("video.", autoescape=True)),
        )
        .order_by(Artifact.kind.desc())
    )
    # "video" sorts before every "video.<camera>": the last one stays.
    return {row.episode_id: Picture(row.object_key, row.size, row.sha256) for row in session.execute(query)}


def thumbnail_url(episode_id: str, picture: Picture) -> str:
    """Where a page finds the picture of an episode that has ended."""
    return f"/portal/episodes/{episode_id}/thumbnail.jpg?v={_version(picture)}"


def _version(picture: Picture) -> str:
    return picture.sha256[:16]


@router.get("/episodes/{episode_id}/thumbnail.jpg")
async def thumbnail_jpg(episode_id: str, request: Request, viewer: PageViewer, v: str = "") -> Response:
    """A frame of the video, at most 192 × 144: where the episode failed, or from its middle."""
    services = get_services(request)
    picture, at_s, content = await run_in_threadpool(_find, services, viewer.project_id, episode_id)
    headers = {**(_FOR_EVER if v == _version(picture) else REVALIDATE), "ETag": f'"{_version(picture)}"'}
    if request.headers.get("if-none-match") == headers["ETag"] and content is not None:
        return Response(status_code=304, headers=headers)
    content = content or await services.thumbnails.make(picture.object_key, picture.size, at_s)
    if content is None:
        return Response(_NO_PICTURE, media_type="image/svg+xml", headers=REVALIDATE)
    return Response(content, media_type="image/jpeg", headers=headers)


def _find(services: Services, project_id: int, episode_id: str) -> tuple[Picture, float | None, bytes | None]:
    with services.database.read() as session:
        episode = episode_or_404(session, episode_id, project_id)
        picture = pictures_of(session, [episode_id]).get(episode_id)
        if picture is None:
            raise HTTPException(404, "the episode has no video")
        at_s = episode.failure_time_s
    return picture, at_s, services.thumbnails.kept(picture.object_key)
