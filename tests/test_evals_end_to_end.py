"""Recorded episodes, a real deployment, a candidate, a summary and a gate."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("numpy")

import numpy as np
from replayed import npz

from robotrace import Client, evals, verify
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    with Deployment(Settings(tmp_path_factory.mktemp("deployment") / "data", port=0)) as running:
        yield running


@pytest.fixture
def client(deployment):
    with Client(base_url=deployment.base_url, api_key=deployment.first_key, verbose=False) as made:
        yield made


@pytest.fixture
def recorded(client, tmp_path):
    """Logs an episode of 20 steps, its camera at a quarter of the rate of its joints; returns its id."""

    def record(success=True, **arrays):
        clock = np.arange(20) * 10_000_000
        positions = np.linspace(0.0, 1.0, 20).reshape(-1, 1)
        sensors = {
            "joints/value": positions,
            "joints/_t_ns": clock,
            "camera/value": np.arange(5, dtype=np.uint8).repeat(12).reshape(5, 2, 2, 3),
            "camera/_t_ns": clock[::4] + 1_000,
        }
        (tmp_path / "sensors.npz").write_bytes(npz(sensors))
        (tmp_path / "actions.npz").write_bytes(npz({"action/value": 2 * positions, "action/_t_ns": clock}))
        outcome = {"success": success, "reward_total": 10.0, "collision_count": 0}
        return client.log_episode(
            source="sim",
            policy_version="v1",
            sensors=tmp_path / "sensors.npz",
            actions=tmp_path / "actions.npz",
            metadata={"outcome": outcome},
        ).id

    return record


def same(row):
    """What the recorded policy did."""
    return {"action/value": 2 * row["joints/value"]}


def successful(row):
    return {**same(row), "_outcome": {"success": True, "reward_total": 12.0, "collision_count": 0}}


def run_of(client, *baselines, **options):
    return evals.create_run(
        candidate_policy_version="v2", baseline_episode_ids=list(baselines), client=client, **options
    )


def test_the_same_policy_is_no_distance_away_and_a_candidate_that_is_no_worse_ships(client, recorded):
    baselines = [recorded(), recorded(success=False)]
    run = run_of(client, *baselines, baseline_policy_version="v1", name="nightly", metadata={"by": "ci"})
    results = evals.run_against(run, policy_callable=successful)
    assert [result.status for result in results] == ["complete"] * 2
    for result in results:
        metrics = result.metrics
        assert (metrics["action_l2_distance"], metrics["step_count"]) == (0.0, 20)
        assert (metrics["ood_action_share"], metrics["ood_action_share_baseline"]) == (0.0, 0.0)
        episode = client.get_episode(result.candidate_episode_id)
        assert (episode["status"], episode["source"], episode["policy_version"]) == ("ready", "replay", "v2")
        assert episode["metadata"]["eval_run_id"] == run.id
        assert episode["metadata"]["baseline_episode_id"] == result.baseline_episode_id
        assert episode["metadata"]["metrics"] == metrics
    assert (run.status, run.episodes_completed) == ("running", 2)
    answer = evals.complete_run(run)
    summary = answer["summary"]
    assert (answer["eval_run_id"], answer["status"], run.status) == (run.id, "completed", "completed")
    assert (summary["recommend"], summary["reasons"], summary["claimed"]) == ("ship", [], 2)
    assert (summary["success_rate"]["delta"], summary["reward_mean"]["delta"]) == (0.5, 2.0)


def test_the_camera_is_the_latest_picture_at_each_step(client, recorded):
    seen = []

    def policy(row):
        seen.append(int(row["camera/value"][0, 0, 0]) if "camera/value" in row else None)
        return {}

    evals.run_against(run_of(client, recorded()), policy_callable=policy, dry_run=True)
    # A picture comes a microsecond after every fourth step.
    assert seen == [None, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4]


def test_failed_rows_and_unknown_outcomes_hold(client, recorded, deployment):
    empty = client.log_episode(name="metadata only").id
    run = run_of(client, recorded(), "no-such-episode", empty)
    results = evals.run_against(run, policy_callable=same)
    assert [(result.status, result.error) for result in results] == [
        ("complete", None),
        ("failed", "baseline episode no-such-episode: not found"),
        ("failed", f"baseline episode {empty}: it has no sensors to replay"),
    ]
    summary = evals.complete_run(run)["summary"]
    assert summary["recommend"] == "hold"
    assert summary["reasons"] == [
        "The replay of 2 of 3 baselines failed.",
        "The candidate has no outcome of its own on 1 of 3 baselines.",
    ]
    assert (summary["success_rate"]["candidate"], summary["success_rate"]["delta"]) == (None, None)


def test_a_dry_run_leaves_no_trace(client, recorded):
    baseline = recorded()
    run = evals.EvalRun("dry-run", "dry-candidate", None, [baseline], None, _client=client)
    (result,) = evals.run_against(run, policy_callable=same, dry_run=True)
    assert (result.status, result.metrics["action_l2_distance"]) == ("complete", 0.0)
    assert client.list_episodes(policy_version="dry-candidate")["episodes"] == []


def test_a_result_that_was_not_stored_arrives_when_the_run_ends(client, recorded, monkeypatch):
    baseline = recorded()
    run = run_of(client, baseline)
    call = client._transport.call
    monkeypatch.setattr(client._transport, "_sleep", lambda _: None)

    def cut(method, path, *args, **options):
        return call(method, "/api/nowhere" if path.endswith("/result") else path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(client._transport, "call", cut)
        evals.run_against(run, policy_callable=successful)
    summary = evals.complete_run(run)["summary"]
    assert (summary["recommend"], summary["success_rate"]["pairs"]) == ("ship", 1)


def test_the_gate_opens_for_a_candidate_that_passes_and_for_no_other(client, recorded):
    critical, watched = recorded(), recorded()
    scenario = verify.promote(baseline_episode_id=critical, severity="critical", name="cup", client=client)
    assert verify.promote(baseline_episode_id=critical, severity="critical", client=client) == scenario
    verify.promote(baseline_episode_id=watched, client=client)

    def checked(version, policy, **options):
        code, gate = verify.run_check(
            candidate_policy_version=version, policy_callable=policy, client=client, **options
        )
        assert code == int(not gate["passed"])
        (standing,) = [item for item in gate["scenarios"] if item["severity"] == "critical"]
        return code, standing["latest_status"], standing["claimed"], gate["blockers"]

    def failing(row):
        return {"_outcome": {"success": False}}

    def raising(row):
        raise ValueError("no grip")

    assert checked("good", successful, dry_run=True)[:2] == (1, "pending")
    assert checked("good", successful) == (0, "pass", True, [])
    assert checked("good", raising) == (0, "pass", True, [])  # passed already: nothing is replayed
    assert checked("bad", failing)[:3] == (1, "fail", True)
    code, status, claimed, blockers = checked("silent", same)
    assert (code, status, claimed) == (1, "unknown", False)
    assert blockers == [f"cup (episode {critical}): unknown, since silent has no outcome of its own"]
    code, status, _, blockers = checked("broken", raising)
    assert (code, status) == (1, "error")
    assert "ValueError: no grip" in blockers[0]
    assert checked("broken", successful)[:2] == (0, "pass")
