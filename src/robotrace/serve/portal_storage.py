"""The page of what a project holds, may hold, and where that lies."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from robotrace.serve.models import utc_now
from robotrace.serve.operations import is_operator
from robotrace.serve.pages import page
from robotrace.serve.quotas import Storage, storage_of
from robotrace.serve.services import PageViewer, Services, Viewer, get_services
from robotrace.serve.storage_use import DayUse, KindUse, StatusUse, use_by_day, use_by_kind, use_by_status

__all__ = ["Bar", "StorageView", "bars", "router"]

router = APIRouter(include_in_schema=False)

_STORAGE = "/portal/storage"
_DAYS = 30
_BAR_HEIGHT = 64.0
_BAR_PITCH = 10


class Place(BaseModel):
    """Where things lie; never with a credential.

    ``objects`` is a folder or the URL of a bucket. ``free_bytes`` is of the disk of the data folder. ``cache_bytes``
    and ``cache_limit_bytes`` are of a bucket's files that are kept on this machine, None without a bucket.
    """

    database: str
    objects: str
    in_bucket: bool
    free_bytes: int
    cache_bytes: int | None
    cache_limit_bytes: int | None


class StorageView(BaseModel):
    """What ``GET /api/storage`` says, and more of it.

    ``place`` is None for viewers of another project than "default".
    """

    storage: Storage
    by_kind: list[KindUse]
    by_status: list[StatusUse]
    by_day: list[DayUse]
    place: Place | None


def _storage_view(services: Services, viewer: Viewer) -> StorageView:
    with services.database.read() as session:
        view = StorageView(
            storage=storage_of(session, viewer.project_id),
            by_kind=use_by_kind(session, viewer.project_id),
            by_status=use_by_status(session, viewer.project_id),
            by_day=use_by_day(session, viewer.project_id, utc_now(), _DAYS),
            place=None,
        )
    if is_operator(services.settings, viewer):
        cached = services.store.cache_use()
        view.place = Place(
            database=services.database.place,
            objects=services.store.name,
            in_bucket=bool(services.settings.storage),
            free_bytes=shutil.disk_usage(services.settings.data_dir).free,
            cache_bytes=None if cached is None else cached[0],
            cache_limit_bytes=None if cached is None else cached[1],
        )
    return view


@dataclass(frozen=True)
class Bar:
    """A day in the drawing, in its own units; the tallest is 64 high."""

    x: int
    y: float
    height: float
    day: DayUse


def bars(days: list[DayUse]) -> list[Bar]:
    """The days as bars that stand on one line; a day with anything in it can be seen."""
    most = max((day.bytes for day in days), default=0)
    found = []
    for place, day in enumerate(days):
        height = max(2.0, _BAR_HEIGHT * day.bytes / most) if day.bytes else 0.0
        found.append(Bar(place * _BAR_PITCH, round(_BAR_HEIGHT - height, 1), round(height, 1), day))
    return found


@router.get(_STORAGE + ".json")
def storage_json(request: Request, viewer: PageViewer) -> StorageView:
    """What the project holds."""
    return _storage_view(get_services(request), viewer)


@router.get(_STORAGE)
def storage_page(request: Request, viewer: PageViewer) -> HTMLResponse:
    """The same to look at."""
    view = _storage_view(get_services(request), viewer)
    return page("storage.html", viewer=viewer, view=view, bars=bars(view.by_day), width=_DAYS * _BAR_PITCH)
