"""The routes by which an episode leaves the lists, comes back, or goes for good."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import select

from robotrace.serve.audit import audit
from robotrace.serve.episodes import episode_or_404
from robotrace.serve.janitor import Janitor
from robotrace.serve.lifecycle import archive, delete_episodes, restore
from robotrace.serve.models import Episode, Scenario, utc_now
from robotrace.serve.renders import get_renders
from robotrace.serve.schemas import FinalizedEpisode
from robotrace.serve.services import ApiCaller, get_services, require_key

__all__ = ["router"]

router = APIRouter(prefix="/api/episodes", dependencies=[Depends(require_key)])

_MAX_IDS = 1000


class EpisodeIds(BaseModel):
    """Which episodes."""

    ids: Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=_MAX_IDS)]


class ArchivedEpisodes(BaseModel):
    """What became of them; ``missing`` are ids of no episode."""

    archived: list[str]
    missing: list[str]


@router.post("/archive")
def archive_episodes(body: EpisodeIds, request: Request, caller: ApiCaller) -> ArchivedEpisodes:
    """Take several episodes out of the lists, all at once; those that are archived stay so."""
    wanted = dict.fromkeys(body.ids)
    now = utc_now()
    with get_services(request).database.write() as session:
        query = select(Episode).where(Episode.project_id == caller.project_id, Episode.id.in_(wanted))
        found = {episode.id: episode for episode in session.scalars(query)}
        for episode in found.values():
            if archive(episode, now):
                audit(session, caller, "episode.archived", episode.id)
    return ArchivedEpisodes(
        archived=[each for each in wanted if each in found], missing=[each for each in wanted if each not in found]
    )


@router.post("/{episode_id}/archive")
def archive_episode(episode_id: str, request: Request, caller: ApiCaller) -> FinalizedEpisode:
    """Take an episode out of the lists; its files stay, and it can be restored. One that is archived stays so."""
    with get_services(request).database.write() as session:
        episode = episode_or_404(session, episode_id, caller.project_id)
        if archive(episode, utc_now()):
            audit(session, caller, "episode.archived", episode.id)
        return FinalizedEpisode(episode_id=episode.id, status=episode.status, updated_at=episode.updated_at)


@router.post("/{episode_id}/restore")
def restore_episode(episode_id: str, request: Request, caller: ApiCaller) -> FinalizedEpisode:
    """Give an archived episode the status back that it had; nothing changes for one that is not archived."""
    with get_services(request).database.write() as session:
        episode = episode_or_404(session, episode_id, caller.project_id)
        if restore(episode, utc_now()):
            audit(session, caller, "episode.restored", episode.id)
        return FinalizedEpisode(episode_id=episode.id, status=episode.status, updated_at=episode.updated_at)


@router.delete(
    "/{episode_id}", status_code=204, response_class=Response, responses={409: {"description": "A baseline"}}
)
def delete_episode(
    episode_id: str, request: Request, caller: ApiCaller, force: Annotated[bool, Query()] = False
) -> Response:
    """Delete an episode for good, its files too; ``force`` deletes the scenario that it is the baseline of with it."""
    with get_services(request).database.write() as session:
        episode = episode_or_404(session, episode_id, caller.project_id)
        scenario = session.scalar(select(Scenario).where(Scenario.baseline_episode_id == episode.id))
        if scenario is not None and not force:
            raise HTTPException(
                409, f"the episode is the baseline of scenario {scenario.id}: ?force=true deletes the scenario with it"
            )
        audit(session, caller, "episode.deleted", episode.id, name=episode.name)
        if scenario is not None:
            audit(session, caller, "scenario.deleted", scenario.id, with_episode=episode.id)
        delete_episodes(session, [episode], utc_now())
    get_renders(request).cancel(episode_id)
    janitor = request.app.state.janitor
    assert isinstance(janitor, Janitor)
    janitor.wake()
    return Response(status_code=204)
