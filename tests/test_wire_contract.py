"""The client against a deployment that knows what contract.md lists and nothing of our additions."""

import pytest
from contract_server import ContractServer
from wire_server import API_KEY

import robotrace
from robotrace import Client, NotFoundError, evals, verify
from robotrace.cli.device_flow import start_login, wait_for_approval
from robotrace.config import Target
from robotrace.transport import Transport

JSON_HEADERS = {
    "host",
    "authorization",
    "user-agent",
    "x-robotrace-sdk-version",
    "accept",
    "accept-encoding",
    "connection",
    "content-type",
    "content-length",
}
OURS = {"idempotency-key"}
"""The one header of our own; a deployment that does not know it leaves it aside."""


@pytest.fixture
def foreign():
    with ContractServer() as server:
        yield server
        assert server.refused == []


@pytest.fixture
def client(foreign):
    with Client(base_url=foreign.url, api_key=API_KEY) as made:
        yield made


def test_episodes_work_against_a_deployment_without_our_additions(foreign, client, files, tmp_path):
    whole = client.log_episode(
        name="pick 7",
        source="sim",
        robot="arm",
        policy_version="p1",
        env_version="e1",
        git_sha="0" * 40,
        seed=7,
        duration_s=1.5,
        fps=30,
        metadata={"task": "pick"},
        status="failed",
        failure_time_s=1.0,
        **files,
    )
    with client.start_episode(artifacts=["sensors"]) as step_by_step:
        step_by_step.upload("sensors", files["sensors"])
    bare = client.log_episode()
    assert [whole.status, step_by_step.status, bare.status] == ["failed", "ready", "ready"]
    stored = foreign.episodes[whole.id]
    assert (stored["bytes_total"], stored["failure_time_s"]) == (sum(p.stat().st_size for p in files.values()), 1.0)
    assert stored["metadata"]["task"] == "pick"
    assert foreign.objects[f"/store/{step_by_step.id}/sensors"] == b"bytes of sensors"


def test_nothing_goes_out_that_the_contract_does_not_list(foreign, client, files):
    client.log_episode(name="n", robot="r", seed=1, fps=2, duration_s=1, metadata={"a": 1}, **files)
    with pytest.raises(ValueError, match="no grip"), client.start_episode():
        raise ValueError("no grip")
    assert {route: fields for route, fields in foreign.unknown.items() if fields} == {}
    for request in foreign.requests:
        if request.method == "PUT":
            assert request.header_names == {"host", "content-type", "content-length", "user-agent"}
        else:
            assert request.header_names - JSON_HEADERS <= OURS
            assert request.header("User-Agent") == f"robotrace-python/{robotrace.__version__}"
            assert request.header("X-RoboTrace-SDK-Version") == robotrace.__version__
            assert request.header("Accept") == "application/json"


def test_what_was_logged_is_read_back_from_a_deployment_without_our_additions(foreign, client, files, tmp_path):
    logged = client.log_episode(video=files["video"], metadata={"task": "pick"})
    assert client.get_episode(logged.id)["metadata"]["task"] == "pick"
    assert client.download_artifact(logged.id, "video", tmp_path / "back.mp4") == len(b"bytes of video")
    assert (tmp_path / "back.mp4").read_bytes() == b"bytes of video"
    with pytest.raises(NotFoundError):
        client.download_artifact(logged.id, "sensors", tmp_path / "back.npz")
    with pytest.raises(NotFoundError):  # ours alone
        client.list_episodes()


def test_a_login_works_against_a_deployment_without_our_additions(foreign):
    transport = Transport(Target(foreign.url, ""))
    try:
        started = start_login(transport, "lab-7")
        approval = wait_for_approval(transport, started, sleep=lambda seconds: None)
    finally:
        transport.close()
    assert approval.api_key == API_KEY
    assert {name for fields in foreign.unknown.values() for name in fields} == set()
    for request in foreign.requests:
        assert request.header("Authorization") is None


def policy(observation):
    return {"action/value": observation["observation/value"] * 2, "_outcome": {"success": True}}


@pytest.fixture
def baseline(client, tmp_path):
    np = pytest.importorskip("numpy")
    times = np.arange(10, dtype=np.int64) * 100_000_000
    values = np.arange(20.0).reshape(10, 2)
    for name in ("observation", "action"):
        np.savez(tmp_path / f"{name}.npz", **{f"{name}/value": values, f"{name}/_t_ns": times})
    metadata = {"outcome": {"success": True, "reward_total": 1.0}}
    files = {"sensors": tmp_path / "observation.npz", "actions": tmp_path / "action.npz"}
    return client.log_episode(source="sim", metadata=metadata, **files).id


def test_an_eval_run_works_against_a_deployment_without_our_additions(foreign, client, baseline):
    run = evals.create_run(
        candidate_policy_version="candidate",
        baseline_episode_ids=[baseline, "ep_gone"],
        baseline_policy_version="baseline",
        name="nightly",
        metadata={"commit": "0"},
        client=client,
    )
    good, gone = evals.run_against(run, policy_callable=policy)
    answer = evals.complete_run(run, client=client)
    assert (good.status, gone.status) == ("complete", "failed")
    assert answer["summary"]["recommend"] == "hold"
    results = foreign.runs[run.id]["results"]
    assert {name: result["status"] for name, result in results.items()} == {baseline: "complete", "ep_gone": "failed"}
    assert results[baseline]["metrics"]["action_l2_distance"] > 0
    replayed = foreign.episodes[results[baseline]["candidate_episode_id"]]
    assert (replayed["source"], replayed["request_uploads"], replayed["status"]) == ("replay", [], "ready")
    assert replayed["metadata"]["eval_run_id"] == run.id
    assert replayed["metadata"]["baseline_episode_id"] == baseline
    assert {route: fields for route, fields in foreign.unknown.items() if fields} == {}


def test_a_gate_works_against_a_deployment_without_our_additions(foreign, client, baseline):
    scenario = verify.promote(baseline_episode_id=baseline, severity="critical", name="pick", client=client)
    assert verify.check_gate(candidate_policy_version="candidate", client=client)["passed"] is False
    code, gate = verify.run_check(candidate_policy_version="candidate", policy_callable=policy, client=client)
    assert (code, gate["passed"]) == (0, True)
    verify.record_result(
        scenario_id=scenario["scenario_id"],
        candidate_policy_version="candidate",
        status="fail",
        metrics={"success_candidate": False},
        client=client,
    )
    gate = verify.check_gate(candidate_policy_version="candidate", client=client)
    assert (gate["passed"], gate["critical_failed"]) == (False, 1)
    assert {route: fields for route, fields in foreign.unknown.items() if fields} == {}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/ingest/episode", {"source": "real"}, 400),
        ("/api/ingest/episode", {"source": "dream", "request_uploads": []}, 400),
        ("/api/ingest/episode", {"source": "real", "request_uploads": [], "seed": True}, 400),
        ("/api/ingest/episode", {"source": "real", "request_uploads": [], "otel": {"trace_id": "0"}}, 400),
        ("/api/ingest/episode/ep_1/finalize", {}, 400),
        ("/api/ingest/eval-run", {"candidate_policy_version": "c", "baseline_episode_ids": []}, 400),
        ("/api/verify/promote", {"baseline_episode_id": "ep_1"}, 400),
        ("/api/verify/elsewhere", {}, 404),
        ("/api/ingest/episode", {"source": "real", "request_uploads": [], "ours": 1}, 201),
    ],
)
def test_the_deployment_of_these_tests_refuses_what_is_no_contract(client, foreign, path, body, status):
    answer = client._transport._client.post(path, json=body)
    assert answer.status_code == status
    assert len(foreign.refused) == (status != 201)
    assert foreign.unknown.get("/api/ingest/episode", set()) == ({"ours"} if status == 201 else set())
    foreign.refused.clear()
