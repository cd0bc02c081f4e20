"""A real HTTP server on loopback that answers as told and notes down every request; a forward proxy too."""

import json
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

API_KEY = "rt_0123456789_canary-of-the-api-key"
SIGNATURE = "canary-of-the-signature"
EPISODE_ID = "ep_1"
CREATE = "/api/ingest/episode"
FINALIZE = f"/api/ingest/episode/{EPISODE_ID}/finalize"

KEPT_BYTES = 1024 * 1024
"""Of a longer body only the beginning is kept, so that a test can send more than there is memory."""
CHUNK_BYTES = 64 * 1024
HOLD_TIMEOUT_S = 60.0
"""An answer that is held back is let go at the end of the test; this is for a test that forgets to."""


@dataclass(frozen=True)
class Received:
    """A request as it came in; ``target`` is what stood in the request line, ``port`` the sender's."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    size: int
    port: int

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def header_names(self) -> set[str]:
        return {key.lower() for key, _ in self.headers}


@dataclass(frozen=True)
class Answer:
    """What to answer: a JSON value or bytes.

    Attributes:
        cut: Close the connection instead.
        hold: Wait for this event first.
        drip: Send byte by byte.
        raw: Send these bytes instead, and close the connection.
    """

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    hold: threading.Event | None = None
    drip: bool = False
    raw: bytes | None = None

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class WireServer(ThreadingHTTPServer):
    """Answers each route with what was scripted for it, the last answer again and again; 404 for the rest.

    Example:
        >>> with WireServer() as server:                                                # doctest: +SKIP
        ...     server.on("POST", "/api/x", Answer(429), Answer(201, {"id": "1"}))
        ...     httpx.post(server.url + "/api/x", json={})
        ...     assert server.requests[0].json == {}
    """

    daemon_threads = False
    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Received] = []
        self.faults: list[str] = []
        self._routes: dict[tuple[str, str], deque[Answer | Callable[[Received], Answer]]] = {}
        self._holds: set[threading.Event] = set()
        self._open: set[Any] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="wire-server")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def on(self, method: str, path: str, *answers: Answer | Callable[[Received], Answer]) -> None:
        """Script a route anew."""
        self._routes[method, path] = deque(answers)
        self._holds |= {answer.hold for answer in answers if isinstance(answer, Answer) and answer.hold is not None}

    def received(self, method: str, path: str) -> list[Received]:
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    def answer_to(self, request: Received) -> Answer:
        with self._lock:
            self.requests.append(request)
            answers = self._routes.get((request.method, request.path))
            if not answers:
                return Answer(404, {"error": f"nothing is scripted for {request.method} {request.path}"})
            answer = answers.popleft() if len(answers) > 1 else answers[0]
        return answer if isinstance(answer, Answer) else answer(request)

    def get_request(self) -> Any:
        connection, address = super().get_request()
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # a client that hangs up is no fault of the server's
            self.faults.append(repr(error))

    def __enter__(self) -> "WireServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for hold in self._holds:
            hold.set()
        self.shutdown()
        with self._lock:
            for connection in self._open:  # kept alive, and waiting for a next request
                try:
                    connection.shutdown(2)
                except OSError:
                    pass
        self.server_close()
        self._thread.join()
        assert self.faults == []


def script_deployment(server: WireServer) -> None:
    """Have the server take one episode as the wire contract says; the store is on the same server."""

    def create(request: Received) -> Answer:
        urls = [
            {
                "kind": kind,
                "url": f"{server.url}/store/{kind}?X-Signature={SIGNATURE}",
                "expires_at": "2031-01-01T00:00:00Z",
                "public_url": None,
            }
            for kind in request.json.get("request_uploads", ())
        ]
        answer = {"episode_id": EPISODE_ID, "status": "recording", "storage": "r2", "upload_urls": urls}
        return Answer(201, answer)

    def finalize(request: Received) -> Answer:
        answer = {"episode_id": EPISODE_ID, "status": request.json["status"], "updated_at": "2030-01-01T00:00:00Z"}
        return Answer(200, answer)

    server.on("POST", CREATE, create)
    server.on("POST", FINALIZE, finalize)
    for kind in ("video", "sensors", "actions"):
        server.on("PUT", f"/store/{kind}", Answer(200, b""))


class _Handler(BaseHTTPRequestHandler):
    server: WireServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        answer = self.server.answer_to(self._receive())
        if answer.hold is not None:
            answer.hold.wait(HOLD_TIMEOUT_S)
        if answer.cut or answer.raw is not None:
            self.close_connection = True
            self.wfile.write(answer.raw or b"")
            return
        content = answer.content
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:  # RFC 9110, 8.6
            self.send_header("Content-Length", str(len(content)))
        if answer.drip:
            head = b"".join(self._headers_buffer) + b"\r\n"
            self._headers_buffer.clear()
            for byte in head + content:
                self.wfile.write(bytes([byte]))  # unbuffered, and without Nagle: a segment each
            return
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_CONNECT = _handle

    def _receive(self) -> Received:
        size = int(self.headers.get("Content-Length") or 0)
        kept = bytearray()
        left = size
        while left:
            chunk = self.rfile.read(min(left, CHUNK_BYTES))
            if not chunk:
                raise ConnectionResetError("the client hung up")
            left -= len(chunk)
            kept += chunk[: KEPT_BYTES - len(kept)]
        return Received(self.command, self.path, self.headers.items(), bytes(kept), size, self.client_address[1])

    def log_message(self, format: str, *args: Any) -> None:
        pass
