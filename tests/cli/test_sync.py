"""``sync``, ``retry``, ``clean`` and ``doctor``: the spool from the shell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from command_line import child_environment, robotrace
from polling import eventually

from robotrace.deliver.blocks import BlockFile
from robotrace.deliver.files import try_lock
from robotrace.deliver.spool import Spool, open_spool
from robotrace.testing import Fault, FaultServer
from robotrace.testing.episodes import seal_one, write_episode

KEY = "rt_0123456789_canary"


@pytest.fixture
def spool() -> Spool:
    return open_spool()


@pytest.fixture
def deployed() -> Iterator[FaultServer]:
    with FaultServer(api_key=KEY) as server:
        yield server


def variables(server: FaultServer) -> dict[str, str]:
    return {"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": KEY}


def test_sync_delivers_what_waits_and_what_a_killed_process_left(spool: Spool, deployed: FaultServer) -> None:
    entries = [seal_one(spool) for _ in range(3)]
    owned = spool.new_recording_folder()
    file = BlockFile(owned.path / "blocks-0001.rtb")
    killed = write_episode(file, ended=False)
    file.close()
    os.close(owned.lock)
    result = robotrace("sync", "--json", **variables(deployed))
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["delivered"], told["salvaged"], told["failed"], told["waiting"]) == (4, 1, 0, 0)
    assert told["bytes"] == sum(sum(stored.sizes.values()) for stored in deployed.episodes.values())
    assert set(deployed.episodes) == {killed.uuid, *(entry.uuid for entry in entries)}
    assert json.loads(robotrace("sync", "--json", **variables(deployed)).stdout)["delivered"] == 0


def test_sync_ends_with_1_where_the_deployment_is_down_and_says_why(spool: Spool, deployed: FaultServer) -> None:
    seal_one(spool)
    deployed.fault = lambda method, path: Fault(503, {"error": "closed for lunch"})
    result = robotrace("sync", **variables(deployed))
    assert result.returncode == 1
    assert "0 episodes delivered" in result.stdout
    assert "1 episode still waiting: create: closed for lunch" in result.stdout
    assert spool.counts().sealed == 1


def test_sync_ends_with_1_where_an_episode_was_refused_and_retry_brings_it_back(
    spool: Spool, deployed: FaultServer
) -> None:
    entry = seal_one(spool)
    deployed.fault = lambda method, path: Fault(400, {"error": "no such seed"})
    result = robotrace("sync", **variables(deployed))
    assert result.returncode == 1
    assert "1 episode refused for good" in result.stdout
    listed = json.loads(robotrace("retry", "--json").stdout)["failed"]
    assert [(item["uuid"], item["reason"]) for item in listed] == [(entry.uuid, "create: no such seed")]
    assert "no such seed" in robotrace("retry").stdout
    assert robotrace("retry", "zzz").returncode == 2
    assert json.loads(robotrace("retry", entry.uuid[:8], "--json").stdout)["retried"] == [entry.uuid]
    deployed.fault = lambda method, path: None
    assert robotrace("sync", **variables(deployed)).returncode == 0
    assert list(deployed.episodes) == [entry.uuid]


def test_a_damaged_episode_is_not_tried_again(spool: Spool) -> None:
    entry = seal_one(spool)
    spool.fail(entry, "the manifest is missing or damaged")
    (spool.failed / entry.uuid / "manifest.json").unlink()
    result = robotrace("retry", "--all")
    assert result.returncode == 1
    assert "has no manifest" in result.stderr
    assert (spool.failed / entry.uuid).is_dir()


def test_sync_without_a_deployment_is_one_clear_line(spool: Spool) -> None:
    result = robotrace("sync")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "robotrace login" in line


def test_sync_leaves_the_uploading_to_the_process_that_has_the_lock(spool: Spool, deployed: FaultServer) -> None:
    seal_one(spool)
    lock = try_lock(spool.uploader_lock)
    assert lock is not None
    spool.uploader_file.write_text('{"pid": 4711, "paused": true}')
    result = robotrace("sync", **variables(deployed))
    os.close(lock)
    assert result.returncode == 1
    assert "process 4711 uploads on this machine" in result.stderr
    assert deployed.episodes == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sync_watch_delivers_until_it_is_stopped(spool: Spool, deployed: FaultServer, number: int) -> None:
    command = [sys.executable, "-m", "robotrace", "sync", "--watch", "--json"]
    watching = subprocess.Popen(
        command, env=child_environment(variables(deployed)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        entries = [seal_one(spool)]
        eventually(lambda: len(deployed.episodes) == 1)
        entries.append(seal_one(spool))
        eventually(lambda: spool.counts().done == 2)
        watching.send_signal(number)
        out, err = watching.communicate(timeout=60)
    finally:
        watching.kill()
    assert watching.returncode == 0, err
    told = [json.loads(line) for line in out.splitlines()]
    assert [(item["uuid"], item["state"]) for item in told] == [(entry.uuid, "delivered") for entry in entries]
    assert KEY not in out + err


def test_clean_gives_back_what_nobody_needs_and_asks_before_it_deletes_an_episode(spool: Spool) -> None:
    waiting, refused = seal_one(spool), seal_one(spool)
    spool.fail(refused, "no")
    (spool.trash / "half").mkdir()
    assert robotrace("clean").returncode == 0
    assert list(spool.trash.iterdir()) == []
    assert spool.counts().failed == spool.counts().sealed == 1
    asked = robotrace("clean", "--failed", stdin="n\n")
    assert asked.returncode == 1
    assert "Delete 1 episode" in asked.stderr
    assert spool.counts().failed == 1
    assert robotrace("clean", "--failed", "--older-than", "1", "--yes").returncode == 0
    assert spool.counts().failed == 1
    assert json.loads(robotrace("clean", "--failed", "--yes", "--json").stdout)["episodes"] == 1
    assert spool.counts().failed == 0
    assert waiting.folder.is_dir()
    assert robotrace("clean", "--waiting", "--yes").returncode == 0
    assert spool.counts().sealed == 0


def test_doctor_looks_at_every_part_and_names_what_is_wrong(spool: Spool, deployed: FaultServer) -> None:
    result = robotrace("doctor", "--json", **variables(deployed))
    checks = {item["check"]: item for item in json.loads(result.stdout)["checks"]}
    assert {"recording", "settings", "spool", "room", "locks", "renames", "waiting", "deployment"} <= checks.keys()
    assert checks["locks"]["state"] == checks["renames"]["state"] == checks["deployment"]["state"] == "ok"
    assert result.returncode == (1 if any(item["state"] == "wrong" for item in checks.values()) else 0)
    spool.fail(seal_one(spool), "no")
    result = robotrace("doctor", ROBOTRACE_KEEP_FREE_GB="1e9", **variables(deployed))
    assert result.returncode == 1
    assert "stay free" in result.stdout
    assert "`robotrace retry` lists them" in result.stdout
    assert "ROBOTRACE_UPLOAD_LIMIT_MB_S" in robotrace("doctor", ROBOTRACE_UPLOAD_LIMIT_MB_S="fast").stdout


def test_status_shows_what_the_uploader_says_of_itself(spool: Spool, deployed: FaultServer) -> None:
    seal_one(spool)
    assert robotrace("sync", **variables(deployed)).returncode == 0
    found = json.loads(robotrace("status", "--json").stdout)["spool"]
    assert (found["done"], found["uploader"]["uploaded"], found["uploader_running"]) == (1, 1, False)
