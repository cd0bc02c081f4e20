"""The eval routes over real HTTP."""

import threading
import uuid

import httpx
import pytest

from robotrace.serve.models import EvalResult

CREATE = "/api/ingest/eval-run"


def create(api, baselines=("a", "b"), **body):
    answer = api.http.post(
        CREATE, json={"candidate_policy_version": "v2", "baseline_episode_ids": list(baselines)} | body
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["eval_run_id"]


def push(api, run, baseline="a", status="complete", metrics=None, **body):
    content = {"baseline_episode_id": baseline, "status": status, "metrics": metrics or {}} | body
    return api.http.post(f"{CREATE}/{run}/result", json=content)


def finalize(api, run, **body):
    return api.http.post(f"{CREATE}/{run}/finalize", json=body)


def test_without_a_key_every_call_is_401(deployment):
    for path in (CREATE, f"{CREATE}/x/result", f"{CREATE}/x/finalize"):
        assert httpx.post(deployment.base_url + path, json={}).status_code == 401


def test_a_run_goes_from_pending_to_running_to_completed(api):
    answer = api.http.post(
        CREATE, json={"candidate_policy_version": "v2", "baseline_episode_ids": ["a", "b"], "name": "nightly"}
    )
    assert answer.status_code == 201
    created = answer.json()
    assert created == {"eval_run_id": created["eval_run_id"], "status": "pending", "episode_count": 2}
    run = created["eval_run_id"]
    good = {"success_baseline": True, "success_candidate": True}
    first = push(api, run, "a", metrics=good)
    assert first.status_code == 200
    assert first.json() == {
        "eval_result_id": first.json()["eval_result_id"],
        "run_status": "running",
        "episodes_completed": 1,
        "episodes_failed": 0,
    }
    second = push(api, run, "b", metrics=good).json()
    assert (second["run_status"], second["episodes_completed"]) == ("running", 2)
    closed = finalize(api, run, status="completed", metadata={"by": "ci"})
    assert closed.status_code == 200
    assert list(closed.json()) == ["eval_run_id", "status", "summary"]
    assert closed.json()["status"] == "completed"
    summary = closed.json()["summary"]
    assert summary["success_rate"] == {
        "baseline": 1.0,
        "candidate": 1.0,
        "delta": 0.0,
        "delta_is_better": None,
        "pairs": 2,
    }
    assert summary["recommend"] == "ship"
    assert set(summary) == {
        "success_rate",
        "reward_mean",
        "collision_rate",
        "time_to_goal_s",
        "ood_action_share",
        "recommend",
        "better_count",
        "metric_total",
        "reasons",
        "claimed",
    }


def test_a_baseline_listed_twice_counts_once_and_one_that_does_not_exist_is_taken(api):
    answer = api.http.post(
        CREATE, json={"candidate_policy_version": "v2", "baseline_episode_ids": ["gone", "b", "gone"]}
    )
    assert answer.json()["episode_count"] == 2


def test_fields_of_a_newer_client_are_ignored(api):
    run = create(api, future=1)
    assert push(api, run, future={"x": 1}).status_code == 200
    assert finalize(api, run, future=None).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"candidate_policy_version": None}, "candidate_policy_version"),
        ({"candidate_policy_version": ""}, "candidate_policy_version"),
        ({"candidate_policy_version": " \t"}, "candidate_policy_version"),
        ({"candidate_policy_version": "x" * 201}, "candidate_policy_version"),
        ({"baseline_episode_ids": []}, "baseline_episode_ids"),
        ({"baseline_episode_ids": [""]}, "baseline_episode_ids"),
        ({"baseline_episode_ids": [7]}, "baseline_episode_ids"),
        ({"baseline_episode_ids": "a"}, "baseline_episode_ids"),
        ({"baseline_policy_version": "x" * 201}, "baseline_policy_version"),
        ({"name": "x" * 201}, "name"),
        ({"metadata": []}, "metadata"),
    ],
)
def test_a_create_that_is_wrong_is_400_and_names_the_field(api, body, field):
    answer = api.http.post(CREATE, json={"candidate_policy_version": "v2", "baseline_episode_ids": ["a"]} | body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "pending"}, "status"),
        ({"status": None}, "status"),
        ({"metrics": None}, "metrics"),
        ({"metrics": [1]}, "metrics"),
        ({"baseline_episode_id": "c"}, "baseline_episode_id"),
        ({"baseline_episode_id": None}, "baseline_episode_id"),
        ({"error": 5}, "error"),
    ],
)
def test_a_result_that_is_wrong_is_400_and_changes_nothing(api, body, field):
    run = create(api)
    answer = api.http.post(
        f"{CREATE}/{run}/result", json={"baseline_episode_id": "a", "status": "complete", "metrics": {}} | body
    )
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(field)
    assert finalize(api, run).json()["summary"]["reasons"] == ["2 of 2 baselines have no result."]


@pytest.mark.parametrize(
    ("field", "value"), [("metrics", '{"x": NaN}'), ("metrics", '{"x": "\\ud800"}'), ("error", '"\\ud800"')]
)
def test_what_could_not_be_stored_is_400(api, field, value):
    run = create(api)
    parts = {"baseline_episode_id": '"a"', "status": '"complete"', "metrics": "{}"} | {field: value}
    body = "{" + ", ".join(f'"{name}": {part}' for name, part in parts.items()) + "}"
    answer = api.http.post(f"{CREATE}/{run}/result", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(field)


def test_an_unknown_run_is_404(api):
    for answer in (push(api, "nope"), finalize(api, "nope")):
        assert answer.status_code == 404
        assert "eval run" in answer.json()["error"]


def test_a_link_to_a_candidate_episode_has_to_lead_somewhere(api):
    run = create(api)
    answer = push(api, run, candidate_episode_id="nowhere")
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("candidate_episode_id")
    episode = api.record(source="replay")
    assert push(api, run, candidate_episode_id=episode).status_code == 200


def test_a_repeated_result_replaces_the_first_and_keeps_its_id(api, database):
    run = create(api)
    first = push(api, run, "a", "failed", error="TypeError: no").json()
    assert (first["episodes_completed"], first["episodes_failed"]) == (0, 1)
    second = push(api, run, "a", "complete", {"reward_total_candidate": 1.5}).json()
    assert second["eval_result_id"] == first["eval_result_id"]
    assert (second["episodes_completed"], second["episodes_failed"]) == (1, 0)
    with database.read() as session:
        row = session.get(EvalResult, first["eval_result_id"])
        assert (row.status, row.metrics, row.error) == ("complete", {"reward_total_candidate": 1.5}, None)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_finalize_takes_how_the_run_ended(api, status):
    assert finalize(api, create(api), status=status).json()["status"] == status


@pytest.mark.parametrize("status", ["ready", "running", "", None, 1])
def test_any_other_end_is_400(api, status):
    run = create(api)
    answer = finalize(api, run, status=status)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("status")


def test_finalize_may_be_repeated_and_rolls_up_what_is_stored_by_then(api):
    run = create(api, ["a"], metadata={"one": 1, "two": 2})
    first = finalize(api, run, status="completed", metadata={"two": 22})
    assert first.json()["summary"]["recommend"] == "hold"
    push(api, run, "a", metrics={"success_baseline": True, "success_candidate": True})
    # Already before the repeat: what a page shows is of what is stored.
    assert api.http.get(f"/portal/evals/{run}.json").json()["run"]["summary"]["recommend"] == "ship"
    second = finalize(api, run, status="completed", metadata={"three": 3})
    assert second.json()["summary"]["recommend"] == "ship"
    assert api.http.get(f"/portal/evals/{run}.json").json()["run"]["metadata"] == {"one": 1, "two": 22, "three": 3}


def test_a_result_that_comes_after_the_end_does_not_reopen_the_run(api):
    run = create(api)
    finalize(api, run, status="cancelled")
    assert push(api, run).json()["run_status"] == "cancelled"


def test_results_from_many_workers_at_once_are_all_kept(api, deployment):
    baselines = [str(uuid.uuid4()) for _ in range(16)]
    run = create(api, baselines)
    headers = {"Authorization": f"Bearer {deployment.internal_key}"}
    failures = []
    start = threading.Barrier(len(baselines))

    def work(baseline):
        try:
            start.wait()
            body = {"baseline_episode_id": baseline, "status": "complete", "metrics": {}}
            url = f"{deployment.base_url}{CREATE}/{run}/result"
            httpx.post(url, json=body, headers=headers, timeout=60).raise_for_status()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(baseline,)) for baseline in baselines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert push(api, run, baselines[0]).json()["episodes_completed"] == len(baselines)
