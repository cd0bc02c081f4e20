"""Each call of the client against whatever a server may answer, or fail to, over a real socket."""

import socket
import threading

import httpx
import pytest
from polling import eventually
from wire_calls import CALLS
from wire_server import API_KEY, SIGNATURE, Answer

from robotrace import Client, transport
from robotrace.errors import (
    APIError,
    AuthError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    RobotraceError,
    ServerError,
    TransportError,
    ValidationError,
)

ERRORS = {
    300: APIError,
    400: ValidationError,
    401: AuthError,
    403: APIError,
    404: NotFoundError,
    409: ConflictError,
    410: APIError,
    418: APIError,
    422: APIError,
    429: RateLimitError,
    500: ServerError,
    503: ServerError,
}
REDIRECTS = [301, 302, 303, 307, 308]

every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
every_json_call = pytest.mark.parametrize("call", [call for call in CALLS if call.json], ids=lambda call: call.name)


@pytest.fixture
def hasty(server):
    """A client that waits 50 ms for an answer, where the real one waits 30 s."""
    with Client(base_url=server.url, api_key=API_KEY, timeout=httpx.Timeout(10.0, read=0.05)) as made:
        yield made


@pytest.fixture
def client(server):
    with Client(base_url=server.url, api_key=API_KEY) as made:
        made.slept = []
        made._transport._sleep = made.slept.append
        yield made


def fails(call, client, folder):
    with pytest.raises(RobotraceError) as caught:
        call.run(client, folder)
    assert SIGNATURE not in str(caught.value)
    return caught.value


@every_call
def test_the_answer_of_a_deployment_is_success(call, client, server, tmp_path):
    server.on(call.method, call.path, Answer(200, call.answer))
    call.run(client, tmp_path)
    assert [(request.method, request.path) for request in server.requests] == [(call.method, call.path)]


@every_call
@pytest.mark.parametrize("status", ERRORS)
def test_each_status_is_the_error_of_the_table(call, client, server, tmp_path, status):
    server.on(call.method, call.path, Answer(status, {"error": "what went wrong", "detail": 7}))
    error = fails(call, client, tmp_path)
    assert type(error) is ERRORS[status]
    assert str(error) == "what went wrong"
    assert error.status_code == status
    assert error.response_body == {"error": "what went wrong", "detail": 7}
    assert len(server.requests) == (4 if status == 429 and call.repeats_429 else 1)


@every_call
def test_a_rate_limit_is_waited_for_only_where_repeating_is_harmless(call, client, server, tmp_path):
    limited = Answer(429, {"error": "slow down"}, {"Retry-After": "7"})
    server.on(call.method, call.path, limited, Answer(200, call.answer))
    if call.repeats_429:
        call.run(client, tmp_path)
        first, second = server.requests
        assert (first.body, first.size) == (second.body, second.size)
        assert client.slept == [7.0]
    else:
        assert fails(call, client, tmp_path).retry_after == 7.0
        assert len(server.requests) == 1
        assert client.slept == []


@every_call
@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_is_a_failure_where_it_is_not_followed(call, client, server, tmp_path, status):
    server.on(call.method, call.path, Answer(status, b"", {"Location": f"{server.url}/elsewhere"}))
    for method in ("GET", "POST", "PUT"):
        server.on(method, "/elsewhere", Answer(200, call.answer))
    if call.follows_redirects:
        call.run(client, tmp_path)
        assert [request.path for request in server.requests] == [call.path, "/elsewhere"]
        return
    error = fails(call, client, tmp_path)
    assert (type(error), str(error), error.status_code) == (APIError, f"HTTP {status}", status)
    assert [request.path for request in server.requests] == [call.path]


@every_json_call
@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>Sign in to the hotel's WiFi</html>"),
        Answer(200, b""),
        Answer(200, b"[" * 100_000),
        Answer(200, [1, 2]),
        Answer(200, "text"),
        Answer(200, None),
        Answer(204, b""),
    ],
    ids=["page", "empty", "bottomless", "list", "text", "null", "204"],
)
def test_a_success_without_a_json_object_is_an_api_error(call, client, server, tmp_path, answer):
    server.on(call.method, call.path, answer)
    error = fails(call, client, tmp_path)
    assert type(error) is APIError
    assert str(error).startswith(f"{call.method} {call.path}")
    assert str(error).endswith(" answered no JSON object")
    assert error.status_code == answer.status


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_store_may_answer_success_as_it_likes(client, server, tmp_path, status):
    (call,) = (call for call in CALLS if call.name == "upload")
    server.on(call.method, call.path, Answer(status, b"" if status == 204 else b"<ok/>"))
    assert call.run(client, tmp_path) == 1000


@every_call
def test_a_server_that_is_silent_is_a_transport_error(call, hasty, server, tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "_FILE_TIMEOUT", httpx.Timeout(10.0, read=0.05))
    server.on(call.method, call.path, Answer(hold=threading.Event()))
    error = fails(call, hasty, tmp_path)
    assert type(error) is TransportError
    assert str(error).endswith("could not be reached: timed out")
    eventually(lambda: server.requests)  # a busy machine may have read it after the client gave up
    assert len(server.requests) == 1


@every_call
def test_a_server_that_is_slow_is_waited_for(call, client, server, tmp_path):
    server.on(call.method, call.path, Answer(200, call.answer, drip=True))
    call.run(client, tmp_path)
    assert len(server.requests) == 1


CUT = {
    "before the answer": b"",
    "in the status line": b"HTTP/1.1 2",
    "in the headers": b"HTTP/1.1 200 OK\r\nContent-Type: application/js",
    "in the body": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"episode_id": "ep_1"',
    "in a chunk": b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{"episode_id"',
    "by something that speaks no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@every_call
@pytest.mark.parametrize("place", CUT)
def test_an_answer_cut_short_is_a_transport_error(call, client, server, tmp_path, place):
    server.on(call.method, call.path, Answer(raw=CUT[place]))
    error = fails(call, client, tmp_path)
    assert type(error) is TransportError
    assert "could not be reached" in str(error)
    assert len(server.requests) == call.requests


@every_call
def test_a_refused_connection_is_a_transport_error(call, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with Client(base_url=f"http://{address}", api_key=API_KEY) as client:
        error = fails(call, client, tmp_path)
    assert type(error) is TransportError
    assert str(error).startswith(f"{address} could not be reached: ")
