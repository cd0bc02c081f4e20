"""The store over HTTP: ``/objects/<key>?…signature``."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from robotrace.serve.arrivals import keep_artifact, with_space
from robotrace.serve.artifacts import split_artifact_key
from robotrace.serve.reproductions import describe_video
from robotrace.serve.services import Services, get_services
from robotrace.serve.store import Grant, LocalStore, ObjectWriter, StoreError

__all__ = ["router"]

router = APIRouter(prefix="/objects", include_in_schema=False)

# Bytes handed to a thread at once: hashing and writing 1 MiB outweigh the hop, and other requests go on meanwhile.
_BLOCK = 1024 * 1024


@router.api_route("/{key:path}", methods=["GET", "HEAD"])
def read_object(key: str, request: Request) -> Response:
    """Send an object, or the part of it that a Range header asks for."""
    store = get_services(request).store
    grant = store.check("GET", key, request.query_params)
    size = store.size(key)
    if size is None:
        raise StoreError(404, "there is no such object")
    if isinstance(store, LocalStore):
        return FileResponse(store.path(key), media_type=grant.content_type, filename=grant.file_name or None)
    # Out of a bucket, since its own URLs cannot say what a file is called: in order, and all of it.
    headers = {"Content-Length": str(size)}
    if grant.file_name:
        headers["Content-Disposition"] = f"attachment; filename*=utf-8''{quote(grant.file_name)}"
    chunks: Iterator[bytes] = iter(()) if request.method == "HEAD" else store.chunks(key)
    return StreamingResponse(chunks, headers=headers, media_type=grant.content_type)


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
    writer = await run_in_threadpool(with_space, lambda: services.store.writer(grant.max_size))
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
    with_space(lambda: writer.write(block))


def _keep(services: Services, grant: Grant, writer: ObjectWriter) -> None:
    slot = split_artifact_key(grant.key)
    if slot is None:
        raise StoreError(404, "there is no such slot")
    episode_id, kind = slot
    keep_artifact(services, episode_id, kind, writer, content_type=grant.content_type)
    if kind == "video":
        describe_video(services, episode_id)
