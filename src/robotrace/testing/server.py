"""A deployment in miniature on a real socket, with faults on demand. Standard library only."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Fault", "FaultPlan", "FaultServer", "StoredEpisode"]

_CHUNK_BYTES = 256 * 1024
_MAX_SILENCE_S = 3600.0


@dataclass(frozen=True)
class Fault:
    """What a :class:`FaultServer` does instead of serving a request.

    Attributes:
        status: Answered without serving the request; 0 where another field says what happens.
        body: Of that answer: a JSON object, or text.
        headers: Of that answer, ``{"Retry-After": "7"}`` for one.
        kind: ``answer``: as above. ``lost``: the request is served, and the connection ends without a word.
            ``cut``: the connection is reset after ``after`` bytes of the body. ``half_closed``: the server sends
            nothing, and says that it will send nothing more. ``drip``: the request is served, the answer comes byte
            by byte, ``seconds`` apart. ``silent``: nothing comes for ``seconds``. ``slow``: the body is read at
            ``bytes_per_s``, and served.
        after: Bytes of the body, for ``cut``.
        seconds: For ``drip`` and ``silent``.
        bytes_per_s: For ``slow``.
    """

    status: int = 0
    body: Mapping[str, Any] | str = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["answer", "lost", "cut", "half_closed", "drip", "silent", "slow"] = "answer"
    after: int = 0
    seconds: float = _MAX_SILENCE_S
    bytes_per_s: float = 0.0


FaultPlan = Callable[[str, str], "Fault | None"]
"""Asked with the method and the path of each request; None: it is served."""


@dataclass
class StoredEpisode:
    """What a :class:`FaultServer` has of an episode.

    Attributes:
        episode_id: The server's own.
        create: The payload of its first create.
        creates: How often it was created; repeats carry the same ``Idempotency-Key``.
        uploads: The bytes of its files by kind; of a file larger than the server keeps, the beginning.
        sizes: Their sizes.
        sha256: Of the whole files, in hex.
        finalize: The payload of the first finalize that was taken; None while it is open.
        finalizes: How often one was taken.
        verdicts: What running it again came to, each time that was told.
    """

    episode_id: str
    create: dict[str, Any]
    creates: int = 1
    uploads: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    finalize: dict[str, Any] | None = None
    finalizes: int = 0
    verdicts: list[dict[str, Any]] = field(default_factory=list)


class FaultServer:
    """Takes episodes as a deployment does: create, signed uploads, finalize, verdicts; all of it in memory.

    An ``Idempotency-Key`` that comes again gets the same episode and freshly signed URLs; a signature that is wrong or
    has expired is refused as S3 refuses it; what finalize claims is checked.

    Args:
        port: 0 takes any free one.
        api_key: The one that is taken; None: any.
        keep_bytes: Of an uploaded file no more is kept than this.

    Attributes:
        url: The base URL.
        episodes: By idempotency key, in the order of their creation.
        requests: Method and path of every request, faulty ones too.
        fault: Asked first about every request.
        url_lifetime_s: Of the signed URLs.
        wrong_signatures: So many of the URLs that are signed next carry a signature that is wrong.
        clock: Seconds since 1970, for the signatures.
        check_claims: Whether files are hashed, and finalize compares them with what it is told of them.
        served_elsewhere: Gives the URL of a store of its own for (key, content type), instead of this server's.

    Example::

        with FaultServer() as server:
            server.fault = lambda method, path: Fault(503) if method == "PUT" else None
            …
            server.fault = lambda method, path: None
            assert [stored.finalize["status"] for stored in server.episodes.values()] == ["ready"]
    """

    def __init__(self, port: int = 0, *, api_key: str | None = None, keep_bytes: int = 64 * 1024 * 1024) -> None:
        self.episodes: dict[str, StoredEpisode] = {}
        self.requests: list[tuple[str, str]] = []
        self.fault: FaultPlan = lambda method, path: None
        self.url_lifetime_s = 3600.0
        self.wrong_signatures = 0
        self.clock: Callable[[], float] = time.time
        self.check_claims = True
        self.served_elsewhere: Callable[[str, str], str] | None = None
        self._by_id: dict[str, StoredEpisode] = {}
        self._api_key = api_key
        self._keep_bytes = keep_bytes
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Stop serving; connections under way are cut."""
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with self._lock:
            for connection in self._connections:
                _cut(connection)

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _asked(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.requests.append((method, path))
        return self.fault(method, path)

    def _post(self, path: str, headers: Mapping[str, str], content: bytes) -> tuple[int, dict[str, Any]]:
        if self._api_key is not None and headers.get("Authorization") != f"Bearer {self._api_key}":
            return 401, {"error": "unknown API key"}
        body = json.loads(content or b"{}")
        with self._lock:
            match path.strip("/").split("/"):
                case ["api", "ingest", "episode"]:
                    return self._create(headers.get("Idempotency-Key") or secrets.token_hex(16), body)
                case ["api", "ingest", "episode", episode_id, call]:
                    stored = self._by_id.get(episode_id)
                    if stored is None:
                        return 404, {"error": "there is no such episode"}
                    if call == "upload-urls":
                        return 200, {"episode_id": episode_id, "upload_urls": self._urls(stored)}
                    if call == "finalize":
                        return self._finalize(stored, body)
                    if call == "reproduction":
                        stored.verdicts.append(body)
                        return 200, {"episode_id": episode_id, "verdict": body.get("verdict")}
        return 404, {"error": "there is no such route"}

    def _create(self, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        stored = self.episodes.get(key)
        if stored is None:
            stored = self.episodes[key] = StoredEpisode(f"ep-{len(self.episodes) + 1}", body)
            self._by_id[stored.episode_id] = stored
        else:
            stored.creates += 1
        return 201, {
            "episode_id": stored.episode_id,
            "status": "recording",
            "storage": "r2",
            "upload_urls": self._urls(stored),
        }

    def _urls(self, stored: StoredEpisode) -> list[dict[str, Any]]:
        urls = []
        for kind in stored.create["request_uploads"]:
            content_type = "video/mp4" if kind == "video" else "application/octet-stream"
            if self.served_elsewhere is not None:
                url = self.served_elsewhere(f"{stored.episode_id}/{kind}", content_type)
            else:
                url = self.url + self._signed(f"/objects/{stored.episode_id}/{kind}")
            urls.append({"kind": kind, "url": url, "expires_at": "", "public_url": None})
        return urls

    def _signed(self, path: str) -> str:
        expires = self.clock() + self.url_lifetime_s
        signature = self._signature(path, f"{expires:.3f}")
        if self.wrong_signatures > 0:
            self.wrong_signatures -= 1
            signature = "0" * len(signature)
        return f"{path}?expires={expires:.3f}&signature={signature}"

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._secret, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def _refusal(self, target: str) -> str | None:
        """An S3 answer where a signed URL does not hold."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        if not hmac.compare_digest(query.get("signature", ""), self._signature(parts.path, query.get("expires", ""))):
            return "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature does not match.</Message></Error>"
        if float(query["expires"]) < self.clock():
            return "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
        return None

    def _take(self, path: str, content: bytes, size: int, sha256: str) -> tuple[int, dict[str, Any]]:
        _, episode_id, kind = path.strip("/").split("/")
        with self._lock:
            stored = self._by_id[episode_id]
            if stored.finalize is not None and stored.sha256.get(kind) != sha256:
                return 409, {"error": f"the episode is closed: its {kind} cannot be replaced"}
            stored.uploads[kind], stored.sizes[kind], stored.sha256[kind] = content, size, sha256
            return 200, {}

    def _finalize(self, stored: StoredEpisode, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for claim in body.get("artifacts", ()) if self.check_claims and self.served_elsewhere is None else ():
            if stored.sha256.get(claim["kind"]) != claim["sha256"]:
                return 409, {"error": f"{claim['kind']}: what has arrived is not what was sent"}
        stored.finalize = stored.finalize or body
        stored.finalizes += 1
        return 200, {"episode_id": stored.episode_id, "status": stored.finalize["status"], "updated_at": ""}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no fault of the server's."""


def _cut(connection: socket.socket) -> None:
    # Without lingering: the other side gets a reset.
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _handler(server: FaultServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with server._lock:
                server._connections.add(self.connection)

        def finish(self) -> None:
            with server._lock:
                server._connections.discard(self.connection)
            super().finish()

        def _serve(self) -> None:
            path = urlsplit(self.path).path
            fault = server._asked(self.command, path) or Fault(kind="slow")
            length = int(self.headers.get("Content-Length") or 0)
            if fault.kind == "cut":
                self.rfile.read(min(fault.after, length))
                self.close_connection = True
                _cut(self.connection)
                return
            if fault.kind == "half_closed":
                self.connection.shutdown(socket.SHUT_WR)
            content, size, sha256 = self._receive(length, fault.bytes_per_s)
            if size < length or server._closing.is_set():
                self.close_connection = True
                return
            if fault.kind in ("half_closed", "silent"):
                self.close_connection = True
                server._closing.wait(fault.seconds if fault.kind == "silent" else 0)
                return
            if fault.status:
                self._answer(fault.status, fault.body, fault.headers)
                return
            status, body = self._served(path, content, size, sha256)
            if fault.kind == "lost":
                self.close_connection = True
                _cut(self.connection)
                return
            self._answer(status, body, {}, drip_s=fault.seconds if fault.kind == "drip" else 0.0)

        do_GET = do_POST = do_PUT = _serve

        def _receive(self, length: int, bytes_per_s: float) -> tuple[bytes, int, str]:
            digest, kept, size = hashlib.sha256(), bytearray(), 0
            step = _CHUNK_BYTES if not bytes_per_s else max(1, min(_CHUNK_BYTES, int(bytes_per_s / 20)))
            while size < length:
                chunk = self.rfile.read(min(length - size, step))
                if not chunk:
                    break
                if server.check_claims:
                    digest.update(chunk)
                size += len(chunk)
                if len(kept) < server._keep_bytes:
                    kept += chunk
                if bytes_per_s and server._closing.wait(len(chunk) / bytes_per_s):
                    break
            return bytes(kept), size, digest.hexdigest()

        def _served(self, path: str, content: bytes, size: int, sha256: str) -> tuple[int, Mapping[str, Any] | str]:
            if self.command == "GET":
                return 404, {"error": "there is no such episode"}
            if self.command == "POST":
                return server._post(path, self.headers, content)  # type: ignore[arg-type]  # a Message is one, nearly
            refusal = server._refusal(self.path)
            return (403, refusal) if refusal else server._take(path, content, size, sha256)

        def _answer(
            self, status: int, body: Mapping[str, Any] | str, headers: Mapping[str, str], drip_s: float = 0.0
        ) -> None:
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            if not drip_s:
                self.end_headers()
                self.wfile.write(content)
                return
            head = b"".join(self._headers_buffer) + b"\r\n"  # type: ignore[attr-defined]
            self._headers_buffer.clear()  # type: ignore[attr-defined]
            for byte in head + content:
                self.wfile.write(bytes([byte]))
                if server._closing.wait(drip_s):
                    return

        def log_message(self, *args: Any) -> None:
            return

    return Handler
