"""Two episodes on one clock: what differs between them, and where they part. A page, its JSON twin, and the curve."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from robotrace.serve.compare_candidates import Candidates, candidates
from robotrace.serve.comparison_words import scope, told
from robotrace.serve.comparisons import Alignment, Comparison, Side, compare, difference_series
from robotrace.serve.divergence import Instant, StreamDifference
from robotrace.serve.episode_differences import FactDifference, what_differs
from robotrace.serve.episodes import episode_or_404
from robotrace.serve.pages import page
from robotrace.serve.portal_cameras import CameraView
from robotrace.serve.portal_data import SERIES_BYTES, EpisodeView, episode_view
from robotrace.serve.portal_format import compare_url
from robotrace.serve.renders import Renders, get_renders
from robotrace.serve.schemas import EpisodeSummary
from robotrace.serve.series import SeriesWindow
from robotrace.serve.services import PageViewer, Services, Viewer, get_services
from robotrace.serve.stream_pairs import LeftOut

__all__ = ["CompareView", "router"]

_COMPARE = "/portal/compare"
_MAX_OFFSET_MS = 1e9

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class _Asked:
    """What the address asks for, and what of it is nothing; that is left out."""

    a: str
    b: str
    alignment: Alignment
    tolerance: float
    search: str
    notices: list[str]


class ComparedEpisode(BaseModel):
    """One of the two."""

    episode: EpisodeSummary
    cameras: list[CameraView]
    series_url: str
    begins_ms: float
    """On the common clock."""


class StreamsCompared(BaseModel):
    """What their streams came to."""

    sentence: str
    scope: str
    first: Instant | None
    beyond: Instant | None
    streams: list[StreamDifference]
    left_out: list[LeftOut]
    difference_url: str


class CompareView(BaseModel):
    """Two episodes, or one and what it may be compared with, or what there is to choose from."""

    a: ComparedEpisode | None
    b: ComparedEpisode | None
    same_episode: bool
    align: str
    tolerance: float
    what_differs: list[FactDifference]
    compared: StreamsCompared | None
    notices: list[str]
    candidates: list[Candidates]


def _asked(a: str = "", b: str = "", align: str = "", offset: str = "", tolerance: str = "", q: str = "") -> _Asked:
    notices = []
    # A form has one field for the choice and one for the number.
    align = (offset.strip() or "0") if align.strip() == "offset" else align.strip()
    alignment, width = _alignment(align), _number(tolerance)
    if alignment is None:
        notices.append(f"align={align}: start, end, failure, or how much later B begins, in ms. It was left out.")
    if tolerance.strip() and (width is None or width < 0):
        notices.append(f"tolerance={tolerance}: a number that is not negative. It was left out.")
        width = None
    return _Asked(a.strip(), b.strip(), alignment or Alignment(), width or 0.0, q.strip(), notices)


def _alignment(text: str) -> Alignment | None:
    if text in ("", "start"):
        return Alignment()
    if text == "end":
        return Alignment("end")
    if text == "failure":
        return Alignment("failure")
    offset = _number(text.removesuffix("ms"))
    return None if offset is None or abs(offset) > _MAX_OFFSET_MS else Alignment("offset", offset)


def _number(text: str) -> float | None:
    if not re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*", text, re.ASCII):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


Asked = Annotated[_Asked, Depends(_asked)]


def _compare_view(services: Services, renders: Renders, viewer: Viewer, asked: _Asked) -> CompareView:
    """What the page shows.

    Raises:
        HTTPException: 404 when one of the episodes is not there.
    """
    a, b = (episode_view(services, renders, viewer, text) if text else None for text in (asked.a, asked.b))
    view = CompareView(
        a=None if a is None else _compared(a, 0.0),
        b=None if b is None else _compared(b, 0.0),
        same_episode=asked.a == asked.b != "",
        align=asked.alignment.text,
        tolerance=asked.tolerance,
        what_differs=[],
        compared=None,
        notices=asked.notices,
        candidates=[],
    )
    if a is None or b is None:
        chosen = a or b
        with services.database.read() as session:
            summary = None if chosen is None else chosen.episode
            view.candidates = candidates(session, viewer.project_id, summary, asked.search)
        return view
    result = compare(services, *_sides(services, viewer, asked), asked.alignment, asked.tolerance)
    view.a, view.b = _compared(a, result.shift.a_ns / 1e6), _compared(b, result.shift.b_ns / 1e6)
    view.what_differs = what_differs(a.episode, b.episode)
    view.compared = _streams(asked, result)
    view.notices = [*asked.notices, *result.notices]
    return view


def _sides(services: Services, viewer: Viewer, asked: _Asked) -> tuple[Side, Side]:
    with services.database.read() as session:
        a, b = (Side.of(episode_or_404(session, text, viewer.project_id)) for text in (asked.a, asked.b))
    return a, b


def _compared(view: EpisodeView, begins_ms: float) -> ComparedEpisode:
    return ComparedEpisode(
        episode=EpisodeSummary(**{name: getattr(view.episode, name) for name in EpisodeSummary.model_fields}),
        cameras=view.cameras,
        series_url=view.series_url,
        begins_ms=begins_ms,
    )


def _streams(asked: _Asked, result: Comparison) -> StreamsCompared:
    address = compare_url(asked.a, asked.b, align=asked.alignment.text)
    return StreamsCompared(
        sentence=told(result, asked.tolerance),
        scope=scope(result),
        first=result.first,
        beyond=result.beyond,
        # The ones that differ, in the order in which they come to; the sort is stable.
        streams=sorted(result.streams, key=lambda each: math.inf if each.first is None else each.first.t_ms),
        left_out=result.left_out,
        difference_url=address.replace(_COMPARE, f"{_COMPARE}/series.bin", 1),
    )


@router.get(_COMPARE + ".json")
def compare_json(request: Request, viewer: PageViewer, asked: Asked) -> CompareView:
    """The comparison of two episodes; without both, what there is to choose from."""
    return _compare_view(get_services(request), get_renders(request), viewer, asked)


@router.get(_COMPARE + "/series.bin")
def compare_series(
    request: Request,
    viewer: PageViewer,
    asked: Asked,
    start_ms: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    end_ms: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    points: Annotated[int, Query(ge=1, le=50_000)] = 4000,
    streams: Annotated[list[str] | None, Query(max_length=1000)] = None,
) -> Response:
    """How far each common stream is apart, row by row; the format is that of the series of an episode.

    Without the names of ``streams`` those that fit into 2 MiB are sent, and the others described.
    """
    services = get_services(request)
    a, b = _sides(services, viewer, asked)
    content = difference_series(
        services,
        a,
        b,
        asked.alignment,
        SeriesWindow.of(start_ms, end_ms, points),
        names=streams,
        most_bytes=SERIES_BYTES if streams is None else None,
    )
    return Response(content, media_type="application/octet-stream")


@router.get(_COMPARE)
def compare_page(request: Request, viewer: PageViewer, asked: Asked) -> HTMLResponse:
    """The same to look at."""
    services = get_services(request)
    missing = _missing(services, viewer, asked)
    if missing is not None:
        told = {"what": "episode", "id": missing, "home": _COMPARE, "home_label": "Compare others"}
        return page("missing.html", 404, viewer=viewer, **told)
    view = _compare_view(services, get_renders(request), viewer, asked)
    there = _address(asked)
    return page(
        "compare.html",
        viewer=viewer,
        view=view,
        search=asked.search,
        json_url=there.replace(_COMPARE, f"{_COMPARE}.json", 1),
        swap_url=_address(asked, swapped=True),
    )


def _missing(services: Services, viewer: Viewer, asked: _Asked) -> str | None:
    """The id of which there is no episode; None where there is one of each."""
    with services.database.read() as session:
        for text in (asked.a, asked.b):
            try:
                if text:
                    episode_or_404(session, text, viewer.project_id)
            except HTTPException:
                return text
    return None


def _address(asked: _Asked, *, swapped: bool = False) -> str:
    alignment, tolerance = asked.alignment, str(asked.tolerance) if asked.tolerance else ""
    if not swapped:
        return compare_url(asked.a, asked.b, align=alignment.text, tolerance=tolerance)
    turned = Alignment(alignment.at, 0.0 - alignment.offset_ms)
    return compare_url(asked.b, asked.a, align=turned.text, tolerance=tolerance)
