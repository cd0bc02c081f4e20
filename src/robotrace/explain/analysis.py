"""The rules, all of them run, and the order of what they find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from robotrace.explain import clocks, environment, outcome, power, saturation, sensors, values, video
from robotrace.explain.facts import Analysis, CannotJudge, EpisodeFacts, Finding, Skipped

__all__ = ["ANALYZER_VERSION", "CODES", "analyze"]

ANALYZER_VERSION = "1"
"""Goes up with every change of a rule: what was found by another version is found anew when somebody looks."""


@dataclass(frozen=True)
class _Rule:
    """A rule and where its findings stand.

    Attributes:
        judge: The finding, or None where all is well.
        code: Of its findings.
        weight: Causes before consequences, 0 to 1.
        explains: Whether such a finding is an explanation; a failure with none is unexplained.
    """

    judge: Callable[[EpisodeFacts], Finding | None]
    code: str
    weight: float
    explains: bool = True


# The weights follow what an engineer looks for: data that is not there or no number comes before what was done with it,
# and what somebody says of the end comes after what was measured before it.
_RULES = (
    _Rule(values.nan_in_observations, "nan_in_observations", 1.0),
    _Rule(values.nan_in_actions, "nan_in_actions", 0.97),
    _Rule(outcome.exception, "exception", 0.95),
    _Rule(power.battery, "battery", 1.0),
    _Rule(sensors.dropped_sensor, "dropped_sensor", 0.97),
    _Rule(sensors.frozen_sensor, "frozen_sensor", 0.95),
    _Rule(clocks.clock_fault, "clock_fault", 0.9),
    _Rule(clocks.loop_overrun, "loop_overrun", 0.85),
    _Rule(video.frozen_video, "frozen_video", 0.8),
    _Rule(saturation.action_saturation, "action_saturation", 0.75),
    _Rule(outcome.failure_reason_in_metadata, "failure_reason_in_metadata", 0.7),
    _Rule(environment.environment_changed, "environment_changed", 0.6, explains=False),
    _Rule(video.dropped_frames, "dropped_frames", 0.5, explains=False),
    _Rule(outcome.explicit_outcome, "explicit_outcome", 0.3, explains=False),
)
_WEIGHTS = {rule.code: rule.weight for rule in _RULES} | {"unexplained": 0.01}
_CONSEQUENCES = {
    "nan_in_observations": ("nan_in_actions",),
    "exception": ("nan_in_actions", "nan_in_observations", "dropped_sensor", "battery"),
    "action_saturation": (
        "nan_in_observations",
        "battery",
        "dropped_sensor",
        "frozen_sensor",
        "clock_fault",
        "loop_overrun",
    ),
    "frozen_video": ("loop_overrun",),
}
"""What often follows from what. A finding that comes after one of these is a consequence, where that one is sure."""
_SURE = 0.5
_CONSEQUENCE = 0.6
"""What a consequence keeps of its score: enough to put it behind its cause, whatever its own confidence."""
_LATE = 0.3
"""What a finding at the very end loses: a consequence comes later than its cause, but confidence counts for more."""

CODES = tuple(_WEIGHTS)
"""Every code that a finding can have."""


def analyze(episode: EpisodeFacts, skipped: Sequence[Skipped] = ()) -> Analysis:
    """Ask every rule why an episode failed.

    Raises nothing for the episode's sake: a rule that crashes is one of ``skipped``, and the others go on.

    Args:
        episode: What is known of it; whatever is missing, the rules that need it are skipped and say so.
        skipped: What the caller has left out of it.

    Returns:
        The findings, the likeliest cause first.

    Example::

        analysis = analyze(EpisodeFacts(metadata, status="failed", sensors=streams, actions=[action]))
        for finding in analysis.findings:
            print(finding.title, finding.onset_s)
    """
    found: list[Finding] = []
    unable: list[Skipped] = []
    explained = False
    with np.errstate(all="ignore"):
        for rule in _RULES:
            try:
                finding = rule.judge(episode)
            except CannotJudge as exc:
                unable.append(Skipped(rule.code, str(exc)))
            except Exception as exc:  # an episode may hold anything; one rule less is better than no answer
                unable.append(Skipped(rule.code, f"the rule failed: {type(exc).__name__}: {exc}"))
            else:
                if finding is not None:
                    found.append(finding)
                    explained = explained or rule.explains
    if episode.failed and not explained:
        found.append(outcome.unexplained(episode, [item.what for item in unable]))
    ranked = sorted(found, key=lambda finding: (-_score(finding, episode, found), finding.code))
    return Analysis(ANALYZER_VERSION, tuple(ranked), (*skipped, *unable))


def _score(finding: Finding, episode: EpisodeFacts, found: Sequence[Finding]) -> float:
    """Confidence × earlier onset × causes before consequences."""
    end = episode.end_s
    share = 0.5  # what has no time is neither early nor late
    if finding.onset_s is not None and end is not None and end > 0:
        share = min(max(finding.onset_s / end, 0.0), 1.0)
    score = finding.confidence * (1 - _LATE * share) * _WEIGHTS[finding.code]
    return score * _CONSEQUENCE if any(_follows(finding, other) for other in found) else score


def _follows(finding: Finding, other: Finding) -> bool:
    if other.code not in _CONSEQUENCES.get(finding.code, ()) or other.confidence < _SURE:
        return False
    if finding.onset_s is None or other.onset_s is None:
        return False
    if finding.code == "nan_in_observations" and not finding.streams[0].startswith("observation"):
        # An action answers the observation of its own moment; what else was measured then may show the action already.
        return other.onset_s <= finding.onset_s
    return other.onset_s < finding.onset_s
