"""The list of episodes: its page, its rows for the script that keeps them current, its JSON twin."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from robotrace._version import __version__
from robotrace.explain import CODES
from robotrace.serve.episodes import EpisodeFilter, episode_filter, list_episodes, one_page
from robotrace.serve.filter_values import FilterValues, filter_values
from robotrace.serve.gate import SEVERITIES
from robotrace.serve.list_filters import EPISODES, SINCE, chips, list_url, query_of, read_filters, typed_filters
from robotrace.serve.models import Artifact, Episode, EpisodeAnalysis
from robotrace.serve.pages import REVALIDATE, fragment, page
from robotrace.serve.portal_bulk import said_of
from robotrace.serve.portal_snippets import SNIPPETS, WAYS_HERE, way_here
from robotrace.serve.portal_thumbnails import pictures_of, thumbnail_url
from robotrace.serve.saved_views import list_views
from robotrace.serve.schemas import EpisodeSummary
from robotrace.serve.services import PageViewer, Services, Viewer, get_services, public_base_url

__all__ = ["PAGE_SIZE", "EpisodeList", "EpisodeRow", "episode_list", "list_page", "router"]

router = APIRouter(include_in_schema=False)

PAGE_SIZE = 50
_STATUSES = {status: status for status in ("recording", "ready", "failed", "archived")}
_SOURCES = {source: source for source in ("real", "sim", "replay")}
_FINDINGS = {code: code.replace("_", " ") for code in CODES}
# They say what the episode said itself, or that nothing was found: its own words are better.
_NO_CAUSE = ("exception", "explicit_outcome", "failure_reason_in_metadata", "unexplained")


class EpisodeRow(EpisodeSummary):
    """An episode as the portal lists it.

    ``cause`` is what the rules found first, where that says more than ``failure_reason``. ``version`` is another one
    when anything of it has changed.
    """

    thumbnail_url: str | None
    cause: str | None
    version: str


class EpisodeList(BaseModel):
    """A page of the list of episodes."""

    episodes: list[EpisodeRow]
    next: str | None


def episode_list(
    services: Services, viewer: Viewer, filters: EpisodeFilter, *, limit: int = PAGE_SIZE, cursor: str = ""
) -> EpisodeList:
    """A page of the viewer's episodes, newest first; see :func:`robotrace.serve.episodes.list_episodes`."""
    with services.database.read() as session:
        episodes, following = list_episodes(session, viewer.project_id, filters, limit=limit, cursor=cursor or None)
        pictures = pictures_of(session, [episode.id for episode in episodes])
        causes = _causes(session, [episode.id for episode in episodes if episode.status == "failed"])
    rows = []
    for episode in episodes:
        picture = pictures.get(episode.id)
        url = None
        if picture is not None and not services.thumbnails.is_broken(picture.object_key):
            url = thumbnail_url(episode.id, picture)
        cause = causes.get(episode.id)
        known = f"{episode.updated_at.isoformat()} {url} {cause}"
        rows.append(
            EpisodeRow.model_construct(
                **dict(episode), thumbnail_url=url, cause=cause, version=f"{zlib.crc32(known.encode()):08x}"
            )
        )
    return EpisodeList.model_construct(episodes=rows, next=following)


def _causes(session: Session, episode_ids: Collection[str]) -> dict[str, str]:
    if not episode_ids:
        return {}
    first = EpisodeAnalysis.findings[0]
    query = select(EpisodeAnalysis.episode_id, first["code"].as_string(), first["title"].as_string()).where(
        EpisodeAnalysis.episode_id.in_(episode_ids)
    )
    return {episode_id: title for episode_id, code, title in session.execute(query) if title and code not in _NO_CAUSE}


def _state(services: Services, viewer: Viewer, filters: EpisodeFilter, limit: int, cursor: str) -> str:
    """Changes with every page that is another, at a third of what the page costs: it is asked for all the time."""
    columns = select(Episode.id, Episode.updated_at)
    with services.database.read() as session:
        page_query = one_page(columns, viewer.project_id, filters, limit=limit, cursor=cursor or None)
        found: list[Any] = [tuple(row) for row in session.execute(page_query)]
        ids = [episode_id for episode_id, _ in found[:limit]]
        for of_them in (
            select(Artifact.id).where(Artifact.episode_id.in_(ids)),
            select(EpisodeAnalysis.created_at).where(EpisodeAnalysis.episode_id.in_(ids)),
        ):
            found.append(sorted(session.scalars(of_them)))
    return hashlib.sha256(repr((__version__, viewer.project_id, found)).encode()).hexdigest()[:32]


@router.get(EPISODES)
def episodes_page(request: Request, viewer: PageViewer) -> Response:
    """The episodes, newest first, filtered by what the address says."""
    return list_page(request, viewer)


def list_page(
    request: Request,
    viewer: Viewer,
    typed: dict[str, str] | None = None,
    *,
    status_code: int = 200,
    error: str | None = None,
) -> Response:
    """The page of the list.

    Args:
        request: What it answers.
        viewer: Who looks.
        typed: The filters; None for those of the address.
        status_code: Of the answer.
        error: What went wrong in a form of the page.
    """
    services = get_services(request)
    asked = request.query_params if typed is None else {}
    filters, typed, left_out = read_filters(typed_filters(asked if typed is None else typed))
    cursor = asked.get("cursor", "")
    try:
        found = episode_list(services, viewer, filters, limit=PAGE_SIZE, cursor=cursor)
    except HTTPException:
        # A cursor cut off on its way through a chat: the newest page is what comes closest.
        return RedirectResponse(list_url(typed))
    empty = not (found.episodes or typed or cursor or error)
    with services.database.read() as session:
        views = [] if empty else list_views(session, viewer.project_id)
    query = query_of(typed)
    base_url = public_base_url(request)
    return page(
        "episodes.html",
        status_code,
        viewer=viewer,
        episodes=found.episodes,
        empty=empty,
        filters=typed,
        chips=chips(typed),
        filter_error=left_out,
        form_error=error,
        bulk_said=said_of(asked.get("bulk", "")),
        statuses=_STATUSES,
        sources=_SOURCES,
        since=SINCE,
        finding_codes=_FINDINGS,
        severities=SEVERITIES,
        views=views,
        view=next((view for view in views if view.query == query), None),
        query=query,
        rows_url=list_url(typed, **({"cursor": cursor} if cursor else {})).replace(EPISODES, f"{EPISODES}.rows", 1),
        newest_url=list_url(typed) if cursor else None,
        next_url=list_url(typed, cursor=found.next) if found.next else None,
        snippets=SNIPPETS if empty else (),
        ways_here=WAYS_HERE[way_here(services.settings)] if empty else (),
        base_url=base_url,
    )


@router.get(EPISODES + ".json")
def episodes_json(
    request: Request,
    viewer: PageViewer,
    filters: Annotated[EpisodeFilter, Depends(episode_filter)],
    limit: Annotated[int, Query(ge=1, le=200)] = PAGE_SIZE,
    cursor: str = "",
) -> EpisodeList:
    """The list of episodes."""
    return episode_list(get_services(request), viewer, filters, limit=limit, cursor=cursor)


@router.get(EPISODES + ".rows")
def episodes_rows(
    request: Request,
    viewer: PageViewer,
    limit: Annotated[int, Query(ge=1, le=200)] = PAGE_SIZE,
    cursor: str = "",
) -> Response:
    """The rows of the page, for the script that keeps them current: 304 while the browser has those there are."""
    services = get_services(request)
    filters, typed, _ = read_filters(typed_filters(request.query_params))
    headers = {**REVALIDATE, "ETag": f'"{_state(services, viewer, filters, limit, cursor)}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    found = episode_list(services, viewer, filters, limit=limit, cursor=cursor)
    next_url = list_url(typed, cursor=found.next) if found.next else None
    return HTMLResponse(
        fragment("_episodes_fragment.html", episodes=found.episodes, next_url=next_url), headers=headers
    )


@router.get("/portal/filter-values.json")
def filter_values_json(request: Request, viewer: PageViewer) -> FilterValues:
    """What there is to filter by, for the fields to suggest."""
    with get_services(request).database.read() as session:
        return filter_values(session, viewer.project_id)
