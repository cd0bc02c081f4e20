"""``robotrace.testing`` as users' tests use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from robotrace.testing import Fault, FaultServer, temporary_spool


def test_a_temporary_spool_is_the_processes_for_its_time_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_BASE_URL", "http://127.0.0.1:9")
    before = {name: value for name, value in os.environ.items() if name.startswith("ROBOTRACE_")}
    with temporary_spool() as spool:
        assert "ROBOTRACE_BASE_URL" not in os.environ
        added = spool.add_episode(video=b"v")
        (episode,) = spool.episodes()
        assert episode == added
        assert episode.finalize["status"] == "ready"
        assert set(episode.files) == {"video", "sensors", "actions"}
        root = spool.root
    assert not root.exists()
    assert {name: value for name, value in os.environ.items() if name.startswith("ROBOTRACE_")} == before


USERS_TEST = """
pytest_plugins = ["robotrace.testing.fixtures"]

import robotrace

def test_my_robot_records(robotrace_spool):
    with robotrace.record(policy_version="v1") as episode:
        for step in range(3):
            episode.step(observation=[1.0], action=[0.0], t=step / 10)
    (recorded,) = robotrace_spool.episodes()
    assert recorded.create["policy_version"] == "v1"

def test_my_robot_delivers(robotrace_deployment):
    with robotrace.record() as episode:
        episode.step(observation=[1.0], action=[0.0], t=0.0)
    assert robotrace.flush(30)
    (stored,) = robotrace_deployment.episodes.values()
    assert stored.finalize["status"] == "ready"
    assert stored.sizes.keys() == {"sensors", "actions"}
"""


def test_the_fixtures_serve_a_users_own_tests(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    pytest.importorskip("av")
    (tmp_path / "test_mine.py").write_text(USERS_TEST)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_server_refuses_a_key_it_does_not_know_and_takes_an_episode_once() -> None:
    body = {"source": "sim", "request_uploads": ["sensors"]}
    with FaultServer(api_key="rt_1") as server:
        url = f"{server.url}/api/ingest/episode"
        assert httpx.post(url, json=body).status_code == 401
        headers = {"Authorization": "Bearer rt_1", "Idempotency-Key": "k"}
        first, second = (httpx.post(url, json=body, headers=headers).json() for _ in range(2))
        assert first["episode_id"] == second["episode_id"]
        put = first["upload_urls"][0]["url"]
        assert httpx.put(put, content=b"abc").status_code == 200
        assert httpx.put(put.replace("signature=", "signature=0"), content=b"abc").status_code == 403
        server.clock = lambda: 1e11
        assert "Request has expired" in httpx.put(put, content=b"abc").text
        finalize = f"{url}/{first['episode_id']}/finalize"
        wrong = {"status": "ready", "artifacts": [{"kind": "sensors", "size": 3, "sha256": "0"}]}
        assert httpx.post(finalize, json=wrong, headers=headers).status_code == 409
        assert httpx.post(finalize, json={"status": "ready"}, headers=headers).json()["status"] == "ready"
        assert httpx.post(finalize, json={"status": "failed"}, headers=headers).json()["status"] == "ready"
        assert httpx.put(put, content=b"other").status_code == 403
        (stored,) = server.episodes.values()
        assert (stored.creates, stored.finalizes, stored.uploads) == (2, 2, {"sensors": b"abc"})


def test_a_silent_server_can_be_closed() -> None:
    server = FaultServer()
    server.fault = lambda method, path: Fault(kind="silent")
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{server.url}/x", timeout=0.2)
    server.close()
