"""``robotrace status`` in a process, against servers that answer as told and the real deployment."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from command_line import one_line, robotrace
from wire_server import API_KEY, Answer, WireServer

from robotrace.cli.status import _age
from robotrace.config import credentials_path
from robotrace.credentials import write_profile
from robotrace.deliver.files import try_lock
from robotrace.deliver.spool import find_spool, open_spool
from robotrace.testing.episodes import seal_one

QUESTION = "/api/episodes/00000000-0000-0000-0000-000000000000"
NOT_FOUND = Answer(404, {"error": "no such episode"})


def status(*arguments: str, **environment: str) -> dict[str, object]:
    result = robotrace("status", "--json", *arguments, **environment)
    assert (result.returncode, result.stderr) == (0, "")
    found: dict[str, object] = json.loads(result.stdout)
    return found


def configured(server: WireServer) -> dict[str, str]:
    return {"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": API_KEY}


def test_nothing_configured_and_nothing_recorded_is_fine_and_stays_so() -> None:
    assert status("--check") == {
        "mode": "online",
        "recording": True,
        "profile": None,
        "base_url": None,
        "base_url_source": None,
        "api_key_prefix": None,
        "api_key_source": None,
        "deployment": {"state": "none", "detail": None},
        "spool": {
            "path": str(find_spool().root),
            **{name: {"count": 0, "bytes": 0, "oldest_unix_s": None} for name in ("recording", "waiting")},
            **{name: {"count": 0, "bytes": 0, "oldest_unix_s": None} for name in ("uploading", "failed")},
            "last_error": None,
            "uploader_running": False,
            "uploader": None,
            "done": 0,
        },
        "problems": [],
    }
    assert not find_spool().root.exists()
    assert not credentials_path().parent.exists()


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (NOT_FOUND, "ok"),
        (Answer(200, {"episode_id": "?"}), "ok"),
        (Answer(401, {"error": "who?"}), "key refused"),
        (Answer(403, {"error": "no"}), "key refused"),
        (Answer(503, b"<html>"), "failing"),
        (Answer(404, b"<html>"), "unexpected"),
        (Answer(302, b"", {"Location": "/login"}), "unexpected"),
        (Answer(200, b"<html>"), "unexpected"),
        (Answer(cut=True), "unreachable"),
    ],
)
def test_the_deployment_is_asked_one_question(server: WireServer, answer: Answer, state: str) -> None:
    server.on("GET", QUESTION, answer)
    found = status(**configured(server))
    assert found["deployment"]["state"] == state  # type: ignore[index]
    assert bool(found["problems"]) is (state != "ok")
    assert [request.method for request in server.requests] == ["GET"]
    assert server.requests[0].header("authorization") == f"Bearer {API_KEY}"
    checked = robotrace("status", "--check", **configured(server))
    assert checked.returncode == (0 if state == "ok" else 1)
    assert state in checked.stdout
    assert API_KEY not in checked.stdout + json.dumps(found)


def test_nobody_there_is_an_answer_with_its_cause() -> None:
    found = status("--base-url", "http://127.0.0.1:9", ROBOTRACE_API_KEY=API_KEY)
    assert found["base_url_source"] == "argument"
    assert found["deployment"]["state"] == "unreachable"  # type: ignore[index]
    assert "127.0.0.1:9 could not be reached" in str(found["problems"])


def test_the_real_deployment_answers_and_refuses_a_key_it_does_not_know(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    from robotrace.serve.server import Deployment
    from robotrace.serve.settings import Settings

    with Deployment(Settings(tmp_path / "data", port=0)) as deployment:
        key = deployment.first_key
        assert key is not None
        found = status(ROBOTRACE_BASE_URL=deployment.base_url, ROBOTRACE_API_KEY=key)
        assert (found["deployment"], found["problems"]) == ({"state": "ok", "detail": None}, [])
        assert found["api_key_prefix"] == key[:13]
        found = status(ROBOTRACE_BASE_URL=deployment.base_url, ROBOTRACE_API_KEY=API_KEY)
        assert found["deployment"]["state"] == "key refused"  # type: ignore[index]


def test_half_a_configuration_is_said_and_not_an_end(server: WireServer) -> None:
    found = status(ROBOTRACE_BASE_URL=server.url)
    assert found["deployment"]["state"] == "configuration"  # type: ignore[index]
    assert "no API key" in str(found["problems"])
    write_profile(credentials_path(), "my lab", {"api_key": API_KEY, "base_url": server.url})
    assert "'my lb'" in str(status("--profile", "my lb")["problems"])
    credentials_path().chmod(0o644)
    assert "chmod 600" in str(status("--profile", "my lab")["problems"])
    assert server.requests == []


@pytest.mark.parametrize("key", [{}, {"ROBOTRACE_API_KEY": API_KEY}])
def test_a_password_in_the_address_is_not_shown(key: dict[str, str]) -> None:
    for url in ("http://user:canary@127.0.0.1:9", "ftp://user:canary@host"):
        shown = robotrace("status", **key, ROBOTRACE_BASE_URL=url).stdout
        assert "no valid URL  (ROBOTRACE_BASE_URL)" in shown
        found = status(**key, ROBOTRACE_BASE_URL=url)
        assert (found["base_url"], found["base_url_source"]) == (None, "environment")
        assert "canary" not in shown + str(found)


def test_a_profile_is_named(server: WireServer) -> None:
    server.on("GET", QUESTION, NOT_FOUND)
    write_profile(credentials_path(), "my lab", {"api_key": API_KEY, "base_url": server.url})
    found = status("--profile", "my lab")
    assert (found["profile"], found["api_key_source"], found["base_url_source"]) == ("my lab", "file", "file")
    assert found["problems"] == []


def test_the_spool_is_shown_by_state(server: WireServer) -> None:
    server.on("GET", QUESTION, NOT_FOUND)
    spool = open_spool()
    entry = seal_one(spool)
    spool.fail(seal_one(spool), "create: HTTP 400")
    entry.write_upload_state({"attempts": 1, "last_error": "create: \x1b[2J HTTP 503"})
    result = robotrace("status", "--check", **configured(server))
    assert result.returncode == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["recording", "0"] in lines
    assert next(line for line in lines if line[0] == "waiting")[1] == "1"
    assert next(line for line in lines if line[0] == "failed")[1] == "1"
    assert ["uploader", "not", "running"] in lines
    assert "1 episode refused for good" in result.stdout
    assert "\x1b" not in result.stdout


def test_what_waits_for_nobody_is_a_problem() -> None:
    spool = open_spool()
    seal_one(spool)
    assert "nothing takes them" in str(status()["problems"])
    lock = try_lock(spool.uploader_lock)
    assert lock is not None
    found = status()
    assert found["problems"] == []
    assert found["spool"]["uploader_running"] is True  # type: ignore[index]
    os.close(lock)


def test_modes_are_shown_and_a_wrong_one_is_one_clear_line() -> None:
    found = status(ROBOTRACE_MODE="disabled")
    assert (found["mode"], found["recording"]) == ("disabled", False)
    assert status(ROBOTRACE_ENABLED="0")["recording"] is False
    assert "ROBOTRACE_MODE" in one_line(robotrace("status", ROBOTRACE_MODE="of line"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (59.9, "60 s"), (60, "1 min"), (7300, "2 h"), (1e6, "11 d")]
)
def test_ages(seconds: float, text: str) -> None:
    assert _age(seconds) == text


def test_an_age_is_of_now() -> None:
    spool = open_spool()
    owned = spool.new_recording_folder()
    began = int(owned.path.name.split("-")[1])
    assert time.time() - 120 < began <= time.time()
    assert "1 process" in robotrace("status").stdout
    os.close(owned.lock)
