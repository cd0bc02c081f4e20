"""The JSON of evals and verification, in and out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from robotrace.serve.schemas import Metadata, Utc, Version

__all__ = [
    "CheckGate",
    "CreateEvalRun",
    "CreatedEvalRun",
    "EvalMetric",
    "EvalSummary",
    "FinalizeEvalRun",
    "FinalizedEvalRun",
    "Gate",
    "PromoteEpisode",
    "PromotedEpisode",
    "PushEvalResult",
    "PushScenarioResult",
    "PushedEvalResult",
    "ScenarioInfo",
    "ScenarioStanding",
    "Severity",
    "StoredScenarioResult",
]

# Each baseline is a replay of minutes; the summary reads the results of all of them at once.
_MAX_BASELINES = 10_000


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("broken Unicode") from None
    return value


Severity = Literal["critical", "warning", "info"]
# Results are matched by it, and clients differ in whether they send the spaces around what was typed.
NamedVersion = Annotated[Version, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, Field(max_length=200)]
Id = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, AfterValidator(_encodable)]


class CreateEvalRun(BaseModel):
    """``POST /api/ingest/eval-run``."""

    candidate_policy_version: NamedVersion
    baseline_episode_ids: Annotated[list[Id], Field(min_length=1, max_length=_MAX_BASELINES)]
    baseline_policy_version: Version | None = None
    name: Name | None = None
    metadata: Metadata | None = None


class CreatedEvalRun(BaseModel):
    """The answer to a create; a baseline listed twice counts once."""

    eval_run_id: str
    status: str
    episode_count: int


class PushEvalResult(BaseModel):
    """``POST /api/ingest/eval-run/{id}/result``."""

    baseline_episode_id: Id
    status: Literal["complete", "failed"]
    metrics: Metadata
    candidate_episode_id: Id | None = None
    error: Text | None = None


class PushedEvalResult(BaseModel):
    """The answer to a result, with how many baselines of the run are complete and how many failed by now."""

    eval_result_id: str
    run_status: str
    episodes_completed: int
    episodes_failed: int


class FinalizeEvalRun(BaseModel):
    """``POST /api/ingest/eval-run/{id}/finalize``."""

    status: Literal["completed", "failed", "cancelled"] = "completed"
    metadata: Metadata | None = None


class EvalMetric(BaseModel):
    """A metric of both policies over the pairs in which both are known; None where there is none."""

    baseline: float | None
    candidate: float | None
    delta: float | None
    delta_is_better: bool | None
    pairs: int


class EvalSummary(BaseModel):
    """What the results of a run come to; see docs/evals.md for the formulas."""

    success_rate: EvalMetric
    reward_mean: EvalMetric
    collision_rate: EvalMetric
    time_to_goal_s: EvalMetric
    ood_action_share: EvalMetric
    recommend: Literal["ship", "hold"]
    better_count: int
    metric_total: int
    reasons: list[str]
    claimed: int


class FinalizedEvalRun(BaseModel):
    """The answer to a finalize."""

    eval_run_id: str
    status: str
    summary: EvalSummary


class PromoteEpisode(BaseModel):
    """``POST /api/verify/promote``."""

    baseline_episode_id: Id
    severity: Severity = "warning"
    name: Name | None = None
    description: Text | None = None


class PromotedEpisode(BaseModel):
    """The answer to a promote; ``promoted`` says that the episode is a scenario now, whether or not it was before."""

    scenario_id: str
    promoted: Literal[True] = True


class CheckGate(BaseModel):
    """``POST /api/verify/check``."""

    candidate_policy_version: NamedVersion


class ScenarioInfo(BaseModel):
    """A scenario; ``baseline_name`` is the name of its episode."""

    scenario_id: str
    baseline_episode_id: str
    baseline_name: str | None
    severity: Severity
    name: str | None
    description: str | None


class ScenarioStanding(ScenarioInfo):
    """A scenario and the latest a candidate has to show for it; ``updated_at`` is of that result."""

    latest_status: Literal["pass", "fail", "error", "unknown", "pending"]
    claimed: bool
    error: str | None
    candidate_episode_id: str | None
    updated_at: Utc | None


class Gate(BaseModel):
    """The answer to a check; only critical scenarios block."""

    passed: bool
    critical_total: int
    critical_passed: int
    critical_failed: int
    critical_pending: int
    scenarios: list[ScenarioStanding]
    blockers: list[str]


class PushScenarioResult(BaseModel):
    """``POST /api/verify/result``; without a ``status`` the metrics decide."""

    scenario_id: Id
    candidate_policy_version: NamedVersion
    metrics: Metadata
    status: Literal["pass", "fail", "error"] | None = None
    candidate_episode_id: Id | None = None
    eval_run_id: Id | None = None
    error: Text | None = None


class StoredScenarioResult(BaseModel):
    """A result as it is stored."""

    result_id: str
    scenario_id: str
    candidate_policy_version: str
    status: str
    claimed: bool
    metrics: dict[str, Any]
    candidate_episode_id: str | None
    eval_run_id: str | None
    error: str | None
    created_at: Utc
    updated_at: Utc
