"""Scenarios as the verification page shows them: with a picture, and the moments of their episodes that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from robotrace.serve.models import Episode, EpisodeAnalysis, Scenario
from robotrace.serve.portal_thumbnails import pictures_of, thumbnail_url
from robotrace.serve.schemas_evals import ScenarioInfo
from robotrace.serve.services import Services
from robotrace.serve.values import finite
from robotrace.serve.verify import scenario_infos

__all__ = ["Moment", "ScenarioView", "scenario_views"]

_SAME_S = 0.001


class Moment(BaseModel):
    """A moment of an episode, in seconds from its beginning: of the failure, or where a finding begins."""

    label: str
    at_s: float


class ScenarioView(ScenarioInfo):
    """A scenario, a picture of its episode where it has a video, and where in it to look."""

    thumbnail_url: str | None
    moments: list[Moment]


def scenario_views(services: Services, session: Session, project_id: int) -> list[ScenarioView]:
    """The scenarios of a project in the order of :func:`robotrace.serve.verify.scenario_infos`."""
    query = (
        select(Episode.id, Episode.status, Episode.failure_time_s, EpisodeAnalysis.findings)
        .join(Scenario, Scenario.baseline_episode_id == Episode.id)
        .outerjoin(EpisodeAnalysis, EpisodeAnalysis.episode_id == Episode.id)
        .where(Scenario.project_id == project_id)
    )
    rows = session.execute(query).all()
    moments = {episode_id: _moments(at_s, findings or []) for episode_id, _, at_s, findings in rows}
    pictures = {
        episode_id: thumbnail_url(episode_id, picture)
        for episode_id, picture in pictures_of(
            session, [episode_id for episode_id, status, *_ in rows if status != "recording"]
        ).items()
        if not services.thumbnails.is_broken(picture.object_key)
    }
    return [
        ScenarioView(
            **dict(scenario),
            thumbnail_url=pictures.get(scenario.baseline_episode_id),
            moments=moments[scenario.baseline_episode_id],
        )
        for scenario in scenario_infos(session, project_id)
    ]


def _moments(failure_time_s: float | None, findings: Sequence[Mapping[str, Any]]) -> list[Moment]:
    """The failure, and the beginning of the likeliest finding that has one."""
    moments = [] if failure_time_s is None else [Moment(label="failure", at_s=failure_time_s)]
    for finding in findings:
        onset, title = finite(finding.get("onset_s")), finding.get("title")
        if onset is not None and isinstance(title, str):
            if all(abs(onset - moment.at_s) > _SAME_S for moment in moments):
                moments.append(Moment(label=title, at_s=onset))
            break
    return moments
