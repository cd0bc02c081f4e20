"""What the list of episodes does with several at once: forms of the page, answered as JSON where a script asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from robotrace.serve.downloads import zip_of
from robotrace.serve.episode_life import archive_all, delete_all, episodes_of, forget_work, restore_all, scenarios_of
from robotrace.serve.gate import SEVERITIES
from robotrace.serve.list_filters import list_url, query_of, typed_filters
from robotrace.serve.models import Episode
from robotrace.serve.pages import form_pairs, page
from robotrace.serve.same_origin import require_same_origin
from robotrace.serve.services import PageViewer, Services, Viewer, get_services
from robotrace.serve.verify import promote

__all__ = ["router", "said_of"]

router = APIRouter(prefix="/portal/bulk", include_in_schema=False, dependencies=[Depends(require_same_origin)])

_MAX_IDS = 1000
_BASELINE = "it is the baseline of a scenario"
_MISSING = "there is no such episode"
_COUNTS = re.compile(r"(archive|restore|promote|delete)\.(\d{1,4})\.(\d{1,4})\.(\d{1,4})\.(\d{1,4})")


class Refused(BaseModel):
    """An episode with which nothing was done."""

    id: str
    reason: str


class BulkResult(BaseModel):
    """What became of the episodes; ``unchanged`` were so already, ``said`` is all of it in words."""

    done: list[str]
    unchanged: list[str]
    refused: list[Refused]
    said: str


@dataclass(frozen=True)
class Wanted:
    """What a form of the list asks for.

    Args:
        ids: The episodes, each once.
        typed: The filters of the list that it was sent from.
        severity: Of new scenarios.
        force: Whether scenarios go with their baselines.
        confirmed: The count that somebody has confirmed.
        by_script: Whether a script asks.
    """

    ids: list[str]
    typed: dict[str, str]
    severity: str
    force: bool
    confirmed: str
    by_script: bool


def _wanted(request: Request, pairs: Annotated[list[tuple[str, str]], Depends(form_pairs)]) -> Wanted:
    ids = list(dict.fromkeys(value for name, value in pairs if name == "id"))
    fields = dict(pairs)
    if not ids:
        raise HTTPException(400, "no episode is selected")
    if len(ids) > _MAX_IDS:
        raise HTTPException(400, f"at most {_MAX_IDS} episodes at once")
    return Wanted(
        ids=ids,
        typed=typed_filters(dict(parse_qsl(fields.get("back", "")))),
        severity=fields.get("severity", ""),
        force=fields.get("force") == "true",
        confirmed=fields.get("confirm", ""),
        by_script="application/json" in request.headers.get("accept", ""),
    )


_Form = Annotated[Wanted, Depends(_wanted)]


@router.post("/archive", response_model=None)
def archive_form(request: Request, viewer: PageViewer, wanted: _Form) -> Response | BulkResult:
    """Take episodes out of the lists."""
    return _change(request, viewer, wanted, "archive", lambda episode: episode.status == "archived", archive_all)


@router.post("/restore", response_model=None)
def restore_form(request: Request, viewer: PageViewer, wanted: _Form) -> Response | BulkResult:
    """Bring archived ones back."""
    return _change(request, viewer, wanted, "restore", lambda episode: episode.status != "archived", restore_all)


@router.post("/promote", response_model=None)
def promote_form(request: Request, viewer: PageViewer, wanted: _Form) -> Response | BulkResult:
    """Make episodes scenarios; those that are stay as they are."""
    severity = next((known for known in SEVERITIES if known == wanted.severity), None)
    if severity is None:
        raise HTTPException(400, f"severity: one of {', '.join(SEVERITIES)}")
    with get_services(request).database.write() as session:
        episodes = episodes_of(session, viewer.project_id, wanted.ids)
        scenarios = {scenario.baseline_episode_id for scenario in scenarios_of(session, episodes)}
        for episode in episodes:
            if episode.id not in scenarios:
                promote(session, viewer, episode.id, severity=severity)
        done = [episode.id for episode in episodes if episode.id not in scenarios]
        unchanged = [episode.id for episode in episodes if episode.id in scenarios]
    return _answer(wanted, "promote", done, unchanged)


@router.post("/delete", response_model=None)
def delete_form(request: Request, viewer: PageViewer, wanted: _Form) -> Response | BulkResult:
    """Delete episodes for good once their number is confirmed; baselines of scenarios only with ``force``."""
    services = get_services(request)
    if wanted.confirmed.strip() != str(len(wanted.ids)):
        if wanted.by_script:
            raise HTTPException(400, f"confirm: {len(wanted.ids)}, the number of episodes to delete")
        return _ask(services, viewer, wanted)
    with services.database.write() as session:
        episodes = episodes_of(session, viewer.project_id, wanted.ids)
        baselines = {scenario.baseline_episode_id for scenario in scenarios_of(session, episodes)}
        kept = set() if wanted.force else baselines
        doomed = [episode for episode in episodes if episode.id not in kept]
        done = [episode.id for episode in doomed]
        delete_all(session, viewer, doomed)
    forget_work(request, done)
    return _answer(wanted, "delete", done, [], kept)


@router.post("/download")
def download_form(request: Request, viewer: PageViewer, wanted: _Form) -> Response:
    """Episodes as one ZIP file, as ``POST /api/episodes/download`` makes it."""
    return zip_of(get_services(request), viewer.project_id, wanted.ids)


def said_of(text: str) -> str:
    """The sentence about a result that an address carries; empty for what is none."""
    found = _COUNTS.fullmatch(text)
    return _say(found[1], *(int(count) for count in found.groups()[1:])) if found else ""


def _change(
    request: Request,
    viewer: Viewer,
    wanted: Wanted,
    action: str,
    is_so: Callable[[Episode], bool],
    change: Callable[[Session, Viewer, list[Episode]], None],
) -> Response | BulkResult:
    with get_services(request).database.write() as session:
        episodes = episodes_of(session, viewer.project_id, wanted.ids)
        unchanged = [episode.id for episode in episodes if is_so(episode)]
        others = [episode for episode in episodes if episode.id not in unchanged]
        change(session, viewer, others)
        done = [episode.id for episode in others]
    return _answer(wanted, action, done, unchanged)


def _answer(
    wanted: Wanted,
    action: str,
    done: list[str],
    unchanged: list[str],
    baselines: set[str] | frozenset[str] = frozenset(),
) -> Response | BulkResult:
    left = [each for each in wanted.ids if each not in done and each not in unchanged]
    refused = [Refused(id=each, reason=_BASELINE if each in baselines else _MISSING) for each in left]
    kept = sum(each.reason == _BASELINE for each in refused)
    counts = (len(done), len(unchanged), kept, len(refused) - kept)
    if wanted.by_script:
        return BulkResult(done=done, unchanged=unchanged, refused=refused, said=_say(action, *counts))
    return RedirectResponse(list_url(wanted.typed, bulk=".".join([action, *map(str, counts)])), 303)


def _say(action: str, done: int, unchanged: int, kept: int, missing: int) -> str:
    """The counts as a sentence: ``12 archived, 1 was already.``"""
    words, already = {
        "archive": ("archived", "already"),
        "restore": ("restored", "not archived"),
        "promote": ("made a scenario" if done == 1 else "made scenarios", "one already"),
        "delete": ("deleted", ""),
    }[action]
    parts = [f"{done} {words}"]
    if unchanged:
        parts.append(f"{unchanged} {'was' if unchanged == 1 else 'were'} {already}")
    if kept:
        parts.append(f"{kept} kept: {'the baseline of a scenario' if kept == 1 else 'baselines of scenarios'}")
    if missing:
        parts.append(f"{missing} {'is' if missing == 1 else 'are'} no longer there")
    return f"{', '.join(parts)}."


def _ask(services: Services, viewer: Viewer, wanted: Wanted) -> Response:
    with services.database.read() as session:
        episodes = episodes_of(session, viewer.project_id, wanted.ids)
        baselines = len(scenarios_of(session, episodes))
        listed = [(episode.id, episode.name or episode.id[:8]) for episode in episodes]
    if not listed:
        return _answer(wanted, "delete", [], [])  # type: ignore[return-value]  # no script asks
    return page(
        "episodes_delete.html",
        viewer=viewer,
        episodes=listed,
        baselines=baselines,
        typed_confirmation=len(listed) > 10,
        back=list_url(wanted.typed),
        query=query_of(wanted.typed),
    )
