"""Connections that send nothing, too slowly, or too much."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from robotrace.serve import connections
from robotrace.serve.connections import MAX_HEAD_BYTES, BoundedProtocol
from robotrace.serve.guard import Guard
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

DEADLINE_S = 60.0


@pytest.fixture
def deployment(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """One that waits for a head or a piece of a body only briefly."""
    monkeypatch.setattr(BoundedProtocol, "head_s", 0.3)
    monkeypatch.setattr(BoundedProtocol, "body_s", 0.3)
    with Deployment(Settings(tmp_path / "data", port=0)) as running:
        yield running


def connect(deployment: Deployment) -> socket.socket:
    address = urlsplit(deployment.base_url)
    connection = socket.create_connection((address.hostname, address.port), timeout=DEADLINE_S)
    connection.settimeout(DEADLINE_S)
    return connection


def received(connection: socket.socket) -> bytes:
    """Everything until the other side closes; fails at the deadline."""
    found = b""
    try:
        while block := connection.recv(65536):
            found += block
    except ConnectionResetError:
        pass
    return found


def head(deployment: Deployment, method: str, path: str, *lines: str) -> bytes:
    text = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(deployment.base_url).netloc}", *lines, "", ""]
    return "\r\n".join(text).encode()


def upload(deployment: Deployment) -> str:
    created = httpx.post(
        f"{deployment.base_url}/api/ingest/episode",
        json={"request_uploads": ["sensors"]},
        headers={"Authorization": f"Bearer {deployment.first_key}"},
    ).json()
    url = urlsplit(created["upload_urls"][0]["url"])
    return f"{url.path}?{url.query}"


@pytest.mark.parametrize("sent", [b"", b"GE", b"GET /portal/episodes HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n"])
def test_a_head_that_never_ends_is_not_waited_for(deployment: Deployment, sent: bytes) -> None:
    with closing(connect(deployment)) as connection:
        connection.sendall(sent)
        assert received(connection) == b""


@pytest.mark.parametrize("before", [b"", b"GET /static/icon.svg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], ids=["1", "2"])
def test_a_head_that_trickles_in_is_not_waited_for_either(deployment: Deployment, before: bytes) -> None:
    """Neither the first nor the second one: a piece now and then does not begin the time anew."""
    with closing(connect(deployment)) as connection:
        connection.sendall(before)
        deadline = time.monotonic() + DEADLINE_S
        connection.settimeout(0.02)
        while True:
            assert time.monotonic() < deadline
            try:
                if connection.recv(65536) == b"":
                    break
            except TimeoutError:
                try:
                    connection.sendall(b"X")
                except OSError:
                    break
            except OSError:
                break


def test_a_file_that_stops_half_way_is_dropped_and_leaves_nothing(deployment: Deployment) -> None:
    path = upload(deployment)
    with closing(connect(deployment)) as connection:
        lines = "Content-Type: application/octet-stream", "Content-Length: 100"
        connection.sendall(head(deployment, "PUT", path, *lines) + b"x" * 50)
        assert b" 200 " not in received(connection)
    incoming = deployment._settings.objects_dir / ".incoming"
    deadline = time.monotonic() + DEADLINE_S
    while list(incoming.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


class FakeLoop:
    """One whose time passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[], None]) -> SimpleNamespace:
        self.timers.append((self.now + delay, call))
        return SimpleNamespace(cancel=self.timers.clear)

    def pass_to(self, now: float) -> None:
        self.now = now
        due = [timer for timer in self.timers if timer[0] <= now]
        self.timers = [timer for timer in self.timers if timer[0] > now]
        for _, call in due:
            call()


def test_a_file_may_take_any_time_as_long_as_its_pieces_come_and_somebody_takes_them() -> None:
    closed: list[float] = []
    loop = FakeLoop()
    protocol: Any = BoundedProtocol.__new__(BoundedProtocol)
    protocol.loop = loop
    protocol.cycle = SimpleNamespace(response_complete=False, more_body=True)
    protocol.flow = SimpleNamespace(read_paused=False)
    protocol.transport = SimpleNamespace(is_closing=lambda: bool(closed), close=lambda: closed.append(loop.now))
    protocol._watch()
    for moment in (50.0, 100.0, 150.0):
        loop.pass_to(moment - 1)
        protocol._latest = moment
        protocol._watch()
    loop.pass_to(180.0)
    assert closed == []
    protocol.flow.read_paused = True  # we are slow
    loop.pass_to(215.0)
    assert closed == []
    protocol.flow.read_paused = False
    loop.pass_to(290.0)
    assert closed == [290.0]


def test_json_that_stops_half_way_is_answered_408(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "patience_s", 0.3)
    with Deployment(Settings(tmp_path / "data", port=0)) as deployment, closing(connect(deployment)) as connection:
        lines = f"Authorization: Bearer {deployment.first_key}", "Content-Type: application/json", "Content-Length: 99"
        connection.sendall(head(deployment, "POST", "/api/ingest/episode", *lines) + b"{")
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'{"error":"the body of the request did not arrive in time"}' in answer


def test_a_body_in_chunks_is_bounded_as_one_that_says_its_length(deployment: Deployment) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(17):
            yield b"x" * 1024 * 1024

    headers = {"Authorization": f"Bearer {deployment.first_key}", "Content-Type": "application/json"}
    with closing(connect(deployment)) as connection:
        lines = [*(f"{name}: {value}" for name, value in headers.items()), "Transfer-Encoding: chunked"]
        connection.sendall(head(deployment, "POST", "/api/ingest/episode", *lines))
        try:
            for chunk in chunks():
                connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        except OSError:
            pass  # refused before all of it was sent
        answer = received(connection)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
    assert httpx.get(f"{deployment.base_url}/api/episodes", headers=headers).json()["episodes"] == []


def test_a_head_that_is_too_large_is_refused(deployment: Deployment) -> None:
    with closing(connect(deployment)) as connection:
        try:
            connection.sendall(head(deployment, "GET", "/portal/episodes", f"X-A: {'b' * 2 * MAX_HEAD_BYTES}"))
        except OSError:
            pass
        answer = received(connection)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert httpx.get(f"{deployment.base_url}/portal/episodes.json").status_code == 200


def test_idle_connections_beyond_the_limit_are_refused_until_they_are_gone(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robotrace.serve.server.max_connections", lambda: 5)
    monkeypatch.setattr(BoundedProtocol, "head_s", 1.0)
    with Deployment(Settings(tmp_path / "data", port=0)) as deployment:
        idle = [connect(deployment) for _ in range(8)]
        try:
            statuses = set()
            deadline = time.monotonic() + DEADLINE_S
            while 200 not in statuses:
                assert time.monotonic() < deadline
                statuses.add(httpx.get(f"{deployment.base_url}/static/icon.svg").status_code)
                time.sleep(0.05)
        finally:
            for connection in idle:
                connection.close()
    assert statuses <= {200, 503}


@pytest.mark.parametrize(
    ("soft", "most"), [(1024, 512), (100_000, 2000), (20, 50), (resource.RLIM_INFINITY, 2000)], ids=str
)
def test_there_are_never_more_connections_than_files(monkeypatch: pytest.MonkeyPatch, soft: int, most: int) -> None:
    monkeypatch.setattr(connections.resource, "getrlimit", lambda kind: (soft, soft))
    assert connections.max_connections() == most
