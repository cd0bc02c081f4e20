"""Which candidates pass, as functions over values."""

import pytest

from robotrace.serve.gate import judge, outcome_status
from robotrace.serve.schemas_evals import ScenarioStanding


def standing(latest_status, severity="critical", *, scenario_id="s", name=None, error=None):
    return ScenarioStanding(
        scenario_id=scenario_id,
        baseline_episode_id=f"e-{scenario_id}",
        baseline_name=None,
        severity=severity,
        latest_status=latest_status,
        claimed=False,
        name=name,
        description=None,
        error=error,
        candidate_episode_id=None,
        updated_at=None,
    )


@pytest.mark.parametrize(
    ("metrics", "status"),
    [
        ({"success_candidate": True}, "pass"),
        ({"success_candidate": False}, "fail"),
        ({"success_candidate": None}, "unknown"),
        ({"success_candidate": 1}, "unknown"),
        ({"success_candidate": "true"}, "unknown"),
        ({"success_baseline": True, "success": True}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_only_the_candidates_own_outcome_is_a_verdict(metrics, status):
    assert outcome_status(metrics) == status


def test_without_a_critical_scenario_every_candidate_passes():
    gate = judge([standing("fail", "warning"), standing("error", "info")], "v2")
    assert gate.passed
    assert (gate.critical_total, gate.blockers) == (0, [])


def test_a_candidate_passes_with_every_critical_scenario():
    gate = judge([standing("pass"), standing("pass", scenario_id="t"), standing("fail", "warning")], "v2")
    assert gate.passed
    assert (gate.critical_total, gate.critical_passed, gate.blockers) == (2, 2, [])


@pytest.mark.parametrize(
    ("status", "failed", "pending", "text"),
    [
        ("fail", 1, 0, "Bin (episode e-s): v2 fails it: dropped"),
        ("error", 1, 0, "Bin (episode e-s): the replay with v2 ended in an error: dropped"),
        ("unknown", 0, 1, "Bin (episode e-s): unknown, since v2 has no outcome of its own"),
        ("pending", 0, 1, "Bin (episode e-s): no result of v2 yet"),
    ],
)
def test_whatever_is_no_pass_blocks_and_says_why(status, failed, pending, text):
    gate = judge([standing("pass", scenario_id="ok"), standing(status, name="Bin", error="dropped")], "v2")
    assert not gate.passed
    assert (gate.critical_passed, gate.critical_failed, gate.critical_pending) == (1, failed, pending)
    assert gate.blockers == [text]


def test_a_blocker_is_one_line_however_long_the_error():
    gate = judge([standing("error", error="Traceback\n  line " + "x" * 5000)], "v2")
    assert "\n" not in gate.blockers[0]
    assert len(gate.blockers[0]) < 300
