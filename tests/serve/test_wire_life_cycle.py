"""A client that sends only what contract.md lists, none of our additions, against our deployment."""

import httpx
import pytest

HEADERS = {
    "User-Agent": "robotrace-python/0.3.0",
    "X-RoboTrace-SDK-Version": "0.3.0",
    "Accept": "application/json",
}
EPISODE_FIELDS = {"episode_id", "status", "storage", "upload_urls"}
METRICS = ("success_rate", "reward_mean", "collision_rate", "time_to_goal_s", "ood_action_share")


@pytest.fixture(params=["Authorization", "X-RoboTrace-Key"])
def plain(request, deployment):
    """Plain HTTP with the key in one of the two headers that a server takes it from."""
    key = deployment.internal_key
    value = f"Bearer {key}" if request.param == "Authorization" else key
    with httpx.Client(base_url=deployment.base_url, headers={**HEADERS, request.param: value}) as http:
        yield http


def post(http, path, body, status=200):
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def record(http, files=(), **closing):
    """An episode as the contract has it; returns its id."""
    files = dict(files)
    created = post(http, "/api/ingest/episode", {"source": "sim", "request_uploads": list(files)}, 201)
    assert created.keys() >= EPISODE_FIELDS
    assert (created["status"], created["storage"]) == ("recording", "r2")
    assert [url["kind"] for url in created["upload_urls"]] == list(files)
    for url in created["upload_urls"]:
        assert url.keys() == {"kind", "url", "expires_at", "public_url"}
        content_type = "video/mp4" if url["kind"] == "video" else "application/octet-stream"
        put = httpx.put(url["url"], content=files[url["kind"]], headers={"Content-Type": content_type})
        assert put.status_code == 200, put.text
    path = f"/api/ingest/episode/{created['episode_id']}/finalize"
    finalized = post(http, path, {"status": "ready", **closing})
    assert finalized.keys() >= {"episode_id", "status", "updated_at"}
    return created["episode_id"]


def test_an_episode(plain):
    files = {"video": b"video", "sensors": b"sensors", "actions": b"actions"}
    closing = {"duration_s": 1.5, "fps": 30, "bytes_total": 19, "metadata": {"outcome": {"success": True}}}
    episode_id = record(plain, files, **closing)
    episode = plain.get(f"/api/episodes/{episode_id}").json()
    assert (episode["status"], episode["duration_s"], episode["metadata"]) == ("ready", 1.5, closing["metadata"])
    for kind, content in files.items():
        got = plain.get(f"/api/episodes/{episode_id}/artifact/{kind}", follow_redirects=True)
        assert (got.status_code, got.content) == (200, content)
    again = post(plain, f"/api/ingest/episode/{episode_id}/finalize", {"status": "failed"})
    assert again["status"] == "ready"


def test_the_least_there_is(plain):
    created = post(plain, "/api/ingest/episode", {}, 201)
    assert len(created["upload_urls"]) == 3
    post(plain, f"/api/ingest/episode/{created['episode_id']}/finalize", {"status": "failed"})


def test_an_eval_run(plain):
    baselines = [record(plain), record(plain)]
    run = post(
        plain,
        "/api/ingest/eval-run",
        {"candidate_policy_version": "candidate", "baseline_episode_ids": baselines},
        201,
    )
    assert (run["status"], run["episode_count"]) == ("pending", 2)
    path = f"/api/ingest/eval-run/{run['eval_run_id']}"
    metrics = {
        "success_baseline": True,
        "success_candidate": True,
        "reward_total_baseline": 1.0,
        "reward_total_candidate": 2.0,
        "collision_count_baseline": 0,
        "collision_count_candidate": 0,
        "time_to_goal_s_baseline": None,
        "time_to_goal_s_candidate": None,
        "action_l2_distance": 0.5,
        "ood_action_share": 0.0,
        "step_count": 10,
    }
    complete = {"baseline_episode_id": baselines[0], "status": "complete", "metrics": metrics}
    first = post(plain, f"{path}/result", {**complete, "candidate_episode_id": record(plain)})
    assert first.keys() >= {"eval_result_id", "run_status", "episodes_completed", "episodes_failed"}
    assert post(plain, f"{path}/result", complete)["eval_result_id"] == first["eval_result_id"]
    failed = {"baseline_episode_id": baselines[1], "status": "failed", "metrics": {}, "error": "ValueError: no grip"}
    counts = post(plain, f"{path}/result", failed)
    assert (counts["episodes_completed"], counts["episodes_failed"]) == (1, 1)
    done = post(plain, f"{path}/finalize", {"status": "completed"})
    assert (done["eval_run_id"], done["status"]) == (run["eval_run_id"], "completed")
    summary = done["summary"]
    assert summary.keys() >= {*METRICS, "recommend", "better_count", "metric_total"}
    for name in METRICS:
        assert summary[name].keys() >= {"baseline", "candidate", "delta", "delta_is_better"}
    assert summary["reward_mean"]["delta"] == 1.0
    assert summary["recommend"] in ("ship", "hold")


def test_a_gate(plain, policy):
    baseline = record(plain)
    promote = {"baseline_episode_id": baseline, "severity": "critical"}
    promoted = post(plain, "/api/verify/promote", promote)
    assert promoted["promoted"] is True
    assert post(plain, "/api/verify/promote", promote) == promoted
    check = {"candidate_policy_version": policy}
    blocked = post(plain, "/api/verify/check", check, 422)
    assert blocked["passed"] is False
    assert blocked["blockers"]
    counts = ("critical_total", "critical_passed", "critical_failed", "critical_pending")
    assert blocked.keys() >= {"passed", *counts, "scenarios", "blockers"}
    for scenario in blocked["scenarios"]:
        assert scenario.keys() >= {"scenario_id", "baseline_episode_id", "severity", "latest_status"}
        result = {**check, "scenario_id": scenario["scenario_id"], "status": "pass", "metrics": {}}
        post(plain, "/api/verify/result", result)
    passed = post(plain, "/api/verify/check", check)
    assert (passed["passed"], passed["blockers"], passed["critical_pending"]) == (True, [], 0)


def test_a_login(deployment):
    """Neither the program nor the browser has a key."""
    with httpx.Client(base_url=deployment.base_url, headers=HEADERS) as http:
        started = post(http, "/api/cli/auth/start", {"user_agent": "robotrace-python/0.3.0", "hostname": "lab-7"})
        poll = {"device_code": started["device_code"]}
        assert post(http, "/api/cli/auth/poll", poll) == {"status": "pending"}
        assert started["verification_uri"] == f"{deployment.base_url}/cli/auth"
        assert http.get(f"/cli/auth?code={started['user_code']}").status_code == 200
        form = {"code": started["user_code"], "decision": "approve"}
        assert http.post("/cli/auth", data=form, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303
        approved = post(http, "/api/cli/auth/poll", poll)
        assert approved["status"] == "approved"
        consumed = post(http, "/api/cli/auth/poll", poll, 410)
        assert consumed["status"] == "consumed"
        key = {"Authorization": f"Bearer {approved['api_key']}"}
        assert http.post("/api/ingest/episode", json={}, headers=key).status_code == 201
        revoked = http.post("/api/cli/auth/revoke", headers=key)
        assert revoked.status_code == 200
        assert revoked.json().keys() >= {"status", "key_id", "key_prefix", "revoked_at"}
        assert revoked.json()["status"] == "revoked"
        assert http.post("/api/cli/auth/revoke", headers=key).status_code == 401
        assert http.post("/api/ingest/episode", json={}, headers=key).status_code == 401
