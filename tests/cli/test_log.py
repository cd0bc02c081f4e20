"""``robotrace log``: one finished episode."""

import json

import pytest
from command_line import one_line
from wire_server import CREATE, EPISODE_ID, FINALIZE, Answer


def test_an_episode_is_logged_with_all_that_was_said(at, deployment, files, tmp_path):
    (tmp_path / "more.json").write_text('{"task": "place", "scene": {"cup": "é"}}')
    result = at(
        *("log", "--name", "pick 7", "--policy-version", "act-v7", "--env-version", "e1", "--git-sha", "abc"),
        *("--seed", "-7", "--robot", "arm-2", "--source", "sim", "--fps", "50", "--duration", "2.5"),
        *("--status", "failed", "--failure-time", "1.5"),
        *("--metadata", "task=pick", "--metadata", 'outcome={"success": false}', "--metadata", "n=7"),
        *("--metadata", "a=b=c", "--metadata", "empty=", "--metadata-file", str(tmp_path / "more.json")),
        *(text for kind, path in files.items() for text in (f"--{kind}", str(path))),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{deployment.url}/portal/episodes/{EPISODE_ID}\n"
    assert result.stderr == ""
    (create,) = deployment.received("POST", CREATE)
    (finalize,) = deployment.received("POST", FINALIZE)
    metadata = {
        "task": "pick",
        "scene": {"cup": "é"},
        "outcome": {"success": False},
        "n": 7,
        "a": "b=c",
        "empty": "",
    }
    assert {**create.json, "metadata": {}} == {
        "name": "pick 7",
        "policy_version": "act-v7",
        "env_version": "e1",
        "git_sha": "abc",
        "seed": -7,
        "robot": "arm-2",
        "source": "sim",
        "fps": 50.0,
        "request_uploads": ["video", "sensors", "actions"],
        "metadata": {},
    }
    assert {**create.json["metadata"], "client_episode_id": ""} == {**metadata, "client_episode_id": ""}
    sent = finalize.json
    assert (sent["status"], sent["duration_s"], sent["failure_time_s"]) == ("failed", 2.5, 1.5)
    assert sent["metadata"] == metadata
    for kind, path in files.items():
        assert deployment.received("PUT", f"/store/{kind}")[0].body == path.read_bytes()


def test_what_was_not_said_stays_empty(at, deployment):
    result = at("log", "--json")
    assert json.loads(result.stdout) == {
        "episode_id": EPISODE_ID,
        "status": "ready",
        "url": f"{deployment.url}/portal/episodes/{EPISODE_ID}",
    }
    (create,) = deployment.received("POST", CREATE)
    assert set(create.json) == {"source", "request_uploads", "metadata"}
    assert create.json["request_uploads"] == []


def test_the_variables_of_a_run_count_where_no_option_is_given(at, deployment):
    variables = {
        "ROBOTRACE_POLICY_VERSION": "p",
        "ROBOTRACE_ENV_VERSION": "e",
        "ROBOTRACE_GIT_SHA": "a",
        "ROBOTRACE_SEED": "7",
        "ROBOTRACE_ROBOT": "r",
    }
    assert at("log", "--robot", "mine", **variables).returncode == 0
    sent = deployment.received("POST", CREATE)[0].json
    fields = ("policy_version", "env_version", "git_sha", "seed", "robot")
    assert [sent[name] for name in fields] == ["p", "e", "a", 7, "mine"]


def test_metadata_comes_from_standard_input_too(at, deployment):
    assert at("log", "--metadata-file", "-", stdin='{"task": "pick"}').returncode == 0
    assert deployment.received("POST", CREATE)[0].json["metadata"]["task"] == "pick"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--metadata", "task"),
        ("--metadata", "=pick"),
        ("--metadata-file", "no-such-file.json"),
        ("--status", "recording"),
        ("--source", "dream"),
        ("--seed", "x"),
        ("--failure-time", "1"),
        ("rollout.mp4",),
    ],
)
def test_wrong_usage_is_exit_code_2_and_sends_nothing(at, deployment, arguments):
    assert at("log", *arguments).returncode == 2
    assert deployment.requests == []


@pytest.mark.parametrize("text", ["[1]", "{", "7"])
def test_a_metadata_file_holds_a_json_object(at, deployment, tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    result = at("log", "--metadata-file", str(tmp_path / "m.json"))
    assert result.returncode == 2
    assert "JSON" in result.stderr
    assert deployment.requests == []


def test_a_file_that_is_missing_or_of_the_wrong_kind_is_one_clear_line_before_a_row_is_open(at, deployment, files):
    assert "there is no file nowhere.mp4" in one_line(at("log", "--video", "nowhere.mp4"))
    assert ".mp4" in one_line(at("log", "--sensors", str(files["video"])))
    assert deployment.requests == []


def test_a_refusal_and_a_failed_upload_are_one_clear_line(at, deployment, files):
    deployment.on("PUT", "/store/video", Answer(500, {"error": "the disk is full"}))
    assert one_line(at("log", "--video", str(files["video"]))) == "robotrace: the disk is full"
    assert deployment.received("POST", FINALIZE)[0].json["status"] == "failed"
    deployment.on("POST", CREATE, Answer(401, {"error": "no such key"}))
    assert one_line(at("log")) == "robotrace: no such key"
