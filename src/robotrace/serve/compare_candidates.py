"""Which episodes one may want to compare with one, and which a search finds."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from robotrace.serve.episodes import EpisodeFilter, artifact_of, episode_summary, list_episodes
from robotrace.serve.models import Episode
from robotrace.serve.schemas import EpisodeSummary

__all__ = ["Candidates", "candidates"]

_SHOWN = 8
_SHORTEST_ID = 4
"""Characters of an id's beginning: fewer are a name."""


class Candidates(BaseModel):
    """Episodes to choose from, and why they are offered."""

    title: str
    episodes: list[EpisodeSummary]


def candidates(session: Session, project_id: int, chosen: EpisodeSummary | None, search: str) -> list[Candidates]:
    """What to choose from, the likeliest first; each episode once.

    Args:
        session: A session.
        project_id: The project.
        chosen: The episode to compare with; None where there is none yet.
        search: A part of a name, or an id or its beginning; empty: none.
    """
    asked: list[tuple[str, EpisodeFilter]] = []
    if chosen is not None and chosen.env_version is not None:
        env, policy = chosen.env_version, chosen.policy_version
        if chosen.seed is not None:
            asked.append(("Same env and seed", EpisodeFilter(env_version=env, seed=chosen.seed)))
        if policy is not None:
            asked.append(("Same env and policy", EpisodeFilter(env_version=env, policy_version=policy)))
        asked.append(("Same env", EpisodeFilter(env_version=env)))
    else:
        asked.append(("Newest", EpisodeFilter()))
    seen = set() if chosen is None else {chosen.id}
    groups = []
    search = search.replace("\0", "").strip()
    if search:
        named, _ = list_episodes(session, project_id, EpisodeFilter(name=search), limit=3 * _SHOWN)
        groups.append(("Found", [*_by_id(session, project_id, search), *named]))
    for title, filters in asked:
        found, _ = list_episodes(session, project_id, filters, limit=_SHOWN + len(seen))
        groups.append((title, found))
    listed = []
    for title, episodes in groups:
        fresh: list[EpisodeSummary] = []
        for episode in episodes:
            if episode.id not in seen and len(fresh) < 3 * _SHOWN:
                seen.add(episode.id)
                fresh.append(episode)
        if fresh or title == "Found":
            listed.append(Candidates(title=title, episodes=fresh))
    return listed


def _by_id(session: Session, project_id: int, text: str) -> list[EpisodeSummary]:
    if len(text) < _SHORTEST_ID:
        return []
    # A range of the primary key: LIKE would look at every episode there is.
    beginning = text.lower()
    query = select(Episode).where(
        Episode.project_id == project_id, Episode.id >= beginning, Episode.id < f"{beginning}g"
    )
    found = session.scalars(query.order_by(Episode.id).limit(_SHOWN)).all()
    return [
        episode_summary(episode, has_video=artifact_of(session, episode.id, "video") is not None) for episode in found
    ]
