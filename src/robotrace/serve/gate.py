"""Whether a candidate may pass: pure functions over what its scenarios have to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from robotrace.serve.schemas_evals import Gate, ScenarioStanding, Severity
from robotrace.serve.values import boolean

__all__ = ["SEVERITIES", "judge", "outcome_status", "severity_rank"]

SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""In the order in which they matter."""

# An error can be a whole traceback; a blocker is one line.
_MAX_ERROR_LENGTH = 200


def severity_rank(severity: str) -> int:
    """A key to sort by, what matters most first."""
    return [str(known) for known in SEVERITIES].index(severity)


def outcome_status(metrics: Mapping[str, Any]) -> Literal["pass", "fail", "unknown"]:
    """What the metrics of a replay say by themselves; a candidate without an outcome of its own has not passed."""
    match boolean(metrics.get("success_candidate")):
        case True:
            return "pass"
        case False:
            return "fail"
        case _:
            return "unknown"


def judge(standings: Sequence[ScenarioStanding], candidate: str) -> Gate:
    """The gate of a candidate: passed when every critical scenario is.

    Args:
        standings: Where the candidate stands on each scenario; listed in this order.
        candidate: Its policy version, for the texts.
    """
    critical = [standing for standing in standings if standing.severity == "critical"]
    passed = [standing for standing in critical if standing.latest_status == "pass"]
    failed = [standing for standing in critical if standing.latest_status in ("fail", "error")]
    return Gate(
        passed=len(passed) == len(critical),
        critical_total=len(critical),
        critical_passed=len(passed),
        critical_failed=len(failed),
        critical_pending=len(critical) - len(passed) - len(failed),
        scenarios=list(standings),
        blockers=[_blocker(standing, candidate) for standing in critical if standing.latest_status != "pass"],
    )


def _blocker(standing: ScenarioStanding, candidate: str) -> str:
    error = f": {_one_line(standing.error)}" if standing.error else ""
    match standing.latest_status:
        case "fail":
            why = f"{candidate} fails it{error}"
        case "error":
            why = f"the replay with {candidate} ended in an error{error}"
        case "unknown":
            why = f"unknown, since {candidate} has no outcome of its own"
        case _:
            why = f"no result of {candidate} yet"
    called = standing.name or standing.baseline_name
    episode = f"episode {standing.baseline_episode_id}"
    name = f"{_one_line(called)} ({episode})" if called else episode
    return f"{name}: {why}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_ERROR_LENGTH else line[: _MAX_ERROR_LENGTH - 1] + "…"
