"""The store over HTTP: ``/objects/<key>?…signature``."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from robotrace.serve.artifacts import file_name, split_artifact_key
from robotrace.serve.episodes import artifact_of
from robotrace.serve.models import Artifact, Episode, utc_now
from robotrace.serve.services import Services, get_services
from robotrace.serve.store import Grant, ObjectWriter, StoreError, sync_folder

__all__ = ["router"]

router = APIRouter(prefix="/objects", include_in_schema=False)

_T = TypeVar("_T")
# Bytes handed to a thread at once: hashing and writing 1 MiB outweigh the hop, and other requests go on meanwhile.
_BLOCK = 1024 * 1024
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@router.api_route("/{key:path}", methods=["GET", "HEAD"])
def read_object(key: str, request: Request) -> FileResponse:
    """Send an object, or the part of it that a Range header asks for."""
    store = get_services(request).store
    grant = store.check("GET", key, request.query_params)
    path = store.path(key)
    if not path.is_file():
        raise StoreError(404, "there is no such object")
    return FileResponse(path, media_type=grant.content_type, filename=grant.file_name or None)


@router.put("/{key:path}")
async def write_object(key: str, request: Request) -> Response:
    """Take an object and note it in its episode."""
    services = get_services(request)
    grant = services.store.check("PUT", key, request.query_params)
    if request.headers.get("content-type", "") != grant.content_type:
        raise StoreError(403, f"the URL is signed for Content-Type {grant.content_type}")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > grant.max_size:
        raise StoreError(413, f"larger than the {grant.max_size} bytes this URL is signed for")
    writer = await run_in_threadpool(_with_space, lambda: services.store.writer(grant.max_size))
    try:
        block = bytearray()
        async for chunk in request.stream():
            block += chunk
            if len(block) >= _BLOCK:
                await run_in_threadpool(_write, writer, block)
                block = bytearray()
        await run_in_threadpool(_write, writer, block)
        await run_in_threadpool(_keep, services, grant, writer)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is left to read it
    finally:
        writer.discard()
    return Response(headers={"ETag": f'"{writer.sha256}"'})


def _write(writer: ObjectWriter, block: bytearray) -> None:
    _with_space(lambda: writer.write(block))


def _keep(services: Services, grant: Grant, writer: ObjectWriter) -> None:
    slot = split_artifact_key(grant.key)
    if slot is None:
        raise StoreError(404, "there is no such slot")
    episode_id, kind = slot
    path = services.store.path(grant.key)
    # The slow part first: nobody else can write to the database inside the transaction.
    _with_space(writer.flush)
    with services.database.write() as session:
        episode = session.get(Episode, episode_id)
        if episode is None:
            raise StoreError(404, "there is no such episode")
        if episode.status == "archived":
            raise StoreError(409, "the episode is archived")
        artifact = artifact_of(session, episode_id, kind)
        if artifact is not None and episode.status != "recording" and path.is_file():
            if artifact.sha256 != writer.sha256:
                raise StoreError(409, f"the episode is {episode.status}: its {kind} cannot be replaced")
            return
        if artifact is None:
            artifact = Artifact(episode_id=episode_id, kind=kind, object_key=grant.key)
            session.add(artifact)
        artifact.file_name = file_name(kind, writer.head)
        artifact.content_type = grant.content_type
        artifact.size = writer.size
        artifact.sha256 = writer.sha256
        artifact.stored_at = utc_now()
        session.flush()
        _with_space(lambda: writer.commit(path))
    sync_folder(path.parent)


def _with_space(action: Callable[[], _T]) -> _T:
    try:
        return action()
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise StoreError(507, "the disk of the deployment is full") from error
        raise
