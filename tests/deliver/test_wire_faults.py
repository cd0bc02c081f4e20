"""Everything a network can do to an upload, on real sockets; afterwards the episode is there, once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from email.utils import formatdate

import httpx
import pytest

from robotrace import transport as transports
from robotrace.config import Target
from robotrace.deliver.delivery import deliver
from robotrace.deliver.retry import Action
from robotrace.deliver.spool import Spool
from robotrace.deliver.uploader import Uploader
from robotrace.testing import FakeClock, Fault, FaultServer
from robotrace.testing.episodes import seal_one
from robotrace.transport import Transport

PATIENCE_S = 0.3
FAULTS = {
    "500": Fault(500),
    "503": Fault(503),
    "429": Fault(429),
    "408": Fault(408),
    "cut": Fault(kind="cut"),
    "cut in the body": Fault(kind="cut", after=50),
    "lost answer": Fault(kind="lost"),
    "half closed": Fault(kind="half_closed"),
    "silent": Fault(kind="silent"),
    "dripping too slowly": Fault(kind="drip", seconds=PATIENCE_S * 3),
}
STEPS = {"create": "/episode", "put": "/video", "finalize": "/finalize"}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def transport(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    monkeypatch.setattr(transports, "_FILE_TIMEOUT", httpx.Timeout(PATIENCE_S))
    transport = Transport(Target(server.url, "rt_key"), timeout=PATIENCE_S)
    yield transport
    transport.close()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_tried_again_and_the_episode_arrives_once(
    spool: Spool, server: FaultServer, transport: Transport, name: str, step: str
) -> None:
    entry = seal_one(spool, video=b"v" * 300_000)
    server.fault = lambda method, path: FAULTS[name] if path.endswith(STEPS[step]) else None
    attempt = deliver(spool, entry, transport)
    assert (attempt.action, attempt.step) == (Action.RETRY, step)
    assert step in str(entry.upload_state()["last_error"])
    server.fault = lambda method, path: None
    assert deliver(spool, entry, transport).action is None
    (stored,) = server.episodes.values()
    assert stored.uploads["video"] == b"v" * 300_000
    assert stored.finalize is not None


def test_an_answer_that_drips_is_an_answer(spool: Spool, server: FaultServer, transport: Transport) -> None:
    entry = seal_one(spool)
    server.fault = lambda method, path: Fault(kind="drip", seconds=0.0001)
    assert deliver(spool, entry, transport).action is None
    assert len(server.episodes) == 1


def test_a_server_that_reads_slowly_gets_it_all(spool: Spool, server: FaultServer, transport: Transport) -> None:
    entry = seal_one(spool, video=b"v" * 100_000)
    server.fault = lambda method, path: Fault(kind="slow", bytes_per_s=1e6)
    assert deliver(spool, entry, transport).action is None


@pytest.mark.parametrize("code", ["RequestTimeout", "BadDigest", "IncompleteBody"])
def test_an_s3_code_that_speaks_of_the_transfer_is_tried_again(
    spool: Spool, server: FaultServer, transport: Transport, code: str
) -> None:
    entry = seal_one(spool)
    refusal = Fault(400, f"<Error><Code>{code}</Code></Error>")
    server.fault = lambda method, path: refusal if method == "PUT" else None
    assert deliver(spool, entry, transport).action is Action.RETRY
    assert code in entry.upload_state()["last_error"]


def test_a_url_that_has_expired_is_signed_again_at_once(
    spool: Spool, server: FaultServer, transport: Transport
) -> None:
    entry = seal_one(spool)
    server.url_lifetime_s = -1.0

    def renew(method: str, path: str) -> None:
        if path.endswith("/upload-urls"):
            server.url_lifetime_s = 3600.0

    server.fault = renew
    assert deliver(spool, entry, transport).action is None
    assert [path for method, path in server.requests if path.endswith("/upload-urls")] == [
        "/api/ingest/episode/ep-1/upload-urls"
    ]
    assert server.episodes[entry.uuid].creates == 1


def test_a_signature_that_never_holds_is_given_up_with_the_stores_code(
    spool: Spool, server: FaultServer, transport: Transport
) -> None:
    entry = seal_one(spool)
    server.wrong_signatures = 10**6
    while (attempt := deliver(spool, entry, transport)).action is Action.RETRY:
        pass
    assert attempt.action is Action.FAIL
    reason = (spool.failed / entry.uuid / "reason.txt").read_text()
    assert reason == "put: HTTP 403 SignatureDoesNotMatch\n"


def test_a_deployment_that_cannot_sign_again_is_asked_to_create_again(
    spool: Spool, server: FaultServer, transport: Transport
) -> None:
    entry = seal_one(spool)
    server.wrong_signatures = 1
    server.fault = lambda method, path: Fault(404, {"error": "no route"}) if path.endswith("/upload-urls") else None
    assert deliver(spool, entry, transport).action is Action.RETRY
    assert deliver(spool, entry, transport).action is None
    assert server.episodes[entry.uuid].creates == 2


@pytest.mark.parametrize("header", ["7", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_says_how_long_is_left_alone_so_long(
    spool: Spool, server: FaultServer, status: int, header: str
) -> None:
    clock = FakeClock()
    uploader = Uploader(spool, lambda: Target(server.url, "rt_key"), clock=clock, rng=random.Random(1))
    for _ in range(3):
        seal_one(spool)
    asked = "3600" if header == "7" else formatdate(4e9, usegmt=True)  # in 2096: an hour at the most
    server.fault = lambda method, path: Fault(status, headers={"Retry-After": asked})
    began = clock.now
    while clock.now < began + 3599:
        clock.now += min(uploader.run_once(), 1000.0)
    assert len(server.requests) == 1
    server.fault = lambda method, path: None
    for _ in range(5):
        clock.now += uploader.run_once()
    assert len(server.episodes) == 3
    uploader._close()


def uploader_with(spool: Spool, server: FaultServer, clock: FakeClock) -> Uploader:
    return Uploader(spool, lambda: Target(server.url, "rt_key"), clock=clock, rng=random.Random(5))


def test_after_three_failures_in_a_row_one_request_knocks(spool: Spool, server: FaultServer) -> None:
    clock = FakeClock()
    uploader = uploader_with(spool, server, clock)
    entries = [seal_one(spool) for _ in range(20)]
    server.fault = lambda method, path: Fault(503)
    uploader.run_once()
    assert len(server.requests) == 3
    assert uploader.is_blocked
    for knock in range(1, 6):
        while len(server.requests) == 2 + knock:
            clock.now += uploader.run_once()
        assert len(server.requests) == 3 + knock
    server.fault = lambda method, path: None
    for _ in range(1000):
        if not spool.sealed_episodes():
            break
        clock.now += uploader.run_once()
    assert set(server.episodes) == {entry.uuid for entry in entries}
    assert not uploader.is_blocked
    uploader._close()


def test_one_failure_does_not_hold_up_the_others(spool: Spool, server: FaultServer) -> None:
    clock = FakeClock()
    uploader = uploader_with(spool, server, clock)
    first, *others = [seal_one(spool, status="failed"), seal_one(spool), seal_one(spool)]
    faults = [Fault(503)]
    server.fault = lambda method, path: faults.pop() if faults else None
    uploader.run_once()
    assert set(server.episodes) == {entry.uuid for entry in others}
    clock.now += 5
    uploader.run_once()
    assert first.uuid in server.episodes
    uploader._close()


def test_a_store_that_is_down_is_not_the_api(spool: Spool, server: FaultServer) -> None:
    clock = FakeClock()
    with FaultServer() as store:
        server.served_elsewhere = lambda key, content_type: f"{store.url}/objects/{key}"
        store.fault = lambda method, path: Fault(503)
        uploader = uploader_with(spool, server, clock)
        for _ in range(10):
            seal_one(spool)
        uploader.run_once()
        creates = len(server.requests)
        assert creates == len(store.requests) == 3
        while len(store.requests) == 3:
            clock.now += uploader.run_once()
        assert len(server.requests) == creates + 1  # one episode knocks, not ten
        store.fault = lambda method, path: Fault(200)
        for _ in range(1000):
            if not spool.sealed_episodes():
                break
            clock.now += uploader.run_once()
        assert len(server.episodes) == 10
        uploader._close()


def test_a_clock_that_jumps_back_or_far_ahead_delays_and_doubles_nothing(spool: Spool, server: FaultServer) -> None:
    clock = FakeClock()
    uploader = uploader_with(spool, server, clock)
    entries = [seal_one(spool) for _ in range(4)]
    server.fault = lambda method, path: Fault(503)
    uploader.run_once()
    clock.now += 1e9  # a laptop that slept for 30 years
    server.fault = lambda method, path: None
    for _ in range(3):
        uploader.run_once()
    assert set(server.episodes) == {entry.uuid for entry in entries}
    assert {stored.creates for stored in server.episodes.values()} == {1}
    uploader._close()


def test_a_wall_clock_set_back_to_1970_changes_no_order_and_loses_no_receipt(
    spool: Spool, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    uploader = uploader_with(spool, server, clock)
    first = seal_one(spool)
    uploader.run_once()
    monkeypatch.setattr("time.time", lambda: -5.0)
    second = seal_one(spool)
    clock.now += 61
    uploader.run_once()
    assert list(server.episodes) == [first.uuid, second.uuid]
    assert spool.counts().done == 2
    uploader._close()
