"""HTTP over real sockets: errors, retries, redirects, proxies, secrets, big files."""

import datetime
import errno
import gzip
import io
import logging
import socket
import threading
import tracemalloc

import httpx
import pytest
from wire_server import API_KEY, CREATE, SIGNATURE, Answer, WireServer, script_deployment

from robotrace import Client
from robotrace.config import Target
from robotrace.errors import (
    APIError,
    AuthError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    RobotraceError,
    ServerError,
    TransportError,
    ValidationError,
)
from robotrace.transport import Transport

FILE_BYTES = 300 * 1024 * 1024
MEMORY_BYTES = 32 * 1024 * 1024


@pytest.fixture
def connect():
    """Makes transports, and closes them."""
    made = []

    def make(base_url, **options):
        made.append(Transport(Target(base_url, API_KEY), **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.fixture
def slept():
    return []


@pytest.fixture
def transport(connect, server, slept):
    return connect(server.url, sleep=slept.append)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sensors.npz"
    path.write_bytes(b"x" * 1000)
    return path


# --- the error table


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, APIError),
        (304, APIError),
        (400, ValidationError),
        (401, AuthError),
        (402, APIError),
        (403, APIError),
        (404, NotFoundError),
        (408, APIError),
        (409, ConflictError),
        (410, APIError),
        (413, APIError),
        (422, APIError),
        (425, APIError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (599, ServerError),
    ],
)
def test_each_status_is_its_own_error(transport, server, status, kind):
    body = b"" if status == 304 else {"error": "what went wrong", "detail": 7}
    server.on("GET", "/api/x", Answer(status, body))
    with pytest.raises(RobotraceError) as caught:
        transport.call("GET", "/api/x")
    error = caught.value
    assert type(error) is kind
    assert error.status_code == status
    if body:
        assert str(error) == "what went wrong"
        assert error.response_body == body


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>"),
        (b"", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (["error"], ["error"]),
        ({"error": ""}, {"error": ""}),
        ({"error": {"code": 7}}, {"error": {"code": 7}}),
        ({"message": "other"}, {"message": "other"}),
    ],
)
def test_an_error_without_the_contracts_text_is_named_by_its_code(transport, server, body, seen):
    server.on("GET", "/api/x", Answer(502, body))
    with pytest.raises(ServerError, match=r"^HTTP 502$") as caught:
        transport.call("GET", "/api/x")
    assert caught.value.response_body == seen


def test_a_long_page_is_kept_in_part(transport, server):
    server.on("GET", "/api/x", Answer(500, b"x" * 100_000))
    with pytest.raises(ServerError) as caught:
        transport.call("GET", "/api/x")
    assert len(caught.value.response_body) == 2000


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_any_2xx_with_an_object_is_success(transport, server, status):
    server.on("GET", "/api/x", Answer(status, {"a": 1}))
    assert transport.call("GET", "/api/x") == {"a": 1}


@pytest.mark.parametrize("body", [b"", b"ok", b"[1]", b'"text"', b"null"])
def test_a_2xx_without_an_object_is_an_api_error(transport, server, body):
    server.on("POST", "/api/x", Answer(200, body))
    with pytest.raises(APIError, match="POST /api/x answered no JSON object") as caught:
        transport.call("POST", "/api/x", {})
    assert caught.value.status_code == 200


def test_a_redirect_is_not_followed(transport, server):
    server.on("POST", "/api/x", Answer(302, b"", {"Location": f"{server.url}/api/y"}))
    server.on("GET", "/api/y", Answer(200, {"a": 1}))
    with pytest.raises(APIError, match="HTTP 302"):
        transport.call("POST", "/api/x", {})
    assert [request.path for request in server.requests] == ["/api/x"]


def test_a_request_without_a_body_has_none(transport, server):
    server.on("GET", "/api/x", Answer(200, {}))
    transport.call("GET", "/api/x", headers={"X-Own": "1"})
    (request,) = server.requests
    assert request.body == b""
    assert request.header("Content-Type") is None
    assert request.header("X-Own") == "1"


# --- no answer


def test_a_refused_connection_is_a_transport_error(connect, file):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    transport = connect(f"http://{address}")
    with pytest.raises(TransportError, match=f"^{address} could not be reached: .*refused") as caught:
        transport.call("GET", "/api/x")
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    with pytest.raises(TransportError, match=f"^{address} could not be reached"):
        transport.put_file(f"http://{address}/x?X-Signature={SIGNATURE}", file, "video/mp4")


def test_a_cut_connection_is_a_transport_error(transport, server, file):
    server.on("POST", "/api/x", Answer(cut=True))
    server.on("PUT", "/store/x", Answer(cut=True))
    with pytest.raises(TransportError, match="could not be reached"):
        transport.call("POST", "/api/x", {})
    with pytest.raises(TransportError, match="could not be reached"):
        transport.put_file(f"{server.url}/store/x", file, "video/mp4")
    assert len(server.requests) == 2


def test_an_answer_cut_short_is_a_transport_error(transport, server):
    server.on("GET", "/api/x", Answer(200, b'{"a": 1', {"Content-Encoding": "gzip"}))
    with pytest.raises(TransportError, match="could not be reached"):
        transport.call("GET", "/api/x")


def test_an_answer_that_does_not_come_is_a_transport_error(connect, server):
    server.on("GET", "/api/x", Answer(hold=threading.Event()))
    transport = connect(server.url, timeout=httpx.Timeout(10.0, read=0.05))
    with pytest.raises(TransportError, match="timed out"):
        transport.call("GET", "/api/x")


def test_a_host_without_an_address_is_a_transport_error(connect, monkeypatch):
    def getaddrinfo(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(TransportError, match=r"^deployment\.invalid could not be reached: .*not known"):
        connect("http://deployment.invalid").call("GET", "/api/x")


def test_plain_http_where_tls_is_spoken_is_a_transport_error(connect, server):
    transport = connect(server.url.replace("http://", "https://"))
    with pytest.raises(TransportError, match=r"could not be reached: .*SSL"):
        transport.call("GET", "/api/x")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/store/x",
        "ftp://store.invalid/x",
        "http://[store/x",
        "http://store.invalid:99999/x",
        "http://store.invalid:port/x",
        "http://store\n.invalid/x",
    ],
)
def test_an_upload_url_that_is_none_is_a_transport_error(transport, file, monkeypatch, url):
    def getaddrinfo(*_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(TransportError) as caught:
        transport.put_file(f"{url}?X-Signature={SIGNATURE}", file, "video/mp4")
    assert SIGNATURE not in str(caught.value)


# --- rate limits


def limited(retry_after=None):
    return Answer(429, {"error": "slow down"}, {} if retry_after is None else {"Retry-After": retry_after})


def test_a_rate_limited_call_is_tried_four_times(transport, server, slept):
    server.on("POST", "/api/x", limited())
    with pytest.raises(RateLimitError, match="slow down") as caught:
        transport.call("POST", "/api/x", {"a": 1}, retry_rate_limit=True)
    assert caught.value.retry_after is None
    assert [request.json for request in server.requests] == [{"a": 1}] * 4
    assert slept == [1.0, 2.0, 4.0]


def test_retry_after_is_waited_for_at_most_30_s(transport, server, slept):
    server.on("GET", "/api/x", limited("0.5"), limited("3600"), limited("soon"), Answer(200, {"a": 1}))
    assert transport.call("GET", "/api/x", retry_rate_limit=True) == {"a": 1}
    assert slept == [0.5, 30.0, 4.0]


def test_a_rate_limit_is_an_error_where_repeating_was_not_asked_for(transport, server, slept):
    server.on("POST", "/api/x", limited("2"), Answer(200, {}))
    with pytest.raises(RateLimitError) as caught:
        transport.call("POST", "/api/x", {})
    assert caught.value.retry_after == 2.0
    assert slept == []


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_nothing_but_a_rate_limit_is_repeated(transport, server, slept, status, file):
    server.on("POST", "/api/x", Answer(status, {}, {"Retry-After": "1"}))
    server.on("PUT", "/x", Answer(status, {}))
    with pytest.raises(APIError):
        transport.call("POST", "/api/x", {}, retry_rate_limit=True)
    with pytest.raises(APIError):
        transport.put_file(f"{server.url}/x", file, "video/mp4", retry_rate_limit=True)
    assert len(server.requests) == 2
    assert slept == []


def test_retry_after_may_be_a_date(transport, server, slept):
    past = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
    future = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    dates = [moment.strftime("%a, %d %b %Y %H:%M:%S GMT") for moment in (past, future)]
    server.on("GET", "/api/x", *(limited(date) for date in dates), Answer(200, {}))
    transport.call("GET", "/api/x", retry_rate_limit=True)
    assert slept == [0.0, 30.0]


@pytest.mark.parametrize(("value", "seconds"), [("-5", 0.0), ("nan", 0.0), ("", None), ("Mon, 99 Foo 2001", None)])
def test_a_senseless_retry_after_is_harmless(transport, server, value, seconds):
    server.on("GET", "/api/x", limited(value))
    with pytest.raises(RateLimitError) as caught:
        transport.call("GET", "/api/x")
    assert caught.value.retry_after == seconds


# --- uploads


def test_a_file_that_changes_while_it_is_sent_is_an_error(connect, file):
    def handler(request):
        file.write_bytes(b"y" * 2000)
        return httpx.Response(200)

    transport = connect("http://deployment.invalid", transport=httpx.MockTransport(handler))
    with pytest.raises(TransportError, match=r"sensors\.npz changed while it was sent"):
        transport.put_file("http://store.invalid/x", file, "video/mp4")


@pytest.mark.parametrize("size_now", [10, 5000])
def test_a_file_that_is_rewritten_after_its_size_was_announced_is_an_error(
    transport, server, file, monkeypatch, size_now
):
    # h11 has an error of its own for a body of another length, and httpx lets it through.
    server.on("PUT", "/x", Answer(200))
    request = httpx.Request

    def rewrite(*args, **options):
        file.write_bytes(b"y" * size_now)
        return request(*args, **options)

    monkeypatch.setattr(httpx, "Request", rewrite)
    with pytest.raises(TransportError, match=r"sensors\.npz changed while it was sent"):
        transport.put_file(f"{server.url}/x", file, "video/mp4")


def test_a_file_that_vanished_is_an_os_error(transport, tmp_path):
    with pytest.raises(FileNotFoundError):
        transport.put_file("http://store.invalid/x", tmp_path / "gone", "video/mp4")


def test_an_empty_file_is_sent_as_one(transport, server, tmp_path):
    path = tmp_path / "empty.npz"
    path.touch()
    server.on("PUT", "/x", Answer(200))
    assert transport.put_file(f"{server.url}/x", path, "video/mp4") == 0
    (put,) = server.requests
    assert put.header("Content-Length") == "0"
    assert put.header("Transfer-Encoding") is None


def test_a_big_file_is_streamed_through_little_memory(transport, server, tmp_path):
    path = tmp_path / "video.mp4"
    with path.open("wb") as sparse:
        sparse.truncate(FILE_BYTES)
    server.on("PUT", "/x", Answer(200))
    tracemalloc.start()
    try:
        assert transport.put_file(f"{server.url}/x", path, "video/mp4") == FILE_BYTES
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert server.requests[-1].size == FILE_BYTES
    assert peak < MEMORY_BYTES


def test_a_store_that_wants_no_key_gets_none(transport, server, file):
    server.on("PUT", "/x", Answer(200, b"", {"Set-Cookie": "a=b"}))
    transport.put_file(f"{server.url}/x", file, "video/mp4")
    transport.put_file(f"{server.url}/x", file, "video/mp4")
    for put in server.requests:
        assert put.header_names == {"host", "content-type", "content-length", "user-agent"}
        assert API_KEY not in str(put.headers)


def test_an_upload_reports_how_far_it_is(transport, server, tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"x" * 600_000)
    server.on("PUT", "/x", limited("0"), Answer(200))
    seen = []
    put = transport.put_file(
        f"{server.url}/x", path, "video/mp4", retry_rate_limit=True, progress=lambda *moved: seen.append(moved)
    )
    once = [(262_144, 600_000), (524_288, 600_000), (600_000, 600_000)]
    assert put == 600_000
    assert seen == once * 2


# --- downloads

ARTIFACT = "/api/episodes/ep_1/artifact/sensors"


def redirect(location, status=302):
    return Answer(status, b"", {"Location": location})


def download(transport, **options):
    file = io.BytesIO()
    written = transport.get_file(ARTIFACT, file, **options)
    assert written == len(file.getvalue())
    return file.getvalue()


def test_an_artifact_that_is_answered_directly_is_written(transport, server):
    content = bytes(range(256)) * 3000
    server.on("GET", ARTIFACT, Answer(200, content))
    seen = []
    assert download(transport, progress=lambda *moved: seen.append(moved)) == content
    assert seen == [(262_144, 768_000), (524_288, 768_000), (768_000, 768_000)]
    (request,) = server.requests
    assert request.header("Authorization") == f"Bearer {API_KEY}"
    assert request.header("Accept") == "*/*"
    assert request.header("Accept-Encoding") == "identity"
    assert request.header("User-Agent").startswith("robotrace-python/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", ["/x", "/api/x", ARTIFACT])
def test_a_redirect_to_a_store_is_followed_without_the_key(transport, server, status, path):
    with WireServer() as store:
        server.on("GET", ARTIFACT, redirect(f"{store.url}{path}?a=%2F&X-Signature={SIGNATURE}", status))
        store.on("GET", path, Answer(200, b"bytes"))
        assert download(transport) == b"bytes"
        (request,) = store.requests
    assert request.target == f"{path}?a=%2F&X-Signature={SIGNATURE}"
    assert request.header_names == {"host", "user-agent", "accept", "accept-encoding"}
    assert API_KEY not in str(request.headers)


def test_a_store_on_the_deployments_own_origin_gets_no_key_and_its_api_does(transport, server):
    server.on("GET", ARTIFACT, redirect("/api/elsewhere"))
    server.on("GET", "/api/elsewhere", redirect(f"/store/x?X-Signature={SIGNATURE}"))
    server.on("GET", "/store/x", Answer(200, b"bytes"))
    assert download(transport) == b"bytes"
    assert [request.header("Authorization") for request in server.requests] == [f"Bearer {API_KEY}"] * 2 + [None]


@pytest.mark.parametrize("path", ["/api/x", "//store@{host}/api/x", "/base/../api/x", "/base/apix", "/basement/api/x"])
def test_the_key_stays_below_the_base_url(connect, server, path):
    transport = connect(f"{server.url}/base")
    with WireServer() as store:
        location = path.format(host=f"127.0.0.1:{store.server_port}")
        server.on("GET", f"/base{ARTIFACT}", redirect(location))
        with pytest.raises(NotFoundError):
            download(transport)
        (reached,) = server.requests[1:] + store.requests
    assert reached.header("Authorization") is None


def test_five_redirects_are_followed_and_no_more(transport, server):
    for number in range(6):
        server.on("GET", f"/{number}", redirect(f"/{number + 1}"))
    server.on("GET", "/5", Answer(200, b"bytes"))
    server.on("GET", ARTIFACT, redirect("/1"))
    assert download(transport) == b"bytes"
    server.on("GET", "/5", redirect(f"/6?X-Signature={SIGNATURE}"))
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:\d+ redirected more than 5 times$"):
        download(transport)
    assert len(server.requests) == 12


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(404, {"error": "the slot is empty"}), NotFoundError),
        (Answer(401, {"error": "no key"}), AuthError),
        (Answer(429, {"error": "slow down"}), RateLimitError),
        (Answer(500, b""), ServerError),
        (Answer(302, {"error": "where to?"}), APIError),
        (Answer(304, b"", {"Location": "/x"}), APIError),
        (Answer(cut=True), TransportError),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbyt"), TransportError),
        (Answer(raw=b"HTTP/1.1 500 OK\r\nContent-Length: 9\r\n\r\nbyt"), TransportError),
        (Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbyt\r\n"), TransportError),
        (redirect("http://[x"), TransportError),
        (redirect("ftp://store.invalid/x"), TransportError),
        (redirect("http://store.invalid:99999/x"), TransportError),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_what_goes_wrong_with_a_download_is_named_as_in_the_table(transport, server, slept, answer, kind, first):
    server.on("GET", ARTIFACT, answer if first else redirect("/store/x"))
    server.on("GET", "/store/x", answer)
    with pytest.raises(RobotraceError) as caught:
        download(transport)
    assert type(caught.value) is kind
    assert slept == []


def test_a_download_that_comes_compressed_is_unpacked(transport, server):
    server.on("GET", ARTIFACT, Answer(200, gzip.compress(b"bytes"), {"Content-Encoding": "gzip"}))
    seen = []
    assert download(transport, progress=lambda *moved: seen.append(moved)) == b"bytes"
    assert seen == [(5, None)]


def test_a_file_that_cannot_be_written_is_an_os_error_and_leaves_the_connections_usable(transport, server):
    class Full(io.BytesIO):
        def write(self, _chunk):
            raise OSError(errno.ENOSPC, "No space left on device")

    server.on("GET", ARTIFACT, Answer(200, b"bytes" * 100_000))
    with pytest.raises(OSError, match="No space left"):
        transport.get_file(ARTIFACT, Full())
    assert download(transport) == b"bytes" * 100_000


def test_a_big_artifact_is_streamed_through_little_memory(transport, server, tmp_path):
    server.on("GET", ARTIFACT, redirect("/store/x"))
    server.on("GET", "/store/x", Answer(200, bytes(64 * 1024 * 1024)))
    path = tmp_path / "sensors.npz"
    tracemalloc.start()
    try:
        with path.open("wb") as file:
            assert transport.get_file(ARTIFACT, file) == 64 * 1024 * 1024
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size == 64 * 1024 * 1024
    assert peak < 8 * 1024 * 1024


# --- proxies


@pytest.fixture
def proxy():
    """Knows the deployment under a name that no resolver does."""
    with WireServer() as running:
        yield running


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_json_and_uploads_go_through_the_proxy(connect, proxy, file, monkeypatch, variable, scheme):
    monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{proxy.server_port}")
    proxy.on("POST", CREATE, Answer(201, {"a": 1}))
    proxy.on("PUT", "/store/x", Answer(200))
    transport = connect("http://deployment.invalid")
    assert transport.call("POST", CREATE, {}) == {"a": 1}
    assert transport.put_file("http://store.invalid/store/x", file, "video/mp4") == 1000
    assert [request.target for request in proxy.requests] == [
        f"http://deployment.invalid{CREATE}",
        "http://store.invalid/store/x",
    ]


def test_https_asks_the_proxy_for_a_tunnel(connect, proxy, file, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    transport = connect("https://deployment.invalid")
    with pytest.raises(TransportError):
        transport.call("GET", "/api/x")
    with pytest.raises(TransportError):
        transport.put_file("https://store.invalid/x", file, "video/mp4")
    assert [(request.method, request.target) for request in proxy.requests] == [
        ("CONNECT", "deployment.invalid:443"),
        ("CONNECT", "store.invalid:443"),
    ]


def test_no_proxy_goes_past_it(connect, server, proxy, file, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.on("GET", "/api/x", Answer(200, {}))
    server.on("PUT", "/x", Answer(200))
    transport = connect(server.url)
    transport.call("GET", "/api/x")
    transport.put_file(f"{server.url}/x", file, "video/mp4")
    assert len(server.requests) == 2
    assert proxy.requests == []


def test_the_proxy_gets_its_password_and_not_our_key(connect, proxy, file, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("http://", "http://user:word@"))
    proxy.on("PUT", "/x", Answer(200))
    connect("http://deployment.invalid").put_file("http://store.invalid/x", file, "video/mp4")
    (put,) = proxy.requests
    assert put.header("Proxy-Authorization") == "Basic dXNlcjp3b3Jk"
    assert put.header("Authorization") is None


def test_a_proxy_that_cannot_be_used_is_a_configuration_error(connect, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "gopher://user:word@127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="proxy settings") as caught:
        connect("http://deployment.invalid")
    assert "word" not in str(caught.value).replace("password", "")


# --- secrets


@pytest.mark.parametrize("through_proxy", [False, True])
def test_neither_key_nor_signature_is_in_any_log_or_error(server, files, caplog, monkeypatch, through_proxy):
    caplog.set_level(logging.DEBUG)
    script_deployment(server)
    base_url = server.url
    if through_proxy:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        base_url = "http://deployment.invalid"
    errors = []
    with Client(base_url=base_url, api_key=API_KEY) as client:
        client._transport._sleep = lambda seconds: None
        client.log_episode(**files)
        for answer in (Answer(403, b"denied"), Answer(500, {"error": "no"}), Answer(cut=True), limited(), Answer(301)):
            server.on("PUT", "/store/video", answer)
            with pytest.raises(RobotraceError) as caught:
                client.log_episode(**files)
            errors.append(caught.value)
        server.on("POST", CREATE, Answer(401, {"error": "unknown API key"}), Answer(cut=True))
        for _ in range(2):
            with pytest.raises(RobotraceError) as caught:
                client.log_episode()
            errors.append(caught.value)
    texts = [text for error in errors for text in chain_texts(error)]
    texts += [f"{record.getMessage()} {record.args!r}" for record in caplog.records]
    assert {record.name.partition(".")[0] for record in caplog.records} >= {"httpx", "httpcore"}
    assert [text for text in texts if SIGNATURE in text or API_KEY in text] == []


def test_the_address_of_a_refused_redirect_is_in_no_log(transport, server, file, caplog):
    # At DEBUG httpcore logs every response header.
    caplog.set_level(logging.DEBUG)
    server.on("PUT", "/x", Answer(301, b"", {"Location": f"http://elsewhere.invalid/x?X-Signature={SIGNATURE}"}))
    with pytest.raises(APIError, match="HTTP 301"):
        transport.put_file(f"{server.url}/x", file, "video/mp4")
    assert SIGNATURE not in caplog.text


def test_the_address_a_download_is_redirected_to_is_in_no_log_and_no_error(transport, server, caplog):
    caplog.set_level(logging.DEBUG)
    server.on("GET", ARTIFACT, redirect(f"{server.url}/store/x?X-Signature={SIGNATURE}"))
    server.on("GET", "/store/x", Answer(200, b"bytes"), Answer(403, b"denied"), Answer(cut=True))
    transport.get_file(ARTIFACT, io.BytesIO())
    errors = []
    for _ in range(2):
        with pytest.raises(RobotraceError) as caught:
            transport.get_file(ARTIFACT, io.BytesIO())
        errors.append(caught.value)
    texts = [text for error in errors for text in chain_texts(error)]
    texts += [f"{record.getMessage()} {record.args!r}" for record in caplog.records]
    assert ARTIFACT in caplog.text
    assert [text for text in texts if SIGNATURE in text or API_KEY in text] == []


def test_the_users_own_requests_are_logged_as_ever(transport, server, file, caplog):
    caplog.set_level(logging.DEBUG)
    server.on("PUT", "/x", Answer(200))
    server.on("GET", "/own", Answer(200, {}, {"X-Own": "seen"}))
    transport.put_file(f"{server.url}/x", file, "video/mp4", progress=lambda *_: httpx.get(f"{server.url}/own"))
    during = caplog.text.count("b'seen'")
    httpx.get(f"{server.url}/own")
    transport.call("GET", "/own")
    assert (during, caplog.text.count("b'seen'")) == (1, 3)


def test_the_requests_of_another_thread_are_logged_meanwhile(transport, server, file, caplog):
    caplog.set_level(logging.DEBUG)
    hold, came = threading.Event(), threading.Event()

    def answer(_request):
        came.set()
        return Answer(301, b"", {"Location": f"http://elsewhere.invalid/?X-Signature={SIGNATURE}"}, hold=hold)

    server.on("PUT", "/x", answer)
    server.on("GET", "/own", Answer(200, {}, {"X-Own": "seen"}))

    def upload():
        with pytest.raises(APIError):
            transport.put_file(f"{server.url}/x", file, "video/mp4")

    thread = threading.Thread(target=upload)
    thread.start()
    assert came.wait(30)
    httpx.get(f"{server.url}/own")
    hold.set()
    thread.join()
    assert caplog.text.count("b'seen'") == 1
    assert SIGNATURE not in caplog.text


def chain_texts(error):
    while error is not None:
        yield f"{error} {error!r}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("key", [f"{API_KEY}\n", f"  {API_KEY}\r\n"])
def test_a_line_break_after_the_key_does_no_harm(deployment, key):
    with Client(base_url=deployment.url, api_key=key) as client:
        client.start_episode(artifacts=())
    assert deployment.requests[0].header("Authorization") == f"Bearer {API_KEY}"


def test_a_port_that_speaks_no_http_is_a_transport_error(connect):
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def greet():
            connection, _ = stranger.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(TransportError, match="could not be reached"):
            connect(f"http://127.0.0.1:{stranger.getsockname()[1]}").call("GET", "/api/x")
        thread.join()
