from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from robotrace.config import Target
from robotrace.deliver.delivery import deliver
from robotrace.deliver.files import read_json
from robotrace.deliver.retry import Action
from robotrace.deliver.spool import Spool
from robotrace.testing import Fault, FaultServer
from robotrace.testing.episodes import seal_one
from robotrace.transport import Transport


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def transport(server: FaultServer) -> Iterator[Transport]:
    transport = Transport(Target(server.url, "rt_key"))
    yield transport
    transport.close()


def test_an_episode_arrives_whole(spool: Spool, server: FaultServer, transport: Transport) -> None:
    entry = seal_one(spool, video=b"video bytes")
    contents = {path.stem: path.read_bytes() for path in entry.folder.glob("*.*") if path.suffix in (".npz", ".mp4")}
    assert deliver(spool, entry, transport).action is None
    stored = server.episodes[entry.uuid]
    assert stored.uploads == contents
    assert stored.create["metadata"] == {"client_episode_id": entry.uuid, "a": 1}
    assert stored.finalize is not None
    assert stored.finalize["status"] == "ready"
    sent = {artifact["kind"]: artifact["sha256"] for artifact in stored.finalize["artifacts"]}
    assert sent == {kind: hashlib.sha256(content).hexdigest() for kind, content in contents.items()}
    receipt = read_json(spool.done / f"{entry.uuid}.json")
    assert receipt is not None
    assert receipt["episode_id"] == stored.episode_id
    assert spool.counts().sealed == 0


@pytest.mark.parametrize("number", range(5))
def test_after_a_lost_answer_anywhere_the_next_attempt_completes_it_once(
    spool: Spool, server: FaultServer, transport: Transport, number: int
) -> None:
    entry = seal_one(spool, video=b"video bytes")
    answered = iter(range(100))

    def lose_one(method: str, path: str) -> Fault | None:
        return Fault(kind="lost") if next(answered) == number else None

    server.fault = lose_one
    first = deliver(spool, entry, transport)
    assert first.action is Action.RETRY
    assert entry.upload_state()["attempts"] == 1
    assert deliver(spool, entry, transport).action is None
    assert list(server.episodes) == [entry.uuid]
    assert len(server.episodes[entry.uuid].uploads) == 3


def test_what_is_uploaded_is_not_uploaded_again(spool: Spool, server: FaultServer, transport: Transport) -> None:
    entry = seal_one(spool)
    server.fault = lambda method, path: Fault(503, {}) if path.endswith("finalize") else None
    assert deliver(spool, entry, transport).action is Action.RETRY
    server.fault = lambda method, path: None
    server.requests.clear()
    assert deliver(spool, entry, transport).action is None
    assert [method for method, _ in server.requests] == ["POST"]


def test_expired_urls_are_replaced_and_given_up_after_five_times(
    spool: Spool, server: FaultServer, transport: Transport
) -> None:
    entry = seal_one(spool)
    server.fault = lambda method, path: Fault(403, {"error": "Request has expired"}) if method == "PUT" else None
    actions = [deliver(spool, entry, transport).action for _ in range(5)]
    assert actions == [Action.RETRY] * 4 + [Action.FAIL]
    assert "Request has expired" in (spool.failed / entry.uuid / "reason.txt").read_text()


def test_a_mismatch_at_finalize_uploads_everything_again(
    spool: Spool, server: FaultServer, transport: Transport
) -> None:
    entry = seal_one(spool)
    server.fault = lambda method, path: Fault(409, {"error": "sha256 differs"}) if path.endswith("finalize") else None
    assert deliver(spool, entry, transport).action is Action.RETRY
    server.fault = lambda method, path: None
    server.requests.clear()
    assert deliver(spool, entry, transport).action is None
    assert [method for method, _ in server.requests] == ["POST", "PUT", "PUT", "POST"]


def test_a_refused_episode_is_kept_with_the_servers_reason(
    spool: Spool, server: FaultServer, transport: Transport
) -> None:
    entry = seal_one(spool)
    server.fault = lambda method, path: Fault(400, {"error": "seed: too large"})
    assert deliver(spool, entry, transport).action is Action.FAIL
    assert (spool.failed / entry.uuid / "reason.txt").read_text() == "create: seed: too large\n"


def test_neither_key_nor_url_is_written_to_the_spool(spool: Spool, server: FaultServer, transport: Transport) -> None:
    entry = seal_one(spool)
    server.fault = lambda method, path: Fault(503, {}) if method == "PUT" else None
    deliver(spool, entry, transport)
    for path in spool.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"rt_key" not in content, path
            assert server.url.encode() not in content, path


def test_another_deployment_gets_the_whole_episode(spool: Spool, server: FaultServer, transport: Transport) -> None:
    entry = seal_one(spool)
    server.fault = lambda method, path: Fault(503, {}) if path.endswith("finalize") else None
    deliver(spool, entry, transport)
    with FaultServer() as other:
        second = Transport(Target(other.url, "rt_key"))
        assert deliver(spool, entry, second).action is None
        second.close()
        assert len(other.episodes[entry.uuid].uploads) == 2


def test_an_unknown_manifest_is_set_aside(spool: Spool, transport: Transport) -> None:
    entry = seal_one(spool)
    (entry.folder / "manifest.json").write_text('{"schema": 99}')
    assert deliver(spool, entry, transport).action is Action.FAIL
    assert "99" in (spool.failed / entry.uuid / "reason.txt").read_text()
