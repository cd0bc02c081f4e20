"""Whole episodes as one ZIP file, made while it is sent: nothing is kept in memory but the names."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import select
from starlette.types import Receive, Scope, Send
from zipstream import ZipStream

from robotrace.serve.episodes import EpisodeFilter, episode_detail, episode_filter, list_episodes
from robotrace.serve.models import Episode
from robotrace.serve.services import ApiCaller, Services, get_services, require_key

__all__ = ["ClosingResponse", "router", "whole_episode", "zip_of"]

router = APIRouter(prefix="/api/episodes", dependencies=[Depends(require_key)])

_MAX_IDS = 1000
_PAGE = 100
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}
_Id = Annotated[str, Field(max_length=200)]


class WantedEpisodes(BaseModel):
    """Which episodes to download."""

    ids: Annotated[list[_Id], Field(min_length=1, max_length=_MAX_IDS)]


@router.get("/download", response_class=StreamingResponse, responses=_ZIP)
def download_episodes(
    request: Request,
    caller: ApiCaller,
    filters: Annotated[EpisodeFilter, Depends(episode_filter)],
    ids: Annotated[list[str], Query(max_length=_MAX_IDS)] = [],  # noqa: B006  # FastAPI copies it
) -> StreamingResponse:
    """The episodes with these ids (repeated, or with commas between them), else those that the filters let pass.

    A ZIP file, uncompressed, with a folder for each episode: ``episode.json`` and its files.
    """
    services = get_services(request)
    named = [part for text in ids for part in text.split(",") if part]
    if named:
        return zip_of(services, caller.project_id, named)
    return _zip(_zipped_many(services, _pages(services, caller.project_id, filters)), "robotrace-episodes.zip")


@router.post("/download", response_class=StreamingResponse, responses=_ZIP)
def download_named_episodes(body: WantedEpisodes, request: Request, caller: ApiCaller) -> StreamingResponse:
    """As the GET, for more ids than fit into an address."""
    return zip_of(get_services(request), caller.project_id, body.ids)


@router.get("/{episode_id}/download", response_class=StreamingResponse, responses=_ZIP)
def download_episode(episode_id: str, request: Request, caller: ApiCaller) -> StreamingResponse:
    """An episode as a ZIP file, of a size that is known beforehand."""
    return whole_episode(get_services(request), caller.project_id, episode_id)


def whole_episode(services: Services, project_id: int, episode_id: str) -> StreamingResponse:
    """An episode of a project as a ZIP file.

    Raises:
        HTTPException: 404 when there is none.
    """
    _require(services, project_id, [episode_id])
    archive = ZipStream(sized=True)
    _add(services, archive, episode_id)
    return _zip(_zipped(archive), f"robotrace-{episode_id[:8]}.zip", len(archive))


def zip_of(services: Services, project_id: int, ids: list[str]) -> StreamingResponse:
    """These episodes of a project as one ZIP file.

    Raises:
        HTTPException: 400 for more than 1,000; 404 when one is not there.
    """
    wanted = list(dict.fromkeys(ids))
    if len(wanted) > _MAX_IDS:
        raise HTTPException(400, f"ids: at most {_MAX_IDS}")
    _require(services, project_id, wanted)
    return _zip(_zipped_many(services, iter([wanted])), "robotrace-episodes.zip")


def _require(services: Services, project_id: int, ids: list[str]) -> None:
    with services.database.read() as session:
        query = select(Episode.id).where(Episode.project_id == project_id, Episode.id.in_(ids))
        found = set(session.scalars(query))
    missing = next((each for each in ids if each not in found), None)
    if missing is not None:
        raise HTTPException(404, "there is no such episode" if len(ids) == 1 else f"there is no episode {missing}")


def _pages(services: Services, project_id: int, filters: EpisodeFilter) -> Iterator[list[str]]:
    cursor: str | None = None
    while True:
        with services.database.read() as session:
            page, cursor = list_episodes(session, project_id, filters, limit=_PAGE, cursor=cursor)
        yield [episode.id for episode in page]
        if cursor is None:
            return


def _zipped(archive: ZipStream) -> Generator[bytes]:
    yield from archive.finalize()


def _zipped_many(services: Services, pages: Iterator[list[str]]) -> Generator[bytes]:
    archive = ZipStream()
    for page in pages:
        for episode_id in page:
            _add(services, archive, episode_id)
            yield from archive.all_files()
    yield from archive.finalize()


def _add(services: Services, archive: ZipStream, episode_id: str) -> None:
    """Queue what there is of an episode; nothing when it was deleted meanwhile."""
    with services.database.read() as session:
        episode = session.get(Episode, episode_id)
        if episode is None:
            return
        detail = episode_detail(session, episode)
        files = [(each.kind, each.object_key, each.file_name, each.size) for each in episode.artifacts]
    there = [file for file in files if services.store.size(file[1]) == file[3]]
    missing = [file[0] for file in files if file not in there]
    about = detail.model_dump(mode="json") | ({"missing": missing} if missing else {})
    archive.add(json.dumps(about, indent=2) + "\n", f"{episode_id}/episode.json")
    for _, key, name, size in there:
        archive.add(_chunks(services, key), f"{episode_id}/{name}", size=size)


def _chunks(services: Services, key: str) -> Iterator[bytes]:
    """Opened with the first chunk: an archive of a thousand files has one of them open at a time."""
    yield from services.store.chunks(key)


def _zip(content: Generator[bytes], name: str, size: int | None = None) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    if size is not None:
        headers["Content-Length"] = str(size)
    return ClosingResponse(content, media_type="application/zip", headers=headers)


class ClosingResponse(StreamingResponse):
    """Closes what it sends when the client has left: else the file in the middle of which it did stays open."""

    def __init__(self, content: Generator[bytes], **options: Any) -> None:
        super().__init__(content, **options)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._content.close()
