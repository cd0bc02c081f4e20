from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
from collections.abc import Iterator

import pytest
from polling import eventually

from robotrace.config import Target
from robotrace.deliver import uploader as uploaders
from robotrace.deliver.blocks import BlockFile
from robotrace.deliver.files import try_lock
from robotrace.deliver.spool import SealedEpisode, Spool
from robotrace.deliver.uploader import Uploader
from robotrace.testing import FakeClock, Fault, FaultServer
from robotrace.testing.episodes import seal_one, write_episode


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def uploader(spool: Spool, server: FaultServer, clock: FakeClock) -> Iterator[Uploader]:
    uploader = Uploader(spool, lambda: Target(server.url, "rt_key"), clock=clock, rng=random.Random(7))
    yield uploader
    uploader._close()


def test_one_round_delivers_everything_failed_episodes_first(
    spool: Spool, server: FaultServer, uploader: Uploader
) -> None:
    normal, failed = seal_one(spool), seal_one(spool, status="failed")
    uploader.run_once()
    assert list(server.episodes) == [failed.uuid, normal.uuid]
    assert uploader.counts.uploaded == 2
    assert spool.counts().sealed == 0


def test_an_outage_is_one_warning_and_ends_by_itself(
    spool: Spool, server: FaultServer, uploader: Uploader, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    entry = seal_one(spool)
    server.fault = lambda method, path: Fault(503, {"error": "down"})
    for _ in range(20):
        clock.now += uploader.run_once()
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert uploader.counts.retried > 1
    server.fault = lambda method, path: None
    clock.now += 300
    uploader.run_once()
    assert list(server.episodes) == [entry.uuid]


def test_nothing_is_sent_before_the_backoff_is_over(
    spool: Spool, server: FaultServer, uploader: Uploader, clock: FakeClock
) -> None:
    seal_one(spool)
    server.fault = lambda method, path: Fault(503, {})
    delay = uploader.run_once()
    asked = len(server.requests)
    clock.now += delay / 2
    uploader.run_once()
    assert len(server.requests) == asked
    clock.now += delay
    uploader.run_once()
    assert len(server.requests) == asked + 1


def test_a_refused_episode_does_not_hold_up_the_others(spool: Spool, server: FaultServer, uploader: Uploader) -> None:
    bad, good = seal_one(spool, status="failed"), seal_one(spool)
    refused = [True]

    def refuse_first(method: str, path: str) -> Fault | None:
        return Fault(400, {"error": "no"}) if refused and refused.pop() else None

    server.fault = refuse_first
    uploader.run_once()
    assert list(server.episodes) == [good.uuid]
    assert (spool.failed / bad.uuid).exists()


def test_a_refused_key_pauses_until_the_credentials_change(
    spool: Spool, server: FaultServer, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    entry = seal_one(spool)
    target = [Target(server.url, "rt_old")]
    uploader = Uploader(spool, lambda: target[0], clock=clock)
    server.fault = lambda method, path: Fault(401, {"error": "unknown API key"})
    uploader.run_once()
    uploader.run_once()
    assert len(server.requests) == 1
    assert "refused the API key" in caplog.text
    assert "rt_old" not in caplog.text
    server.fault = lambda method, path: None
    target[0] = Target(server.url, "rt_new")
    uploader.run_once()
    assert list(server.episodes) == [entry.uuid]
    uploader._close()


@pytest.mark.parametrize("answer", [Fault(404, {"error": "no such route"}), Fault(302), Fault(200, {"hello": "world"})])
def test_what_is_no_deployment_pauses_everything_and_refuses_nothing(
    spool: Spool,
    server: FaultServer,
    uploader: Uploader,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    answer: Fault,
) -> None:
    entries = [seal_one(spool) for _ in range(3)]
    server.fault = lambda method, path: answer
    for _ in range(5):
        clock.now += uploader.run_once()
    assert len(server.requests) == 1
    assert caplog.text.count("no RoboTrace deployment") == 1
    assert spool.counts().failed == 0
    server.fault = lambda method, path: None
    clock.now += 600
    uploader.run_once()
    assert set(server.episodes) == {entry.uuid for entry in entries}


def test_an_artifact_that_is_gone_does_not_hold_up_the_others(
    spool: Spool, server: FaultServer, uploader: Uploader
) -> None:
    damaged, good = seal_one(spool, status="failed"), seal_one(spool)
    (damaged.folder / "sensors.npz").unlink()
    uploader.run_once()
    assert server.episodes[good.uuid].finalize is not None
    assert "sensors.npz" in (spool.failed / damaged.uuid / "reason.txt").read_text()


def test_a_refused_key_is_tried_again_after_ten_minutes(
    spool: Spool, server: FaultServer, uploader: Uploader, clock: FakeClock
) -> None:
    seal_one(spool)
    server.fault = lambda method, path: Fault(403, {})
    uploader.run_once()
    server.fault = lambda method, path: None
    clock.now += 599
    uploader.run_once()
    assert server.episodes == {}
    clock.now += 2
    uploader.run_once()
    assert len(server.episodes) == 1


def test_only_one_uploader_of_a_host_works_and_the_other_takes_over(
    spool: Spool, server: FaultServer, uploader: Uploader, clock: FakeClock
) -> None:
    uploader.run_once()
    second = Uploader(spool, lambda: Target(server.url, "rt_key"), clock=clock)
    seal_one(spool)
    second.run_once()
    assert server.episodes == {}
    uploader._close()
    second.run_once()
    assert len(server.episodes) == 1
    second._close()


def test_a_killed_process_is_salvaged_at_the_start_and_delivered(
    spool: Spool, server: FaultServer, uploader: Uploader
) -> None:
    owned = spool.new_recording_folder()
    file = BlockFile(owned.path / "blocks-0001.rtb")
    parts = write_episode(file)
    file.close()
    os.close(owned.lock)
    uploader.run_once()
    assert list(server.episodes) == [parts.uuid]
    assert uploader.counts.salvaged == 1


def test_the_thread_delivers_what_is_sealed_while_it_runs(spool: Spool, server: FaultServer) -> None:
    uploader = Uploader(spool, lambda: Target(server.url, "rt_key"))
    uploader.start()
    entry = seal_one(spool)
    uploader.wake()
    assert uploader.wait_until_delivered([entry.uuid], 30.0)
    uploader.stop(10.0)
    assert list(server.episodes) == [entry.uuid]
    eventually(lambda: not any(thread.name == "robotrace-uploader" for thread in threading.enumerate()))
    lock = try_lock(spool.uploader_lock)
    assert lock is not None
    os.close(lock)


def test_the_server_may_come_back_on_the_same_port_while_the_thread_runs(spool: Spool) -> None:
    server = FaultServer()
    uploader = Uploader(spool, lambda: Target(server.url, "rt_key"), rng=random.Random(3))
    server.close()
    uploader.start()
    entry = seal_one(spool)
    eventually(lambda: uploader.counts.retried >= 1)
    with FaultServer(server.port) as again:
        assert uploader.wait_until_delivered([entry.uuid], 60.0)
        assert list(again.episodes) == [entry.uuid]
    uploader.stop(10.0)


def test_without_a_target_everything_stays(spool: Spool) -> None:
    entry = seal_one(spool)
    uploader = Uploader(spool, lambda: None)
    uploader.run_once()
    assert [waiting.uuid for waiting in spool.sealed_episodes()] == [entry.uuid]
    uploader._close()


def test_two_connections_are_at_work_and_one_of_them_at_the_most_carries_a_large_file(
    spool: Spool, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploaders, "_LARGE_BYTES", 100_000)
    real, lock = uploaders.deliver, threading.Lock()
    carried: set[tuple[str, bool]] = set()
    most = {"all": 0, "large": 0}
    both = threading.Barrier(2)

    def counting(spool: Spool, entry: SealedEpisode, *rest: object, **more: object) -> object:
        large = (entry.folder / "video.mp4").exists()
        with lock:
            carried.add((entry.uuid, large))
            most["all"] = max(most["all"], len(carried))
            most["large"] = max(most["large"], sum(is_large for _, is_large in carried))
        if most["all"] < 2:
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(30)
        elif not both.broken:
            both.reset()
        try:
            return real(spool, entry, *rest, **more)
        finally:
            with lock:
                carried.remove((entry.uuid, large))

    monkeypatch.setattr(uploaders, "deliver", counting)
    entries = [seal_one(spool, video=b"v" * 200_000 if number < 4 else None) for number in range(10)]
    uploader = Uploader(spool, lambda: Target(server.url, "rt_key"))
    uploader.start()
    assert uploader.wait_until_delivered([entry.uuid for entry in entries], 60.0)
    uploader.stop(30.0)
    assert most == {"all": 2, "large": 1}
    assert {stored.creates for stored in server.episodes.values()} == {1}


def test_an_uploader_whose_lock_file_was_deleted_runs_for_election_again(
    spool: Spool, server: FaultServer, uploader: Uploader
) -> None:
    uploader.run_once()
    spool.uploader_lock.unlink()
    other = try_lock(spool.uploader_lock)
    assert other is not None
    seal_one(spool)
    uploader.run_once()
    assert uploader.is_second
    assert server.episodes == {}
    os.close(other)
    uploader.run_once()
    assert len(server.episodes) == 1


def test_where_nothing_will_be_tried_in_time_nobody_waits(
    spool: Spool, server: FaultServer, uploader: Uploader, clock: FakeClock
) -> None:
    entry = seal_one(spool)
    server.fault = lambda method, path: Fault(401)
    uploader.run_once()
    began = clock.now
    assert not uploader.wait_until_delivered([entry.uuid], 1e9, give_up=True)
    assert clock.now == began


def test_who_waits_for_an_episode_finds_it_counted(
    spool: Spool, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Mechanism: its folder goes first, and the counters of flush()'s caller said one less.
    entry, gate = seal_one(spool), threading.Event()
    uploader = Uploader(spool, lambda: Target(server.url, "rt_key"))
    settle = uploader._settle

    def settle_late(*arguments: object) -> None:
        gate.wait(30.0)
        settle(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(uploader, "_settle", settle_late)
    uploader.start()
    try:
        eventually(lambda: not spool.sealed_episodes())
        assert not uploader.wait_until_delivered({entry.uuid}, 0.05)
        gate.set()
        assert uploader.wait_until_delivered({entry.uuid}, 30.0)
        assert uploader.counts.uploaded == 1
    finally:
        gate.set()
        uploader.stop(30.0)
