"""A deployment in miniature on a real socket: the three ingest calls, and faults on demand. Standard library only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[[str, str], "tuple[int, dict[str, Any]] | None"]


@dataclass
class StoredEpisode:
    create: dict[str, Any]
    uploads: dict[str, bytes] = field(default_factory=dict)
    finalize: dict[str, Any] | None = None


class IngestServer:
    """Speaks contract.md's ingest routes; ``fault(method, path)`` may answer instead of it."""

    def __init__(self, port: int = 0) -> None:
        self.episodes: dict[str, StoredEpisode] = {}
        self.requests: list[tuple[str, str]] = []
        self.fault: Fault = lambda method, path: None
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> IngestServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        with self.lock:
            self.requests.append((method, path))
        fault = self.fault(method, path)
        if fault is not None:
            return fault
        parts = path.strip("/").split("/")
        with self.lock:
            if method == "PUT":
                self.episodes[parts[1]].uploads[parts[2]] = body
                return 200, {}
            payload = json.loads(body)
            if path == "/api/ingest/episode":
                uuid = headers["Idempotency-Key"]
                self.episodes.setdefault(uuid, StoredEpisode(payload))
                urls = [
                    {"kind": kind, "url": f"{self.url}/objects/{uuid}/{kind}", "expires_at": "", "public_url": None}
                    for kind in payload["request_uploads"]
                ]
                return 201, {"episode_id": uuid, "status": "recording", "storage": "r2", "upload_urls": urls}
            self.episodes[parts[3]].finalize = payload
            return 200, {"episode_id": parts[3], "status": payload["status"]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = server.answer(self.command, self.path, self.headers, body)
                if status == 0:  # a lost answer: the request was served, the connection dies
                    self.close_connection = True
                    return
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PUT = _serve

            def log_message(self, *args: Any) -> None:
                return

        return Handler
