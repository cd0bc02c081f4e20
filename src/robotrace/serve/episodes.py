"""Episodes out of the database: the queries that routes and pages share, and the contract's reading routes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import ColumnElement, Text, and_, cast, exists, func, select
from sqlalchemy.orm import Session, defer

from robotrace.serve.analyses import analysis_view, explain_when_outdated
from robotrace.serve.artifacts import absolute_url, signed_download
from robotrace.serve.keyset import after_cursor, cursor_of
from robotrace.serve.models import Artifact, Episode, EpisodeAnalysis, Reproduction, utc_now
from robotrace.serve.schemas import ArtifactInfo, EpisodeDetail, EpisodePage, EpisodeSummary, ListedEpisode
from robotrace.serve.services import ApiCaller, get_services, public_base_url, require_key

__all__ = [
    "HAS_VIDEO",
    "EpisodeFilter",
    "artifact_of",
    "episode_detail",
    "episode_filter",
    "episode_or_404",
    "episode_summary",
    "filter_conditions",
    "list_episodes",
    "one_page",
    "router",
]

_T = TypeVar("_T")

router = APIRouter(prefix="/api/episodes", dependencies=[Depends(require_key)])

HAS_VIDEO = exists().where(and_(Artifact.episode_id == Episode.id, Artifact.kind == "video"))
"""A condition of a query of episodes."""

_AGO = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_AGO_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class EpisodeFilter:
    """Which episodes to list; None lets every value pass.

    Args:
        status: The status; None leaves archived ones out.
        policy_version: The policy version.
        env_version: The environment version.
        git_sha: The beginning of the git sha.
        seed: The seed.
        robot: The robot.
        source: The source.
        name: A part of the name, in any case.
        has_video: Whether there is a video.
        success: The outcome.
        created_after: Not older.
        created_before: Older.
        failure_reason: A part of the reason, in any case.
        finding: The code of one of its findings.
    """

    status: str | None = None
    policy_version: str | None = None
    env_version: str | None = None
    git_sha: str | None = None
    seed: int | None = None
    robot: str | None = None
    source: str | None = None
    name: str | None = None
    has_video: bool | None = None
    success: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    failure_reason: str | None = None
    finding: str | None = None


def episode_filter(
    status: str = "",
    policy_version: str = "",
    env_version: str = "",
    git_sha: str = "",
    seed: str = "",
    robot: str = "",
    source: str = "",
    name: str = "",
    has_video: str = "",
    success: str = "",
    created_after: str = "",
    created_before: str = "",
    failure_reason: str = "",
    finding: str = "",
) -> EpisodeFilter:
    """The filter in a query string; a form sends the fields left empty, too, which stand for no filter.

    A time is one of ISO 8601, or how long ago it was: ``90m``, ``24h``, ``7d``.

    Raises:
        HTTPException: 400 for a seed that is no 64-bit integer, a time or a truth value that is none.
    """
    texts = {
        "status": status,
        "policy_version": policy_version,
        "env_version": env_version,
        "git_sha": git_sha,
        "robot": robot,
        "source": source,
        "name": name,
        "failure_reason": failure_reason,
        "finding": finding,
    }
    for field, text in texts.items():
        if "\0" in text:  # PostgreSQL has no such text
            raise HTTPException(400, f"{field}: no NUL")
    return EpisodeFilter(
        **{field: text or None for field, text in texts.items()},
        seed=_read("seed", seed, _int64),
        has_video=_read("has_video", has_video, _truth),
        success=_read("success", success, _truth),
        created_after=_read("created_after", created_after, _moment),
        created_before=_read("created_before", created_before, _moment),
    )


def _read(name: str, text: str, convert: Callable[[str], _T]) -> _T | None:
    text = text.strip()
    try:
        return convert(text) if text else None
    except ValueError as error:
        raise HTTPException(400, f"{name}: {error}") from None


def _int64(text: str) -> int:
    # int() takes underscores and other scripts' digits, and thousands of them.
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise ValueError("not a 64-bit integer" if text.lstrip("+-").isdecimal() else "not an integer")
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError("not a 64-bit integer")
    return number


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _moment(text: str) -> datetime:
    ago = _AGO.fullmatch(text)
    if ago:
        try:
            return utc_now() - timedelta(**{_AGO_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            raise ValueError("longer ago than there were years") from None
    # A "+" in a query that nobody has quoted arrives as a space.
    written = re.sub(r" (\d\d:\d\d)$", r"+\1", text).replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(written)
        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError("not a time as ISO 8601, 2026-01-31T12:00:00Z, nor how long ago, 24h") from None


def list_episodes(
    session: Session, project_id: int, filters: EpisodeFilter, *, limit: int, cursor: str | None = None
) -> tuple[list[EpisodeSummary], str | None]:
    """A page of the episodes of a project, newest first.

    Args:
        session: A session.
        project_id: The project.
        filters: Which episodes.
        limit: The most episodes to return.
        cursor: Where the page before ended; None for the newest.

    Returns:
        The episodes, and the cursor of the next page, None when there is none.

    Raises:
        HTTPException: 400 for a cursor this function did not make.
    """
    columns = select(Episode).options(defer(Episode.meta, raiseload=True), defer(Episode.otel, raiseload=True))
    rows = session.scalars(one_page(columns, project_id, filters, limit=limit, cursor=cursor)).all()
    # A query of its own: as a column of the first, PostgreSQL looks for the videos of all episodes there are.
    videos = select(Artifact.episode_id).where(
        Artifact.kind == "video", Artifact.episode_id.in_([episode.id for episode in rows])
    )
    with_video = set(session.scalars(videos))
    page = [episode_summary(episode, has_video=episode.id in with_video) for episode in rows[:limit]]
    return page, cursor_of(page[-1].created_at, page[-1].id) if len(rows) > limit else None


def one_page(columns: Any, project_id: int, filters: EpisodeFilter, *, limit: int, cursor: str | None) -> Any:
    """The query of a page as :func:`list_episodes` has it, and of one episode more, which says whether that is all.

    Args:
        columns: A ``select()`` of what is wanted of each episode.
        project_id: The project.
        filters: Which episodes.
        limit: The episodes of the page.
        cursor: Where the page before ended; None for the newest.

    Raises:
        HTTPException: 400 for a cursor that is none.
    """
    query = columns.where(Episode.project_id == project_id, *filter_conditions(filters))
    if cursor is not None:
        query = query.where(after_cursor(Episode.created_at, Episode.id, cursor))
    return query.order_by(Episode.created_at.desc(), Episode.id.desc()).limit(limit + 1)


def episode_summary(episode: Episode, *, has_video: bool) -> EpisodeSummary:
    """An episode as lists show it."""
    return EpisodeSummary(
        id=episode.id,
        name=episode.name,
        status=episode.status,
        source=episode.source,
        robot=episode.robot,
        policy_version=episode.policy_version,
        env_version=episode.env_version,
        git_sha=episode.git_sha,
        seed=episode.seed,
        fps=episode.fps,
        duration_s=episode.duration_s,
        failure_time_s=episode.failure_time_s,
        created_at=episode.created_at,
        updated_at=episode.updated_at,
        has_video=has_video,
        success=episode.success,
        reward_total=episode.reward_total,
        steps=episode.steps,
        failure_reason=episode.failure_reason,
    )


def episode_detail(session: Session, episode: Episode) -> EpisodeDetail:
    """All there is about an episode."""
    checked = session.get(Reproduction, episode.id)
    analysis = analysis_view(session, episode.id)
    return EpisodeDetail(
        episode_id=episode.id,
        name=episode.name,
        status=episode.status,
        source=episode.source,
        robot=episode.robot,
        policy_version=episode.policy_version,
        env_version=episode.env_version,
        git_sha=episode.git_sha,
        seed=episode.seed,
        fps=episode.fps,
        duration_s=episode.duration_s,
        failure_time_s=episode.failure_time_s,
        bytes_total=episode.bytes_total,
        metadata=episode.meta,
        otel=episode.otel,
        created_at=episode.created_at,
        updated_at=episode.updated_at,
        artifacts=[
            ArtifactInfo(
                kind=artifact.kind,
                size=artifact.size,
                sha256=artifact.sha256,
                content_type=artifact.content_type,
                file_name=artifact.file_name,
            )
            for artifact in episode.artifacts
        ],
        reproduction=None if checked is None else checked.report,
        findings=None if analysis is None else analysis.findings,
    )


def episode_or_404(session: Session, episode_id: str, project_id: int) -> Episode:
    """The episode of a project.

    Raises:
        HTTPException: 404 when there is none; of an episode of another project it says the same.
    """
    episode = session.get(Episode, episode_id)
    if episode is None or episode.project_id != project_id:
        raise HTTPException(404, "there is no such episode")
    return episode


def artifact_of(session: Session, episode_id: str, kind: str) -> Artifact | None:
    """The file in a slot of an episode, None when it is empty."""
    return session.scalar(select(Artifact).where(Artifact.episode_id == episode_id, Artifact.kind == kind))


@router.get("", response_model=EpisodePage)
def read_episodes(
    request: Request,
    caller: ApiCaller,
    filters: Annotated[EpisodeFilter, Depends(episode_filter)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str = "",
) -> Response:
    """A page of episodes, newest first; ``next`` is the cursor of the page after it."""
    with get_services(request).database.read() as session:
        episodes, following = list_episodes(session, caller.project_id, filters, limit=limit, cursor=cursor or None)
    # Checked once and written once: left to FastAPI, each field of 50 episodes would be three times more.
    listed = [ListedEpisode.model_construct(**dict(episode)) for episode in episodes]
    page = EpisodePage.model_construct(episodes=listed, next=following)
    return Response(page.model_dump_json(by_alias=True), media_type="application/json")


@router.get("/{episode_id}")
def read_episode(episode_id: str, request: Request, caller: ApiCaller) -> EpisodeDetail:
    """The episode, its metadata included, why it failed, and what running it again came to where somebody did."""
    services = get_services(request)
    with services.database.read() as session:
        episode = episode_or_404(session, episode_id, caller.project_id)
        explain_when_outdated(services, session, episode)
        return episode_detail(session, episode)


@router.get("/{episode_id}/artifact/{kind}", status_code=302, response_class=RedirectResponse)
def read_artifact(episode_id: str, kind: str, request: Request, caller: ApiCaller) -> RedirectResponse:
    """A redirect to the bytes of an artifact."""
    services = get_services(request)
    with services.database.read() as session:
        episode_or_404(session, episode_id, caller.project_id)
        artifact = artifact_of(session, episode_id, kind)
        if artifact is None:
            raise HTTPException(404, f"the episode has no {kind}")
        return RedirectResponse(absolute_url(public_base_url(request), signed_download(services.store, artifact)), 302)


def filter_conditions(filters: EpisodeFilter) -> Iterator[ColumnElement[bool]]:
    """The conditions of a query of the episodes that a filter lets pass."""
    for name in ("status", "policy_version", "env_version", "seed", "robot", "source"):
        value = getattr(filters, name)
        if value is not None:
            yield getattr(Episode, name) == value
    if filters.status is None:
        yield Episode.status != "archived"
    if filters.has_video is not None:
        yield HAS_VIDEO if filters.has_video else ~HAS_VIDEO
    if filters.success is not None:
        yield Episode.success.is_(filters.success)
    if filters.created_after is not None:
        yield Episode.created_at >= filters.created_after
    if filters.created_before is not None:
        yield Episode.created_at < filters.created_before
    for name in ("name", "failure_reason"):
        part = getattr(filters, name)
        if part is not None:
            yield getattr(Episode, name).icontains(part, autoescape=True)
    if filters.finding is not None:
        # As it is written within JSON; in a text there, the quotes have a backslash before them.
        code = cast(EpisodeAnalysis.findings, Text).contains(f'"code": "{filters.finding}"', autoescape=True)
        yield exists().where(EpisodeAnalysis.episode_id == Episode.id, code)
    if filters.git_sha is not None:
        # Lowered on both sides: LIKE tells the cases apart in PostgreSQL and not in SQLite.
        yield func.lower(Episode.git_sha).startswith(filters.git_sha.lower(), autoescape=True)
