"""``robotrace replay`` and ``robotrace verify`` against a real deployment."""

import json
import signal
import subprocess
import sys
import uuid

import pytest

pytest.importorskip("numpy")
pytest.importorskip("fastapi")

import httpx
import numpy as np
from command_line import child_environment, one_line, robotrace
from polling import eventually
from replayed import RUN, script_evals, serve_baseline
from wire_server import API_KEY, Answer

from robotrace.client import Client
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

POLICY = """
import numpy as np

print("from the policy's module")

def good(row):
    print("from the policy")
    outcome = {"success": True, "reward_total": 2.0, "collision_count": 0}
    return {"action/value": row["observation/value"][:2], "_outcome": outcome}

def bad(row):
    return {"action/value": -row["observation/value"][:2], "_outcome": {"success": False, "collision_count": 1}}

def silent(row):
    return {"action/value": row["observation/value"][:2]}

def broken(row):
    raise RuntimeError("no weights")

def quits(row):
    raise SystemExit(0)

class Waits:
    def act(self, row):
        import pathlib, threading
        pathlib.Path("waiting").touch()
        threading.Event().wait(60)

waits = Waits().act
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory):
    with Deployment(Settings(tmp_path_factory.mktemp("deployment") / "data", port=0)) as running:
        yield running


@pytest.fixture
def here(tmp_path):
    """A working directory with a policy in it."""
    (tmp_path / "users_policy.py").write_text(POLICY)
    return tmp_path


@pytest.fixture
def at(deployment, here):
    """``robotrace`` in that directory, with that deployment."""

    def run(*arguments, **options):
        environment = {"ROBOTRACE_BASE_URL": deployment.base_url, "ROBOTRACE_API_KEY": deployment.internal_key}
        return robotrace(*arguments, **{"cwd": here, **environment, **options})

    return run


@pytest.fixture
def baseline(deployment, tmp_path):
    """Logs an episode of 8 steps that went well; returns its id."""

    def log():
        observations = np.arange(24.0).reshape(8, 3)
        clock = np.arange(8) * 20_000_000
        np.savez(tmp_path / "s.npz", **{"observation/value": observations, "observation/_t_ns": clock})
        np.savez(tmp_path / "a.npz", **{"action/value": observations[:, :2], "action/_t_ns": clock})
        with Client(base_url=deployment.base_url, api_key=deployment.internal_key) as client:
            return client.log_episode(
                sensors=tmp_path / "s.npz",
                actions=tmp_path / "a.npz",
                metadata={"outcome": {"success": True, "reward_total": 1.0, "collision_count": 0}},
            ).id

    return log


def replay(function, *ids):
    version = f"act-{uuid.uuid4()}"
    policy = ("--policy", f"users_policy:{function}", "--candidate-version", version)
    return ("replay", "run", *policy, "--baseline-episodes", *ids)


# --- replay run


def test_a_candidate_that_is_no_worse_may_ship(at, baseline, deployment):
    first, second = baseline(), baseline()
    result = at(*replay("good", first, second), "--name", "nightly", "--baseline-version", "act-v7")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert any(line.startswith(f"[1/2] {first}  complete  success yes (claimed)") for line in lines)
    assert any(line.startswith(f"[2/2] {second}  complete") for line in lines)
    assert "2 of 2 replays complete, 0 failed" in lines
    assert next(line for line in lines if line.startswith("reward_mean")).split()[1:] == ["1", "2", "1", "better", "2"]
    assert next(line for line in lines if line.startswith("success_rate")).split()[1:] == ["1", "1", "0", "equal", "2"]
    assert next(line for line in lines if line.startswith("time_to_goal_s")).split()[1:] == ["-", "-", "-", "-", "0"]
    assert "outcomes of the candidate that are the policy's own claim: 2" in lines
    assert "recommendation: ship" in lines
    assert httpx.get(lines[-1]).status_code == 200
    assert lines[-1].startswith(f"{deployment.base_url}/portal/evals/")


def test_as_json_there_is_one_document_and_what_the_policy_prints_goes_to_stderr(at, baseline):
    episode = baseline()
    result = at(*replay("good", episode), "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert set(document) == {
        "eval_run_id",
        "status",
        "candidate_policy_version",
        "baseline_policy_version",
        "results",
        "summary",
        "url",
    }
    (row,) = document["results"]
    assert (row["baseline_episode_id"], row["status"], row["error"]) == (episode, "complete", None)
    assert row["metrics"]["action_l2_distance"] == 0.0
    assert document["summary"]["recommend"] == "ship"
    assert "from the policy's module" in result.stderr
    assert "from the policy\n" in result.stderr
    assert f"[1/1] {episode}" in result.stderr


def test_a_candidate_that_is_worse_is_held_with_the_reasons(at, baseline):
    result = at(*replay("bad", baseline()))
    assert result.returncode == 1
    assert "recommendation: hold" in result.stdout
    assert "\n- " in result.stdout.partition("recommendation: hold")[2]


def test_a_candidate_without_an_outcome_of_its_own_is_held(at, baseline):
    result = at(*replay("silent", baseline()))
    assert result.returncode == 1
    assert "complete  success -  action distance 0" in result.stdout
    assert "recommendation: hold" in result.stdout


def test_episodes_come_from_a_file_with_comments_and_addresses(at, baseline, here, deployment):
    first, second = baseline(), baseline()
    address = f"{deployment.base_url}/portal/episodes/{second}?t=40ms"
    text = f"{first}  # the cup\n\n# golden\n{address}\n{first}\n"
    (here / "golden.txt").write_text(text, encoding="utf-8-sig")  # as Windows' editors do
    document = json.loads(at(*replay("good", "@golden.txt", first), "--json").stdout)
    assert [row["baseline_episode_id"] for row in document["results"]] == [first, second]
    document = json.loads(at(*replay("good", "@-"), "--json", stdin=f"{second}\n").stdout)
    assert [row["baseline_episode_id"] for row in document["results"]] == [second]


def test_an_episode_that_is_not_there_is_a_failed_row_and_the_others_go_on(at, baseline):
    missing, there = str(uuid.uuid4()), baseline()
    result = at(*replay("good", missing, there))
    assert result.returncode == 1
    assert f"[1/2] {missing}  failed: " in result.stdout
    assert f"[2/2] {there}  complete" in result.stdout
    assert "1 of 2 replays complete, 1 failed" in result.stdout


def test_a_policy_that_raises_is_a_failed_row(at, baseline):
    result = at(*replay("broken", baseline()))
    assert result.returncode == 1
    assert "failed: RuntimeError: no weights" in result.stdout


def test_a_policy_that_ends_the_program_passes_nothing_and_leaves_no_run_open(at, baseline, deployment):
    name = f"quits {uuid.uuid4()}"
    result = at(*replay("quits", baseline()), "--name", name, "--json")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith("robotrace: the policy ended the program: SystemExit: 0 (")
    assert "users_policy.py" in result.stderr
    runs = httpx.get(f"{deployment.base_url}/portal/evals.json").json()["runs"]
    assert [run["status"] for run in runs if run["name"] == name] == ["cancelled"]


def test_a_replay_that_the_deployment_never_got_is_no_reason_to_ship(server, at):
    script_evals(server)
    serve_baseline(server)
    server.on("POST", f"{RUN}/run_1/finalize", Answer(200, {"status": "completed", "summary": {"recommend": "ship"}}))
    there = {"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": API_KEY}
    assert at(*replay("silent", "base_1"), **there).returncode == 0
    server.on("POST", f"{RUN}/run_1/result", Answer(400, {"error": "odd"}))
    result = at(*replay("silent", "base_1"), **there)
    assert result.returncode == 1
    assert "ends without the results of 1 of its baselines: base_1" in result.stderr


def test_a_dry_run_stores_nothing_and_fails_only_when_a_replay_does(at, baseline, deployment):
    episode = baseline()

    def stored():
        return [
            httpx.get(f"{deployment.base_url}/portal/{name}.json?limit=200").json() for name in ("episodes", "evals")
        ]

    before = stored()
    result = at(*replay("bad", episode), "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "dry run: nothing was stored" in result.stdout
    document = json.loads(at(*replay("bad", episode), "--dry-run", "--json").stdout)
    assert (document["eval_run_id"], document["summary"], document["url"]) == (None, None, None)
    assert at(*replay("broken", episode), "--dry-run").returncode == 1
    assert stored() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "run", "--policy", "users_policy", "--candidate-version", "v", "--baseline-episodes", "a"),
        ("replay", "run", "--policy", "users_policy:good", "--candidate-version", "v", "--baseline-episodes"),
        ("replay", "run", "--policy", "users_policy:good", "--candidate-version", "v"),
        ("replay", "run", "--policy", "users_policy:good", "--baseline-episodes", "a"),
        (*replay("good", "@no-such-file.txt"),),
        (*replay("good", "@empty.txt"),),
        (*replay("good", "@"),),
        ("verify", "check"),
        ("verify", "check", "--candidate", "v", "--dry-run"),
        ("verify", "promote", "ep_1", "--severity", "fatal"),
    ],
)
def test_wrong_usage_is_exit_code_2(at, here, arguments):
    (here / "empty.txt").write_text("# nothing\n")
    result = at(*arguments)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""


def test_a_policy_that_cannot_be_imported_is_one_clear_line(at):
    result = at("verify", "check", "--candidate", "v", "--policy", "users_absent:act")
    assert one_line(result).startswith("robotrace: importing 'users_absent' failed: ModuleNotFoundError")
    result = at(*replay("absent", "ep_1"), "--json")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == "robotrace: 'users_policy' has no 'absent'"


def test_ctrl_c_ends_the_run_as_cancelled(baseline, deployment, here):
    environment = {"ROBOTRACE_BASE_URL": deployment.base_url, "ROBOTRACE_API_KEY": deployment.internal_key}
    name = f"interrupted {uuid.uuid4()}"
    with subprocess.Popen(
        [sys.executable, "-m", "robotrace", *replay("waits", baseline()), "--name", name],
        env=child_environment(environment),
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        eventually(lambda: (here / "waiting").exists() or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1
        assert process.stderr.read().splitlines()[-1] == "robotrace: interrupted"
    runs = httpx.get(f"{deployment.base_url}/portal/evals.json").json()["runs"]
    assert [run["status"] for run in runs if run["name"] == name] == ["cancelled"]


# --- verify


def test_without_a_critical_scenario_nothing_was_checked_and_that_is_said(at):
    result = at("verify", "check", "--candidate", "act-v8")
    assert result.returncode == 0
    assert "passed: 0 of 0 critical scenarios" in result.stdout
    assert result.stderr == "robotrace: no critical scenario: nothing was checked\n"


def test_the_gate_blocks_until_the_candidate_has_passed_every_critical_scenario(at, baseline, deployment):
    episode = baseline()
    promoted = at("verify", "promote", f"{deployment.base_url}/portal/episodes/{episode}", "--severity", "critical")
    assert promoted.returncode == 0, promoted.stderr
    assert promoted.stdout.endswith(f": critical, episode {episode}\n")
    named = at("verify", "promote", episode, "--severity", "critical", "--name", "cup near the edge", "--json")
    assert json.loads(named.stdout)["scenario_id"] == promoted.stdout.split()[1].rstrip(":")

    candidate = f"act-{uuid.uuid4()}"
    check = ("verify", "check", "--candidate", candidate)
    pending = at(*check)
    assert pending.returncode == 1
    assert "blocked: 0 of 1 critical scenarios passed, 0 failed, 1 pending" in pending.stdout
    assert "cup near the edge" in pending.stdout.partition("blocked:")[2]
    assert "--policy MODULE:FN" in pending.stderr

    dry = at(*check, "--policy", "users_policy:good", "--dry-run")
    assert dry.returncode == 1
    assert dry.stdout.splitlines()[-1] == f"- {episode}  pass"
    assert "1 pending" in at(*check).stdout
    unknown = at(*check, "--policy", "users_policy:silent")
    assert unknown.returncode == 1
    assert "unknown" in unknown.stdout

    quits = at(*check, "--policy", "users_policy:quits")
    assert quits.returncode == 1
    assert quits.stderr.startswith("robotrace: the policy ended the program: SystemExit: 0 (")

    passed = at(*check, "--policy", "users_policy:good")
    assert passed.returncode == 0, passed.stderr
    assert "pass (claimed)" in passed.stdout
    assert passed.stderr.startswith(f"[1] {episode}  complete  success yes (claimed)")
    assert at("verify", "check", "--candidate-version", candidate).returncode == 0

    document = json.loads(at("verify", "check", "--candidate", f"{candidate}-b", "--json").stdout)
    assert (document["passed"], document["critical_pending"]) == (False, 1)
    failed = at("verify", "check", "--candidate", f"{candidate}-b", "--policy", "users_policy:bad")
    assert failed.returncode == 1
    assert "blocked: 0 of 1 critical scenarios passed, 1 failed, 0 pending" in failed.stdout


def test_an_episode_that_is_not_there_cannot_be_promoted(at):
    assert "episode" in one_line(at("verify", "promote", str(uuid.uuid4())))
