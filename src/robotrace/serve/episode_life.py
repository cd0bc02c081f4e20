"""How an episode leaves the lists, comes back, or goes for good: with the note of it in the audit log, and the routes.

The portal's forms (:mod:`robotrace.serve.portal_life`) use the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from robotrace.serve.audit import HasActor, audit
from robotrace.serve.episodes import episode_or_404
from robotrace.serve.janitor import Janitor
from robotrace.serve.lifecycle import archive, delete_episodes, restore
from robotrace.serve.models import Episode, Scenario, utc_now
from robotrace.serve.renders import get_renders
from robotrace.serve.schemas import FinalizedEpisode
from robotrace.serve.services import ApiCaller, get_services, require_key

__all__ = ["archive_all", "delete_all", "episodes_of", "forget_work", "restore_all", "router", "scenarios_of"]

router = APIRouter(prefix="/api/episodes", dependencies=[Depends(require_key)])

_MAX_IDS = 1000


def episodes_of(session: Session, project_id: int, ids: Iterable[str]) -> list[Episode]:
    """The episodes of a project among these ids, in their order."""
    wanted = list(dict.fromkeys(ids))
    query = select(Episode).where(Episode.project_id == project_id, Episode.id.in_(wanted))
    found = {episode.id: episode for episode in session.scalars(query)}
    return [found[each] for each in wanted if each in found]


def archive_all(session: Session, actor: HasActor, episodes: Iterable[Episode]) -> None:
    """Take episodes out of the lists; their files stay, and those that are archived stay so."""
    now = utc_now()
    for episode in episodes:
        if archive(episode, now):
            audit(session, actor, "episode.archived", episode.id)


def restore_all(session: Session, actor: HasActor, episodes: Iterable[Episode]) -> None:
    """Give archived episodes the status back that they had; nothing changes for those that are not archived."""
    now = utc_now()
    for episode in episodes:
        if restore(episode, now):
            audit(session, actor, "episode.restored", episode.id)


def scenarios_of(session: Session, episodes: Iterable[Episode]) -> list[Scenario]:
    """The scenarios that these episodes are the baselines of; they go with them."""
    ids = [episode.id for episode in episodes]
    return list(session.scalars(select(Scenario).where(Scenario.baseline_episode_id.in_(ids)).order_by(Scenario.id)))


def delete_all(session: Session, actor: HasActor, episodes: Sequence[Episode]) -> None:
    """Delete episodes for good, and the scenarios of :func:`scenarios_of`.

    Call :func:`forget_work` once the transaction is through.
    """
    for episode in episodes:
        audit(session, actor, "episode.deleted", episode.id, name=episode.name)
    for scenario in scenarios_of(session, episodes):
        audit(session, actor, "scenario.deleted", scenario.id, with_episode=scenario.baseline_episode_id)
    delete_episodes(session, episodes, utc_now())


def forget_work(request: Request, ids: Iterable[str]) -> None:
    """What was to be done for these episodes is done no more, and their files go soon."""
    for each in ids:
        get_renders(request).cancel(each)
    janitor = request.app.state.janitor
    assert isinstance(janitor, Janitor)
    janitor.wake()


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
    wanted = list(dict.fromkeys(body.ids))
    with get_services(request).database.write() as session:
        episodes = episodes_of(session, caller.project_id, wanted)
        archive_all(session, caller, episodes)
        found = {episode.id for episode in episodes}
    return ArchivedEpisodes(
        archived=[each for each in wanted if each in found], missing=[each for each in wanted if each not in found]
    )


@router.post("/{episode_id}/archive")
def archive_episode(episode_id: str, request: Request, caller: ApiCaller) -> FinalizedEpisode:
    """Take an episode out of the lists; its files stay, and it can be restored. One that is archived stays so."""
    with get_services(request).database.write() as session:
        episode = episode_or_404(session, episode_id, caller.project_id)
        archive_all(session, caller, [episode])
        return FinalizedEpisode(episode_id=episode.id, status=episode.status, updated_at=episode.updated_at)


@router.post("/{episode_id}/restore")
def restore_episode(episode_id: str, request: Request, caller: ApiCaller) -> FinalizedEpisode:
    """Give an archived episode the status back that it had; nothing changes for one that is not archived."""
    with get_services(request).database.write() as session:
        episode = episode_or_404(session, episode_id, caller.project_id)
        restore_all(session, caller, [episode])
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
        scenarios = scenarios_of(session, [episode])
        if scenarios and not force:
            raise HTTPException(
                409,
                f"the episode is the baseline of scenario {scenarios[0].id}: ?force=true deletes the scenario with it",
            )
        delete_all(session, caller, [episode])
    forget_work(request, [episode_id])
    return Response(status_code=204)
