"""The client against a deployment that knows what contract.md lists and nothing of our additions."""

import pytest
from contract_server import ContractServer
from wire_server import API_KEY

import robotrace
from robotrace import Client

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
