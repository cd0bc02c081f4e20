"""No API key, no signature and no code of a login in any log, output, warning, repr or exception.

Every call runs against success and against each way to fail, with all loggers at DEBUG; what is looked for are the
canaries that the test server hands out and the client really sends.
"""

import logging
import traceback
import warnings

import pytest
from contract_server import DEVICE_CODE, ContractServer
from wire_calls import CALLS
from wire_server import API_KEY, SIGNATURE, Answer

from robotrace import Client, evals, verify
from robotrace.cli.device_flow import start_login, wait_for_approval
from robotrace.config import Target
from robotrace.errors import RobotraceError
from robotrace.transport import Transport

SECRETS = {"the API key": API_KEY, "a signature": SIGNATURE, "a device code": DEVICE_CODE}
OUTCOMES = {
    "success": None,
    "refused": Answer(401, {"error": "unknown API key"}),
    "a page": Answer(502, b"<html>Bad Gateway</html>"),
    "failed": Answer(500, {"error": "no"}),
    "limited": Answer(429, {"error": "slow down"}),
    "no JSON": Answer(200, b"ok"),
    "redirected": Answer(301, b"", {"Location": f"http://127.0.0.1:1/x?X-Signature={SIGNATURE}"}),
    "redirected to nowhere": Answer(302, b"", {"Location": f"http://[x?X-Signature={SIGNATURE}"}),
    "cut": Answer(cut=True),
    "cut in the headers": Answer(raw=f"HTTP/1.1 302 Found\r\nLocation: http://x/?X-Signature={SIGNATURE}".encode()),
    "no HTTP": Answer(raw=f"X-Signature={SIGNATURE}\r\n".encode()),
}


@pytest.fixture
def heard(caplog, capsys, recwarn):
    """All that was said so far, with every logger at DEBUG."""
    for name in ("", "robotrace", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, name)
    warnings.simplefilter("always")

    def texts():
        formatter = logging.Formatter()
        said = [f"{record.name}: {formatter.format(record)} {record.__dict__!r}" for record in caplog.records]
        said += [str(warning.message) for warning in recwarn]
        return [*said, *capsys.readouterr()]

    return texts


def leaks(texts):
    return [f"{what} in {text[:300]!r}" for text in texts for what, secret in SECRETS.items() if secret in text]


def said_of(value):
    """What a user sees of a value or an exception, its chain included."""
    yield f"{value} {value!r}"
    if isinstance(value, BaseException):
        yield "".join(traceback.format_exception(type(value), value, value.__traceback__))


# Only a store's address is signed, and no JSON call is redirected to a store.
CASES = [(call, outcome) for call in CALLS for outcome in OUTCOMES if not (call.json and outcome.startswith("redir"))]


@pytest.mark.parametrize(("call", "outcome"), CASES, ids=[f"{call.name}-{outcome}" for call, outcome in CASES])
def test_a_call_gives_nothing_away(call, outcome, server, tmp_path, heard, caplog):
    server.on(call.method, call.path, OUTCOMES[outcome] or Answer(200, call.answer))
    with Client(base_url=server.url, api_key=API_KEY, verbose=True) as client:
        client._transport._sleep = lambda seconds: None
        try:
            seen = call.run(client, tmp_path)
        except RobotraceError as error:
            seen = error
        texts = [*said_of(seen), *said_of(client), *said_of(client._transport), *heard()]
    assert leaks(texts) == []
    # The check could not fail if nothing had been sent, or nobody had talked.
    (sent, *_) = server.requests
    assert (SIGNATURE in sent.target) or (API_KEY in str(sent.headers))
    assert not call.json or any(record.name.startswith("httpcore") for record in caplog.records)


@pytest.fixture
def foreign():
    with ContractServer() as server:
        yield server
        assert server.refused == []


def test_a_login_gives_nothing_away(foreign, heard):
    transport = Transport(Target(foreign.url, ""))
    try:
        started = start_login(transport, "lab-7")
        approval = wait_for_approval(transport, started, sleep=lambda seconds: None)
    finally:
        transport.close()
    texts = [*said_of(started), *said_of(approval), *said_of(transport), *heard()]
    assert leaks(texts) == []
    assert DEVICE_CODE in str(foreign.requests[-1].body)
    assert approval.api_key == API_KEY


def test_a_campaign_gives_nothing_away(foreign, heard, tmp_path):
    np = pytest.importorskip("numpy")
    np.savez(tmp_path / "rows.npz", **{"observation/value": np.zeros(5), "action/value": np.zeros(5)})

    def works(observation):
        return {"action/value": observation["observation/value"], "_outcome": {"success": True}}

    def breaks(observation):
        raise ValueError("no grip")

    with Client(base_url=foreign.url, api_key=API_KEY, verbose=True) as client:
        client._transport._sleep = lambda seconds: None
        rows = {"sensors": tmp_path / "rows.npz", "actions": tmp_path / "rows.npz"}
        ids = [client.log_episode(**rows).id for _ in range(2)]
        for episode_id in ids:
            verify.promote(baseline_episode_id=episode_id, severity="critical", client=client)
        run = evals.create_run(candidate_policy_version="c", baseline_episode_ids=[*ids, "ep_gone"], client=client)
        results = evals.run_against(run, policy_callable=works)
        answer = evals.complete_run(run)
        code, gate = verify.run_check(candidate_policy_version="c", policy_callable=breaks, client=client)
        seen = [run, *results, answer, code, gate]
        texts = [*(text for value in seen for text in said_of(value)), *heard()]
    assert leaks(texts) == []
    assert [result.status for result in results] == ["complete", "complete", "failed"]
    assert code == 1
    assert sum(SIGNATURE in request.target for request in foreign.requests) > 8


def test_the_canary_would_be_heard(heard):
    logging.getLogger("httpcore.http11").debug("GET http://store/?X-Signature=%s", SIGNATURE)
    warnings.warn(f"key {API_KEY}", stacklevel=1)
    print(API_KEY)
    assert len(leaks(heard())) == 3
    assert len(leaks(said_of(ValueError(API_KEY)))) == 2
