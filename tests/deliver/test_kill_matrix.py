"""A process killed at every step of recording and delivery; the next one brings every episode home, once."""

from __future__ import annotations

import collections
import os
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from deliver.producing import noted, record, start

from robotrace.config import Target
from robotrace.deliver import failpoints
from robotrace.deliver.failpoints import FAILPOINTS
from robotrace.deliver.files import read_json
from robotrace.deliver.spool import Spool, open_spool
from robotrace.deliver.uploader import Uploader
from robotrace.errors import ConfigurationError
from robotrace.testing import FakeClock, Fault, FaultServer

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "robotrace"


def happens(name: str, hit: int) -> bool:
    """Whether a step happens that often in the process to be killed."""
    once = name.startswith(("recording.", "failed.")) or name == "salvage.before_discard"
    return hit == 1 or not once


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def killed_before(tmp_path: Path) -> None:
    """A process that died before this one, with an episode open."""
    record(tmp_path / "spool", tmp_path / "log", "before", 1)


def refuse_one(server: FaultServer) -> None:
    """The third create is refused for good."""
    creates = iter(range(1000))

    def plan(method: str, path: str) -> Fault | None:
        if path.endswith("/episode") and next(creates) == 2:
            return Fault(400, {"error": "refused"})
        return None

    server.fault = plan


def bring_home(spool: Spool, server: FaultServer) -> None:
    clock = FakeClock()
    uploader = Uploader(spool, lambda: Target(server.url, "rt_key"), clock=clock, rng=random.Random(1))
    for _ in range(100):
        clock.now += max(61.0, uploader.run_once())
        if not spool.sealed_episodes() and not spool.recording_folders():
            break
    uploader._close()


def assert_each_is_there_once(spool: Spool, server: FaultServer, log: Path, prefixes: tuple[str, ...]) -> None:
    assert spool.sealed_episodes() == []
    assert spool.recording_folders() == []
    created = collections.Counter(stored.create["name"] for stored in server.episodes.values())
    assert set(created.values()) == {1}
    assert all(re.fullmatch(f"({'|'.join(prefixes)})-(\\d+|open)", name) for name in created)
    arrived = {stored.create["name"] for stored in server.episodes.values() if stored.finalize is not None}
    refused = {read_json(folder / "manifest.json")["create"]["name"] for folder in spool.failed_folders()}  # type: ignore[index]
    assert len(refused) <= 1
    assert arrived & refused == set()
    assert set(noted(log)) <= arrived | refused, "an episode that has ended is neither there nor refused"
    for stored in server.episodes.values():
        if stored.finalize is not None:
            assert {claim["kind"]: claim["sha256"] for claim in stored.finalize["artifacts"]} == stored.sha256
            told = [] if stored.create["name"].endswith("-open") else [{"verdict": "reproduced"}]
            assert stored.verdicts[:1] == told
            # Killed between the deployment's answer and the note of it, it is told again.
            assert stored.verdicts[1:] in ([], told)


def killed_in(root: Path, log: Path, server: FaultServer, name: str, hit: int, count: int, **more: str) -> None:
    """A process that records and uploads dies there, and what it left is brought home."""
    refuse_one(server)
    process = start(root, log, server.url, "run", count, ROBOTRACE_FAILPOINTS=f"{name}=kill@{hit}", **more)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"{name} was not reached a {hit}. time: {err}"
    spool = open_spool(root)
    bring_home(spool, server)
    spool.tidy()
    assert_each_is_there_once(spool, server, log, ("before", "run"))
    assert list(spool.trash.iterdir()) == []


@pytest.mark.usefixtures("killed_before")
@pytest.mark.parametrize(("name", "hit"), [(name, hit) for name in FAILPOINTS for hit in (1, 2) if happens(name, hit)])
def test_killed_at_any_step_nothing_is_lost_and_nothing_is_doubled(
    tmp_path: Path, server: FaultServer, name: str, hit: int
) -> None:
    killed_in(tmp_path / "spool", tmp_path / "log", server, name, hit, 3)


SEALING = [name for name in FAILPOINTS if name.startswith(("seal.", "state."))]


@pytest.mark.usefixtures("killed_before")
@pytest.mark.parametrize("name", SEALING)
def test_killed_in_the_middle_of_a_group_that_is_sealed_together(
    tmp_path: Path, server: FaultServer, name: str
) -> None:
    killed_in(tmp_path / "spool", tmp_path / "log", server, name, 5, 10, PRODUCE_TOGETHER="1")


@pytest.mark.usefixtures("killed_before")
@pytest.mark.parametrize("name", [*SEALING, "done.before_receipt", "done.after_receipt"])
def test_killed_where_nothing_is_synced(tmp_path: Path, server: FaultServer, name: str) -> None:
    killed_in(tmp_path / "spool", tmp_path / "log", server, name, 1, 3, ROBOTRACE_DURABILITY="process")


@pytest.mark.usefixtures("killed_before")
@pytest.mark.parametrize("action", ["raise", "enospc", "fork"])
def test_what_fails_or_forks_at_a_step_arrives_in_the_end(tmp_path: Path, server: FaultServer, action: str) -> None:
    root, log = tmp_path / "spool", tmp_path / "log"
    armed = ",".join(f"{name}={action}@1" for name in FAILPOINTS if name.startswith(("upload.", "done.", "state.")))
    process = start(root, log, server.url, "run", 3, ROBOTRACE_FAILPOINTS=armed)
    _, err = process.communicate(timeout=60)
    assert (process.returncode == 0) is (action == "fork"), err
    spool = open_spool(root)
    bring_home(spool, server)
    assert_each_is_there_once(spool, server, log, ("before", "run"))


def test_every_failpoint_that_is_named_is_somewhere_and_every_one_there_is_named() -> None:
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py") if path.name != "failpoints.py")
    assert set(re.findall(r'\breach\("([\w.]+)"\)', text)) == set(FAILPOINTS)


def test_what_is_no_failpoint_cannot_be_armed() -> None:
    for text in ("seal.befor_rename=kill", "seal.before_rename=explode", "seal.before_rename"):
        with pytest.raises(ConfigurationError, match="ROBOTRACE_FAILPOINTS"):
            failpoints.arm(text)
    failpoints.arm("")


def test_what_a_killed_process_left_half_made_is_deleted_once_it_is_a_minute_old(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    hidden = spool.recording / ".4711-1-abc"
    hidden.mkdir()
    (spool.trash / "half").mkdir()
    spool.tidy()
    assert hidden.is_dir()
    assert list(spool.trash.iterdir()) == []
    os.utime(hidden, (1, 1))
    spool.tidy()
    assert not hidden.exists()
