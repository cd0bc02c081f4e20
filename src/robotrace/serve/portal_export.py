"""An episode as a file of another tool, from its page."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from robotrace.export import FORMATS, ExportedEpisode, ExportError, Window, export_episode
from robotrace.serve.downloads import ClosingResponse, whole_episode
from robotrace.serve.episodes import episode_detail, episode_or_404
from robotrace.serve.services import PageViewer, Services, Viewer, get_services

__all__ = ["ExportOption", "export_options", "router"]

router = APIRouter(prefix="/portal/episodes/{episode_id}", include_in_schema=False)

_AT_ONCE = 2
"""Each takes a core while it is made."""
_WAITING = 8
"""Each has one of the server's 40 threads."""
_PATIENCE_S = 20.0
_MOST_BYTES = 2 * 1024**3
"""Of an episode's arrays, unpacked: more is for ``robotrace export``, on a machine of one's own."""
_MOST_CSV_BYTES = 256 * 1024**2
"""Of what becomes text, a value at a time: two minutes."""
_CHUNK_BYTES = 256 * 1024

_making = threading.BoundedSemaphore(_AT_ONCE)
_queue = threading.BoundedSemaphore(_AT_ONCE + _WAITING)


class ExportOption(BaseModel):
    """A format, and where an episode is to be had in it; ``install`` says what it takes where it cannot be written."""

    format: str
    label: str
    purpose: str
    url: str
    install: str | None


def export_options(episode_id: str) -> list[ExportOption]:
    """The formats."""
    return [
        ExportOption(
            format=each.name,
            label=each.label,
            purpose=each.purpose,
            url=f"/portal/episodes/{episode_id}/export?format={each.name}",
            install=each.missing,
        )
        for each in FORMATS.values()
    ]


@router.get("/export")
def export(
    episode_id: str,
    request: Request,
    viewer: PageViewer,
    format_name: Annotated[str, Query(alias="format", max_length=20)] = "mcap",
    start_ms: Annotated[float | None, Query(allow_inf_nan=False, ge=-1e12, le=1e12)] = None,
    end_ms: Annotated[float | None, Query(allow_inf_nan=False, ge=-1e12, le=1e12)] = None,
    streams: Annotated[list[str], Query(max_length=1000)] = [],  # noqa: B006  # FastAPI copies it
) -> StreamingResponse:
    """The file; of CSV the part between two times, or some streams (repeated), where that is asked for."""
    services = get_services(request)
    episode, keys = _episode(services, viewer, episode_id)
    chosen = FORMATS.get(format_name)
    if chosen is None:
        raise HTTPException(400, f"format: one of {', '.join(FORMATS)}")
    window = None
    if start_ms is not None or end_ms is not None or streams:
        if format_name != "csv":
            raise HTTPException(400, "only CSV takes a part of an episode")
        window = Window(_ns(start_ms), _ns(end_ms), frozenset(streams) or None)
    if chosen.missing is not None:
        raise HTTPException(501, f"this deployment cannot write {chosen.label}; on its machine: {chosen.missing}")
    with _turn():
        file = _make(services, episode, keys, format_name, window)
    name = f"robotrace-{episode_id[:8]}{'-part' if window else ''}.{format_name}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
        "Content-Length": str(_size(file)),
    }
    return ClosingResponse(_chunks(file), media_type=chosen.media_type, headers=headers)


@router.get("/download")
def download(episode_id: str, request: Request, viewer: PageViewer) -> StreamingResponse:
    """Every file of an episode, as it is, in a ZIP file."""
    return whole_episode(get_services(request), viewer.project_id, episode_id)


def _ns(ms: float | None) -> int | None:
    return None if ms is None else round(ms * 1e6)


def _episode(services: Services, viewer: Viewer, episode_id: str) -> tuple[ExportedEpisode, dict[str, str]]:
    """The episode without its files, and their keys."""
    with services.database.read() as session:
        episode = episode_or_404(session, episode_id, viewer.project_id)
        about = episode_detail(session, episode).model_dump(mode="json")
        keys = {artifact.kind: artifact.object_key for artifact in episode.artifacts}
    metadata = about.pop("metadata")
    return ExportedEpisode(episode_id, about, metadata, {}), keys


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """As long as the block lasts, one of few; this route's thread waits, the server goes on.

    Raises:
        HTTPException: 503 when too many want one.
    """
    busy = HTTPException(503, "several exports are being made; try again in a moment", headers={"Retry-After": "10"})
    if not _queue.acquire(blocking=False):
        raise busy
    try:
        if not _making.acquire(timeout=_PATIENCE_S):
            raise busy
        try:
            yield
        finally:
            _making.release()
    finally:
        _queue.release()


def _make(
    services: Services, episode: ExportedEpisode, keys: dict[str, str], format_name: str, window: Window | None
) -> BinaryIO:
    """The file, open and nameless: whatever becomes of the answer, it is gone with it."""
    wanted = {kind: key for kind, key in keys.items() if format_name != "csv" or kind in ("sensors", "actions")}
    services.settings.exports_dir.mkdir(mode=0o700, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=services.settings.exports_dir))
    try:
        with contextlib.ExitStack() as files:
            paths = {kind: files.enter_context(services.store.local_file(key)) for kind, key in wanted.items()}
            most = min(_MOST_BYTES, _MOST_CSV_BYTES) if format_name == "csv" else _MOST_BYTES
            whole = ExportedEpisode(episode.episode_id, episode.about, episode.metadata, paths)
            made = export_episode(whole, format_name, folder / "export", window=window, most_bytes=most)
        return made.path.open("rb")
    except ExportError as error:
        raise HTTPException(422, f"{error}; on your own machine: robotrace export {episode.episode_id}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _size(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _chunks(file: BinaryIO) -> Generator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
