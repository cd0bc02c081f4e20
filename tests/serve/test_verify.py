"""The verify routes over real HTTP; a deployment of its own for each test, since the gate is about all scenarios."""

import httpx
import pytest

from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

from .conftest import Api

PROMOTE, CHECK, RESULT = "/api/verify/promote", "/api/verify/check", "/api/verify/result"


@pytest.fixture
def api(tmp_path):
    with Deployment(Settings(tmp_path / "data", port=0)) as deployment:
        headers = {"Authorization": f"Bearer {deployment.internal_key}"}
        with httpx.Client(base_url=deployment.base_url, headers=headers, trust_env=False) as http:
            yield Api(http)


def promote(api, **body):
    """A scenario of a new episode; returns its id."""
    answer = api.http.post(PROMOTE, json={"baseline_episode_id": api.record()} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()["scenario_id"]


def push(api, scenario, *, candidate="v2", metrics=None, **body):
    content = {"scenario_id": scenario, "candidate_policy_version": candidate, "metrics": metrics or {}} | body
    return api.http.post(RESULT, json=content)


def check(api, candidate="v2"):
    return api.http.post(CHECK, json={"candidate_policy_version": candidate})


def test_without_a_key_every_call_is_401(api):
    for path in (PROMOTE, CHECK, RESULT):
        assert httpx.post(str(api.http.base_url.join(path)), json={}).status_code == 401


def test_promote_is_idempotent_per_episode(api):
    episode = api.record()
    first = api.http.post(PROMOTE, json={"baseline_episode_id": episode, "severity": "critical"})
    assert first.json() == {"scenario_id": first.json()["scenario_id"], "promoted": True}
    assert api.http.post(PROMOTE, json={"baseline_episode_id": episode}).json() == first.json()
    assert [entry["severity"] for entry in check(api).json()["scenarios"]] == ["critical"]


def test_a_scenario_is_a_warning_unless_said(api):
    promote(api)
    assert check(api).json()["scenarios"][0]["severity"] == "warning"


def test_a_repeated_promote_changes_what_was_given(api):
    episode = api.record()
    promote(api, baseline_episode_id=episode, severity="critical", name="Bin", description="Two cubes")
    promote(api, baseline_episode_id=episode, severity="info", name="Box", description=None)
    (scenario,) = check(api).json()["scenarios"]
    assert (scenario["severity"], scenario["name"], scenario["description"]) == ("info", "Box", "Two cubes")


def test_an_episode_that_does_not_exist_cannot_be_promoted(api):
    answer = api.http.post(PROMOTE, json={"baseline_episode_id": "nope"})
    assert answer.status_code == 404
    assert "episode" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (PROMOTE, {"baseline_episode_id": "x", "severity": "fatal"}, "severity"),
        (PROMOTE, {"baseline_episode_id": "x", "severity": None}, "severity"),
        (PROMOTE, {"baseline_episode_id": "x", "name": "x" * 201}, "name"),
        (PROMOTE, {}, "baseline_episode_id"),
        (CHECK, {}, "candidate_policy_version"),
        (CHECK, {"candidate_policy_version": ""}, "candidate_policy_version"),
        (RESULT, {"candidate_policy_version": "v", "metrics": {}}, "scenario_id"),
        (RESULT, {"scenario_id": "x", "metrics": {}}, "candidate_policy_version"),
        (RESULT, {"scenario_id": "x", "candidate_policy_version": "v"}, "metrics"),
        (
            RESULT,
            {"scenario_id": "x", "candidate_policy_version": "v", "metrics": {}, "status": "unknown"},
            "status",
        ),
    ],
)
def test_what_is_wrong_is_400_and_names_the_field(api, path, body, field):
    answer = api.http.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(field)


def test_without_scenarios_a_candidate_passes(api):
    answer = check(api)
    assert answer.status_code == 200
    assert answer.json() == {
        "passed": True,
        "critical_total": 0,
        "critical_passed": 0,
        "critical_failed": 0,
        "critical_pending": 0,
        "scenarios": [],
        "blockers": [],
    }


def test_a_critical_scenario_without_a_result_blocks(api):
    scenario = promote(api, severity="critical", name="Bin")
    answer = check(api)
    assert answer.status_code == 422
    gate = answer.json()
    assert (gate["passed"], gate["critical_total"], gate["critical_pending"]) == (False, 1, 1)
    assert gate["scenarios"][0]["scenario_id"] == scenario
    assert gate["scenarios"][0]["latest_status"] == "pending"
    assert gate["scenarios"][0]["updated_at"] is None
    assert "Bin" in gate["blockers"][0]


def test_scenarios_below_critical_are_listed_and_do_not_block(api):
    push(api, promote(api, severity="info"), status="fail")
    push(api, promote(api, severity="warning"), status="error", error="ValueError: no")
    push(api, promote(api, severity="critical"), status="pass")
    answer = check(api)
    assert answer.status_code == 200
    listed = [(entry["severity"], entry["latest_status"]) for entry in answer.json()["scenarios"]]
    assert listed == [("critical", "pass"), ("warning", "error"), ("info", "fail")]
    assert answer.json()["scenarios"][1]["error"] == "ValueError: no"


@pytest.mark.parametrize(
    ("metrics", "status", "code"),
    [
        ({"success_candidate": True}, "pass", 200),
        ({"success_candidate": False}, "fail", 422),
        ({"success_baseline": True, "success_candidate": None}, "unknown", 422),
        ({}, "unknown", 422),
    ],
)
def test_without_a_status_the_candidates_own_outcome_decides(api, metrics, status, code):
    scenario = promote(api, severity="critical")
    assert push(api, scenario, metrics=metrics).json()["status"] == status
    answer = check(api)
    assert answer.status_code == code
    assert answer.json()["scenarios"][0]["latest_status"] == status


def test_unknown_is_pending_not_failed_and_says_why(api):
    push(api, promote(api, severity="critical"), metrics={"success_baseline": True})
    gate = check(api).json()
    assert (gate["critical_failed"], gate["critical_pending"]) == (0, 1)
    assert "no outcome of its own" in gate["blockers"][0]


def test_a_pass_that_the_policy_claims_is_marked(api):
    claimed, measured = promote(api), promote(api)
    stored = push(api, claimed, metrics={"success_candidate": True, "outcome_candidate": "claimed"})
    assert stored.json()["claimed"] is True
    push(api, measured, status="pass", metrics={"success_candidate": True})
    marks = {entry["scenario_id"]: entry["claimed"] for entry in check(api).json()["scenarios"]}
    assert marks == {claimed: True, measured: False}


def test_the_answer_to_a_result_is_the_stored_result(api):
    scenario, episode = promote(api), api.record(source="replay")
    stored = push(api, scenario, metrics={"success_candidate": True}, candidate_episode_id=episode).json()
    times = {name: stored.pop(name) for name in ("created_at", "updated_at")}
    assert all(time.endswith("Z") for time in times.values())
    assert stored == {
        "result_id": stored["result_id"],
        "scenario_id": scenario,
        "candidate_policy_version": "v2",
        "status": "pass",
        "claimed": False,
        "metrics": {"success_candidate": True},
        "candidate_episode_id": episode,
        "eval_run_id": None,
        "error": None,
    }


def test_the_latest_result_counts(api):
    scenario = promote(api, severity="critical")
    first = push(api, scenario, status="fail").json()
    second = push(api, scenario, status="pass").json()
    assert first["result_id"] != second["result_id"]
    assert check(api).status_code == 200


def test_each_candidate_stands_for_itself(api):
    scenario = promote(api, severity="critical")
    push(api, scenario, candidate="v1", status="pass")
    push(api, scenario, candidate="v2", status="fail")
    assert check(api, "v1").status_code == 200
    assert check(api, "v2").json()["critical_failed"] == 1
    assert check(api, "v3").json()["critical_pending"] == 1


def eval_run(api, candidate="v2"):
    body = {"candidate_policy_version": candidate, "baseline_episode_ids": ["a"]}
    return api.http.post("/api/ingest/eval-run", json=body).json()["eval_run_id"]


def test_a_candidate_is_the_same_with_and_without_the_spaces_around_it(api):
    """Some clients take them off in one call and leave them on in another; the page takes them off."""
    scenario = promote(api, severity="critical")
    body = {"candidate_policy_version": " v 2 ", "baseline_episode_ids": ["x"]}
    run = api.http.post("/api/ingest/eval-run", json=body).json()["eval_run_id"]
    assert push(api, scenario, candidate="v 2", status="pass", eval_run_id=run).status_code == 200
    assert push(api, promote(api), candidate="v 2\n", status="pass").json()["candidate_policy_version"] == "v 2"
    assert check(api, "\tv 2").status_code == 200
    page = api.http.get("/portal/verify.json", params={"candidate": " v 2 "}).json()
    assert [entry["latest_status"] for entry in page["gate"]["scenarios"]] == ["pass", "pass"]


def test_a_repeat_for_the_same_eval_run_replaces_its_result_and_is_the_latest(api):
    scenario, run = promote(api, severity="critical"), eval_run(api)
    first = push(api, scenario, status="error", eval_run_id=run, error="ConnectionError: gone").json()
    push(api, scenario, status="fail")
    again = push(api, scenario, status="pass", eval_run_id=run).json()
    assert (again["result_id"], again["created_at"]) == (first["result_id"], first["created_at"])
    assert again["error"] is None
    assert check(api).status_code == 200


def test_an_eval_run_of_another_candidate_is_400(api):
    answer = push(api, promote(api), eval_run_id=eval_run(api, "v9"))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("candidate_policy_version")


@pytest.mark.parametrize("body", [{"scenario_id": "nope"}, {"candidate_episode_id": "nope"}, {"eval_run_id": "nope"}])
def test_what_does_not_exist_is_404(api, body):
    content = {"scenario_id": promote(api), "candidate_policy_version": "v2", "metrics": {}} | body
    assert api.http.post(RESULT, json=content).status_code == 404


def test_metrics_that_are_not_json_are_400(api):
    body = f'{{"scenario_id": "{promote(api)}", "candidate_policy_version": "v2", "metrics": {{"x": NaN}}}}'
    answer = api.http.post(RESULT, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("metrics")
