"""Health, metrics, request ids, the log, and how a deployment stops."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest
from polling import eventually
from prometheus_client.parser import text_string_to_metric_families

from robotrace.serve.database import Database
from robotrace.serve.requests import ACCESS_LOGGER, JsonFormatter
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings

CANARY = "canary-7f3a"


def samples(text):
    """``{(name, labels): value}``."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics(deployment, **options):
    answer = httpx.get(f"{deployment.base_url}/metrics", **options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return samples(answer.text)


def test_the_process_is_alive_whatever_name_it_is_asked_by(deployment):
    for path in ("/healthz", "/readyz"):
        answer = httpx.get(deployment.base_url + path, headers={"Host": "10.1.2.3:8080"})
        assert answer.status_code == 200
    assert httpx.get(f"{deployment.base_url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{deployment.base_url}/readyz").json() == {"database": "ok", "storage": "ok"}


def test_a_part_that_does_not_answer_is_named_and_its_text_is_not(deployment, monkeypatch, caplog):
    def broken(self, key=None):
        raise RuntimeError(f"password={CANARY}")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "read", broken)
        answer = httpx.get(f"{deployment.base_url}/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"database": "does not answer (RuntimeError)", "storage": "ok"}
    assert CANARY not in answer.text
    assert "database is not ready" in caplog.text
    assert httpx.get(f"{deployment.base_url}/healthz").status_code == 200


def test_requests_are_counted_by_template_never_by_path(deployment, api, objects_dir):
    before = metrics(deployment)
    episode_id = api.record({"sensors": b"x" * 1000})
    for _ in range(3):
        api.episode(episode_id)
    assert api.http.get("/api/episodes/nobody").status_code == 404
    assert api.http.get(f"/nowhere/{CANARY}").status_code == 404
    after = metrics(deployment)

    def grown(name, **labels):
        key = (name, tuple(sorted(labels.items())))
        return after.get(key, 0) - before.get(key, 0)

    template = "/api/episodes/{episode_id}"
    assert grown("robotrace_http_requests_total", method="GET", route=template, status="200") == 3
    assert grown("robotrace_http_requests_total", method="GET", route=template, status="404") == 1
    assert grown("robotrace_http_requests_total", method="GET", route="(none)", status="404") == 1
    assert grown("robotrace_http_request_duration_seconds_count", method="GET", route=template) == 4
    assert grown("robotrace_http_received_bytes_total", route="/objects/{key:path}") == 1000
    assert grown("robotrace_episodes", status="ready") == 1
    assert after["robotrace_http_requests_in_progress", ()] == 1  # this one
    for name in ("robotrace_doomed_objects",):
        assert (name, ()) in after
    assert {
        ("robotrace_renders", (("state", "queued"),)),
        ("robotrace_database_connections", (("state", "in_use"),)),
    } <= set(after)
    assert not any(CANARY in str(key) or episode_id in str(key) for key in after)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"metrics": "key"}, 401),
        ({"metrics": "public"}, 200),
        ({"public_url": "https://team.example"}, 401),
        ({"forwarded_allow_ips": "10.0.0.5"}, 401),
    ],
)
def test_who_may_read_the_metrics_is_a_setting(tmp_path, changes, status):
    with Deployment(replace(Settings(tmp_path / "data", port=0), **changes)) as deployment:
        assert httpx.get(f"{deployment.base_url}/metrics").status_code == status


def test_a_request_has_an_id_which_a_proxy_may_give(deployment):
    url = f"{deployment.base_url}/healthz"
    assert re.fullmatch("[0-9a-f]{16}", httpx.get(url).headers["x-request-id"])
    assert httpx.get(url, headers={"X-Request-Id": "proxy-1.2_3"}).headers["x-request-id"] == "proxy-1.2_3"
    for wrong in ("a b", "x" * 65, "a;b", "\u00e9"):
        given = {"X-Request-Id": wrong.encode("latin-1")}
        assert httpx.get(url, headers=given).headers["x-request-id"] != wrong


def test_an_error_of_ours_tells_its_id_and_counts_as_500(deployment, api, monkeypatch, caplog):
    monkeypatch.setattr("robotrace.serve.episodes.episode_detail", lambda *_: 1 / 0)
    episode_id = api.record()
    answer = api.http.get(f"/api/episodes/{episode_id}")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.json()["error"]
    assert "ZeroDivisionError" not in answer.text
    key = ("method", "GET"), ("route", "/api/episodes/{episode_id}"), ("status", "500")
    assert metrics(deployment)["robotrace_http_requests_total", key] >= 1


def test_the_log_has_a_line_a_request_and_no_secret(deployment, api, objects_dir, caplog):
    caplog.set_level(logging.INFO, logger=ACCESS_LOGGER)
    created = api.create(name=CANARY, request_uploads=["sensors"])
    api.put(created, "sensors", b"x" * 10)
    httpx.get(f"{deployment.base_url}/portal/episodes?policy_version={CANARY}", headers={"Cookie": f"a={CANARY}"})
    httpx.get(f"{deployment.base_url}/{CANARY}", headers={"Authorization": f"Bearer {CANARY}"})
    eventually(lambda: len([record for record in caplog.records if record.name == ACCESS_LOGGER]) >= 4)
    lines = [JsonFormatter().format(record) for record in caplog.records if record.name == ACCESS_LOGGER]
    text = "\n".join([*lines, caplog.text])
    signature = dict(pair.split("=") for pair in urlsplit(created["upload_urls"][0]["url"]).query.split("&"))[
        "signature"
    ]
    for secret in (CANARY, signature, deployment.internal_key, deployment.internal_key.split("_", 2)[2]):
        assert secret not in text
    create, put, page, none = (json.loads(line) for line in lines[:4])
    assert create["key"] == deployment.internal_key[:13]
    assert (create["method"], create["route"], create["status"]) == ("POST", "/api/ingest/episode", 201)
    assert (put["route"], put["bytes_in"], put["key"]) == ("/objects/{key:path}", 10, None)
    assert (page["route"], page["status"]) == ("/portal/episodes", 200)
    assert (none["route"], none["status"], none["key"]) == ("(none)", 404, None)
    assert all(line["duration_ms"] > 0 and line["request_id"] and line["time"] for line in (create, put, page, none))


class Process:
    """``robotrace serve`` in a process of its own."""

    def __init__(self, folder, *options):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONUNBUFFERED": "1",
            "ROBOTRACE_HOME": str(folder / "home"),
        }
        environment.pop("ROBOTRACE_BASE_URL", None)
        arguments = ["serve", "--port", "0", "--data-dir", str(folder / "data"), "--no-drain", *options]
        self._errors = (folder / "stderr").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "robotrace", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        head = []
        for line in self.process.stdout:
            head.append(line)
            if line.startswith("Data:"):
                break
        text = "".join(head)
        self.base_url = re.search(r"ROBOTRACE_BASE_URL=(\S+)", text)[1]
        self.key = re.search(r"ROBOTRACE_API_KEY=(\S+)", text)[1]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        self.process.stdout.close()
        self._errors.close()


@pytest.fixture
def serve(tmp_path):
    running = []

    def start(*options):
        running.append(Process(tmp_path, *options))
        return running[-1]

    yield start
    for process in running:
        process.close()


def test_sigterm_ends_what_is_under_way_and_refuses_what_is_new(serve, tmp_path):
    deployment = serve("--grace", "60", "--log-format", "json")
    headers = {"Authorization": f"Bearer {deployment.key}"}
    created = httpx.post(f"{deployment.base_url}/api/ingest/episode", json={}, headers=headers).json()
    url = next(slot["url"] for slot in created["upload_urls"] if slot["kind"] == "sensors")
    begun, go_on, answers = threading.Event(), threading.Event(), []

    def pieces():
        yield b"first"
        begun.set()
        go_on.wait(120)
        yield b"second"

    def put():
        kind = {"Content-Type": "application/octet-stream"}
        answers.append(httpx.put(url, content=pieces(), headers=kind, timeout=120).status_code)

    slow = threading.Thread(target=put)
    slow.start()
    try:
        assert begun.wait(60)
        incoming = tmp_path / "data" / "objects" / ".incoming"
        eventually(lambda: list(incoming.glob("*.part")), timeout_s=60)
        deployment.process.send_signal(signal.SIGTERM)
        host, port = urlsplit(deployment.base_url).netloc.split(":")

        def refused():
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
            except ConnectionRefusedError:
                return True
            return False

        eventually(refused, timeout_s=60)
        assert deployment.process.poll() is None
    finally:
        go_on.set()
        slow.join(120)
    assert answers == [200]
    assert deployment.process.wait(60) == 0
    assert (
        tmp_path / "data" / "objects" / "episodes" / created["episode_id"] / "sensors"
    ).read_bytes() == b"firstsecond"
    assert not list(incoming.glob("*.part"))
    lines = [json.loads(line) for line in (tmp_path / "stderr").read_text().splitlines()]
    put_line = next(line for line in lines if line.get("route") == "/objects/{key:path}")
    assert (put_line["status"], put_line["bytes_in"]) == (200, 11)


def test_what_takes_longer_than_the_grace_is_cut_off_and_leaves_no_part(serve, tmp_path):
    deployment = serve("--grace", "1")
    headers = {"Authorization": f"Bearer {deployment.key}"}
    created = httpx.post(f"{deployment.base_url}/api/ingest/episode", json={}, headers=headers).json()
    target = urlsplit(next(slot["url"] for slot in created["upload_urls"] if slot["kind"] == "sensors"))
    incoming = tmp_path / "data" / "objects" / ".incoming"
    with socket.create_connection((target.hostname, target.port), timeout=60) as connection:
        head = f"PUT {target.path}?{target.query} HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Length: 100\r\n"
        connection.sendall(f"{head}Content-Type: application/octet-stream\r\n\r\nhalf".encode())
        eventually(lambda: list(incoming.glob("*.part")), timeout_s=60)
        deployment.process.send_signal(signal.SIGTERM)
        assert deployment.process.wait(60) == 0
    assert not list(incoming.glob("*.part"))
    assert not (tmp_path / "data" / "objects" / "episodes").exists()
