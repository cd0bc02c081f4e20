"""Episodes out of the database: the queries that routes and pages share, and the contract's reading routes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import RedirectResponse
from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.orm import Session, defer

from robotrace.serve.analyses import analysis_view, explain_when_outdated
from robotrace.serve.artifacts import absolute_url, signed_download
from robotrace.serve.keyset import after_cursor, cursor_of
from robotrace.serve.models import Artifact, Episode, Reproduction
from robotrace.serve.schemas import ArtifactInfo, EpisodeDetail, EpisodePage, EpisodeSummary, ListedEpisode
from robotrace.serve.services import ApiCaller, get_services, public_base_url, require_key

__all__ = [
    "HAS_VIDEO",
    "EpisodeFilter",
    "artifact_of",
    "episode_filter",
    "episode_or_404",
    "episode_summary",
    "list_episodes",
    "router",
]

router = APIRouter(prefix="/api/episodes", dependencies=[Depends(require_key)])

HAS_VIDEO = exists().where(and_(Artifact.episode_id == Episode.id, Artifact.kind == "video"))
"""A condition of a query of episodes."""


@dataclass(frozen=True)
class EpisodeFilter:
    """Which episodes to list; None lets every value pass.

    Args:
        status: The status.
        policy_version: The policy version.
        env_version: The environment version.
        git_sha: The beginning of the git sha.
        seed: The seed.
        robot: The robot.
        source: The source.
    """

    status: str | None = None
    policy_version: str | None = None
    env_version: str | None = None
    git_sha: str | None = None
    seed: int | None = None
    robot: str | None = None
    source: str | None = None


def episode_filter(
    status: str = "",
    policy_version: str = "",
    env_version: str = "",
    git_sha: str = "",
    seed: str = "",
    robot: str = "",
    source: str = "",
) -> EpisodeFilter:
    """The filter in a query string; a form sends the fields left empty, too, which stand for no filter.

    Raises:
        HTTPException: 400 for a seed that is no 64-bit integer.
    """
    try:
        number = int(seed) if seed.strip() else None
    except ValueError:
        raise HTTPException(400, "seed: not an integer") from None
    if number is not None and not -(2**63) <= number < 2**63:
        raise HTTPException(400, "seed: not a 64-bit integer")
    return EpisodeFilter(
        status=status or None,
        policy_version=policy_version or None,
        env_version=env_version or None,
        git_sha=git_sha or None,
        seed=number,
        robot=robot or None,
        source=source or None,
    )


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
    query = (
        select(Episode, HAS_VIDEO)
        .options(defer(Episode.meta, raiseload=True), defer(Episode.otel, raiseload=True))
        .where(Episode.project_id == project_id, *_conditions(filters))
    )
    if cursor is not None:
        query = query.where(after_cursor(Episode.created_at, Episode.id, cursor))
    query = query.order_by(Episode.created_at.desc(), Episode.id.desc()).limit(limit + 1)
    rows = session.execute(query).all()
    page = [episode_summary(episode, has_video=has_video) for episode, has_video in rows[:limit]]
    return page, cursor_of(page[-1].created_at, page[-1].id) if len(rows) > limit else None


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


@router.get("")
def read_episodes(
    request: Request,
    caller: ApiCaller,
    filters: Annotated[EpisodeFilter, Depends(episode_filter)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str = "",
) -> EpisodePage:
    """A page of episodes, newest first; ``next`` is the cursor of the page after it."""
    with get_services(request).database.read() as session:
        episodes, following = list_episodes(session, caller.project_id, filters, limit=limit, cursor=cursor or None)
    return EpisodePage(episodes=[ListedEpisode(**dict(episode)) for episode in episodes], next=following)


@router.get("/{episode_id}")
def read_episode(episode_id: str, request: Request, caller: ApiCaller) -> EpisodeDetail:
    """The episode, its metadata included, why it failed, and what running it again came to where somebody did."""
    services = get_services(request)
    with services.database.read() as session:
        episode = episode_or_404(session, episode_id, caller.project_id)
        checked = session.get(Reproduction, episode_id)
        explain_when_outdated(services, session, episode)
        analysis = analysis_view(session, episode_id)
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


def _conditions(filters: EpisodeFilter) -> Iterator[ColumnElement[bool]]:
    for name in ("status", "policy_version", "env_version", "seed", "robot", "source"):
        value = getattr(filters, name)
        if value is not None:
            yield getattr(Episode, name) == value
    if filters.git_sha is not None:
        # Lowered on both sides: LIKE tells the cases apart in PostgreSQL and not in SQLite.
        yield func.lower(Episode.git_sha).startswith(filters.git_sha.lower(), autoescape=True)
