"""The cameras of an episode as its pages play them: addresses, frame times, and the videos of further tracks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import urlencode

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from robotrace.serve.artifacts import signed_download
from robotrace.serve.episodes import artifact_of, episode_or_404
from robotrace.serve.frame_times import VideoError
from robotrace.serve.models import Episode, VideoIndex
from robotrace.serve.services import PageViewer, Services, Viewer, get_services
from robotrace.serve.video_index import camera_key, camera_names, find_camera

__all__ = ["CameraView", "camera_views", "router"]

_OPENERS = 8
"""Threads that wait for a copy; of those that answer all other requests none may."""

router = APIRouter(prefix="/portal/episodes/{episode_id}", include_in_schema=False)


class CameraView(BaseModel):
    """A camera of an episode.

    Attributes:
        key: Stable within the episode: its slot, with ``:<track>`` where it is a further track of that file.
        name: For people.
        url: Of a video whose first track it is.
        end_ms: When its last frame ends.
        frames_url: Its frame times, see :func:`frames_bin`.
    """

    key: str
    name: str
    url: str
    width: int
    height: int
    frame_count: int
    end_ms: float
    frames_url: str


def camera_views(services: Services, episode: Episode, indexes: Sequence[VideoIndex]) -> list[CameraView]:
    """The cameras of an episode.

    Args:
        services: The deployment's.
        episode: With its artifacts.
        indexes: As :func:`robotrace.serve.video_index.ensure_video_indexes` gives them.
    """
    urls = {artifact.kind: signed_download(services.store, artifact) for artifact in episode.artifacts}
    views = []
    for index, name in zip(indexes, camera_names(indexes), strict=True):
        if index.kind not in urls:  # deleted meanwhile
            continue
        key = camera_key(index)
        folder, query = f"/portal/episodes/{episode.id}", urlencode({"camera": key})
        views.append(
            CameraView(
                key=key,
                name=name,
                # A browser plays the first track of a file and no other.
                url=urls[index.kind] if index.track == 0 else f"{folder}/camera.mp4?{query}",
                width=index.width,
                height=index.height,
                frame_count=index.frame_count,
                end_ms=index.end_ms,
                frames_url=f"{folder}/frames.bin?{query}",
            )
        )
    return views


@router.get("/frames.bin")
def frames_bin(episode_id: str, request: Request, viewer: PageViewer, camera: str = "") -> Response:
    """The presentation times of a camera's frames in ms, then its end: little-endian float64."""
    index = _camera(get_services(request), viewer, episode_id, camera)
    return Response(index.times_ms, media_type="application/octet-stream")


@router.get("/camera.mp4")
async def camera_mp4(episode_id: str, request: Request, viewer: PageViewer, camera: str = "") -> Response:
    """A camera as a video of its own, or the part of it that a Range header asks for."""
    state = request.app.state
    if not hasattr(state, "camera_openers"):  # one can only be made where the event loop runs
        state.camera_openers = CapacityLimiter(_OPENERS)
    opening = partial(_open_camera, get_services(request), viewer, episode_id, camera)
    return await to_thread.run_sync(opening, limiter=state.camera_openers)


def _open_camera(services: Services, viewer: Viewer, episode_id: str, camera: str) -> Response:
    index = _camera(services, viewer, episode_id, camera)
    with services.database.read() as session:
        object_key = _object_key(session, episode_id, index)
    with ExitStack() as held:
        try:
            path = held.enter_context(services.cameras.open(services.store, object_key, index))
        except VideoError as error:
            raise HTTPException(422, f"the camera has no video of its own: {error}") from error
        return _HeldFile(path, f'"{index.sha256[:32]}-{index.track}"', held.pop_all())


class _HeldFile(FileResponse):
    """A file that must not be deleted before it is sent."""

    def __init__(self, path: Any, etag: str, held: ExitStack) -> None:
        # The cache touches the file each time it is read: its time says nothing, and a Range may go by what this says.
        super().__init__(path, media_type="video/mp4", headers={"ETag": etag})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await run_in_threadpool(self._held.close)


def _camera(services: Services, viewer: Viewer, episode_id: str, key: str) -> VideoIndex:
    with services.database.read() as session:
        episode_or_404(session, episode_id, viewer.project_id)
    index = find_camera(services, episode_id, key)
    if index is None:
        raise HTTPException(404, "the episode has no video that can be read" if not key else "there is no such camera")
    return index


def _object_key(session: Session, episode_id: str, index: VideoIndex) -> str:
    artifact = artifact_of(session, episode_id, index.kind)
    if artifact is None or artifact.sha256 != index.sha256:  # replaced or deleted in this moment
        raise HTTPException(404, "there is no such camera")
    return artifact.object_key
