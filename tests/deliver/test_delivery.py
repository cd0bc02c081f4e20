from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from robotrace.config import Target
from robotrace.deliver.delivery import deliver
from robotrace.deliver.files import read_json, write_json
from robotrace.deliver.retry import Action
from robotrace.deliver.spool import VERDICT_FILE, SealedEpisode, Spool
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


# --- what running it again came to

VERDICT = {"verdict": "diverged", "reason": "observation.pose", "steps": 41}


@pytest.fixture
def checked(spool: Spool) -> SealedEpisode:
    """An episode that was run again while it waited."""
    entry = seal_one(spool)
    write_json(entry.folder / VERDICT_FILE, VERDICT)
    return entry


def receipt_of(spool: Spool, entry: SealedEpisode) -> dict[str, Any]:
    receipt = read_json(spool.done / f"{entry.uuid}.json")
    assert receipt is not None
    return receipt


def test_a_verdict_goes_with_its_episode(
    spool: Spool, server: FaultServer, transport: Transport, checked: SealedEpisode
) -> None:
    assert deliver(spool, checked, transport).action is None
    assert server.episodes[checked.uuid].verdicts == [VERDICT]
    assert [path.rpartition("/")[2] for _, path in server.requests[-2:]] == ["finalize", "reproduction"]
    assert receipt_of(spool, checked)["verdict"] == "stored"


def test_without_a_verdict_nothing_is_said_of_one(spool: Spool, server: FaultServer, transport: Transport) -> None:
    entry = seal_one(spool)
    assert deliver(spool, entry, transport).action is None
    assert not any(path.endswith("reproduction") for _, path in server.requests)
    assert "verdict" not in receipt_of(spool, entry)


def refuse_verdicts(server: FaultServer, fault: Fault, times: int = 1000) -> None:
    left = iter(range(times))

    def plan(method: str, path: str) -> Fault | None:
        return fault if path.endswith("reproduction") and next(left, None) is not None else None

    server.fault = plan


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422])
def test_a_deployment_that_takes_no_verdict_takes_the_episode(
    spool: Spool, server: FaultServer, transport: Transport, checked: SealedEpisode, status: int
) -> None:
    refuse_verdicts(server, Fault(status, {"error": "there are none here"}))
    assert deliver(spool, checked, transport).action is None
    assert server.episodes[checked.uuid].finalizes == 1
    assert "there are none here" in receipt_of(spool, checked)["verdict"]
    assert spool.counts().sealed == 0


@pytest.mark.parametrize("fault", [Fault(503, {}), Fault(429, {}), Fault(kind="cut"), Fault(kind="lost")])
def test_a_verdict_that_fails_for_a_moment_is_sent_again_and_nothing_else_is(
    spool: Spool, server: FaultServer, transport: Transport, checked: SealedEpisode, fault: Fault
) -> None:
    refuse_verdicts(server, fault, times=1)
    first = deliver(spool, checked, transport)
    assert (first.action, first.step) == (Action.RETRY, "verdict")
    server.requests.clear()
    assert deliver(spool, checked, transport).action is None
    assert [path.rpartition("/")[2] for _, path in server.requests] == ["finalize", "reproduction"]
    (stored,) = server.episodes.values()
    assert stored.creates == 1
    assert stored.verdicts == [VERDICT] * (2 if fault.kind == "lost" else 1)
    assert receipt_of(spool, checked)["verdict"] == "stored"


def test_an_episode_does_not_wait_for_its_verdict_for_ever(
    spool: Spool, server: FaultServer, transport: Transport, checked: SealedEpisode
) -> None:
    refuse_verdicts(server, Fault(500, {"error": "broken"}))
    assert [deliver(spool, checked, transport).action for _ in range(3)] == [Action.RETRY, Action.RETRY, None]
    assert "broken" in receipt_of(spool, checked)["verdict"]
    (stored,) = server.episodes.values()
    assert (stored.creates, stored.verdicts) == (1, [])


@pytest.mark.parametrize(("text", "said"), [("{", None), ("[1]", None), ('{"verdict": NaN}', "not JSON compliant")])
def test_a_file_that_is_no_verdict_holds_nothing_up(
    spool: Spool, server: FaultServer, transport: Transport, text: str, said: str | None
) -> None:
    entry = seal_one(spool)
    (entry.folder / VERDICT_FILE).write_text(text)
    assert deliver(spool, entry, transport).action is None
    assert server.episodes[entry.uuid].verdicts == []
    assert (said or "") in receipt_of(spool, entry).get("verdict", "")


def test_a_verdict_stays_with_an_episode_that_is_refused_and_goes_with_it_later(
    spool: Spool, server: FaultServer, transport: Transport, checked: SealedEpisode
) -> None:
    server.fault = lambda method, path: Fault(400, {"error": "no"})
    assert deliver(spool, checked, transport).action is Action.FAIL
    server.fault = lambda method, path: None
    again = spool.retry(spool.failed / checked.uuid)
    assert again is not None
    assert deliver(spool, again, transport).action is None
    assert server.episodes[checked.uuid].verdicts == [VERDICT]
