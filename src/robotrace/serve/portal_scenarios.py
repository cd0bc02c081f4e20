"""Scenarios as the verification page shows them: with the moments of their episodes that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from robotrace.serve.models import Episode, EpisodeAnalysis, Scenario
from robotrace.serve.schemas_evals import ScenarioInfo
from robotrace.serve.values import finite
from robotrace.serve.verify import scenario_infos

__all__ = ["Moment", "ScenarioView", "scenario_views"]

_SAME_S = 0.001


class Moment(BaseModel):
    """A moment of an episode, in seconds from its beginning: of the failure, or where a finding begins."""

    label: str
    at_s: float


class ScenarioView(ScenarioInfo):
    """A scenario, and where in its episode to look."""

    moments: list[Moment]


def scenario_views(session: Session, project_id: int) -> list[ScenarioView]:
    """The scenarios of a project in the order of :func:`robotrace.serve.verify.scenario_infos`."""
    query = (
        select(Episode.id, Episode.failure_time_s, EpisodeAnalysis.findings)
        .join(Scenario, Scenario.baseline_episode_id == Episode.id)
        .outerjoin(EpisodeAnalysis, EpisodeAnalysis.episode_id == Episode.id)
        .where(Scenario.project_id == project_id)
    )
    moments = {episode_id: _moments(at_s, findings or []) for episode_id, at_s, findings in session.execute(query)}
    return [
        ScenarioView(**dict(scenario), moments=moments[scenario.baseline_episode_id])
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
