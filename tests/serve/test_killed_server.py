"""A deployment that is killed and started again while eight clients write to it."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx
import pytest
from polling import eventually

from robotrace.config import ENV_SERVE_DATABASE, ENV_SERVE_STORAGE

WRITERS = 8
EPISODES_EACH = 6
KILLED_AFTER = (6, 18, 30)
"""Finalized episodes."""
GIVE_UP_S = 120.0


class Killable:
    """``robotrace serve`` in a process of its own, on a port of its own each time."""

    def __init__(self, settings):
        self.key = ""
        self.base_url = ""
        self.is_up = threading.Event()
        self._settings = settings
        self._process = None
        self._log = settings.data_dir.parent / "serve.log"

    def start(self):
        own = self._settings
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            ENV_SERVE_DATABASE: own.database,
            ENV_SERVE_STORAGE: own.storage,
        }
        command = [sys.executable, "-m", "robotrace", "serve", "--port", "0", "--no-drain", "--data-dir", own.data_dir]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        eventually(self._says_so, GIVE_UP_S)
        lines = self._log.read_text().splitlines()
        self.key = self.key or next(line.partition("KEY=")[2] for line in lines if "KEY=" in line)
        self.base_url = lines[0].split()[-1].removesuffix("/portal/episodes")
        self.is_up.set()

    def _says_so(self):
        assert self._process.poll() is None, self._log.read_text()
        return "Stop: Ctrl-C" in self._log.read_text()

    def kill(self):
        self.is_up.clear()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def server(settings):
    server = Killable(settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Load:
    """Writers that repeat what was not answered, and note every answer that is not as it should be."""

    def __init__(self, server):
        self.finalized = 0
        self.wrong = []
        self._server = server
        self._counting = threading.Lock()
        self._until = time.monotonic() + GIVE_UP_S

    def send(self, number):
        """An episode with two files; returns what they hold."""
        client = uuid.UUID(int=number)
        files = {kind: f"{kind} of {number} ".encode() * 5000 for kind in ("sensors", "actions")}
        body = {"name": f"episode {number}", "request_uploads": list(files)}
        with httpx.Client(verify=False, timeout=30) as http:
            while not self._once(http, str(client), body, files):
                assert self._server.is_up.wait(GIVE_UP_S), "the deployment did not come back"
                assert time.monotonic() < self._until
        with self._counting:
            self.finalized += 1
        return files

    def _once(self, http, client, body, files):
        ours = self._server.base_url
        ingest = f"{ours}/api/ingest/episode"
        key = {"Authorization": f"Bearer {self._server.key}"}
        binary = {"Content-Type": "application/octet-stream"}
        claims = [
            {"kind": kind, "size": len(content), "sha256": sha256(content).hexdigest()}
            for kind, content in files.items()
        ]
        try:
            for _ in range(2):  # as a client that missed the first answer
                created = http.post(ingest, json=body, headers=key | {"Idempotency-Key": client})
                if not self._expect(created, 201):
                    return False
            for upload in created.json()["upload_urls"]:
                put = http.put(upload["url"], content=files[upload["kind"]], headers=binary)
                if upload["url"].startswith(ours):
                    if not self._expect(put, 200):
                        return False
                elif not put.is_success:  # of the bucket, which is not what is tested
                    return False
            url = f"{ingest}/{created.json()['episode_id']}/finalize"
            return self._expect(http.post(url, json={"status": "ready", "artifacts": claims}, headers=key), 200)
        except httpx.TransportError:
            return False  # it is down

    def _expect(self, answer, status):
        if answer.status_code != status:
            self.wrong.append((answer.request.method, answer.request.url.path, answer.status_code, answer.text))
        return answer.status_code == status


def test_eight_writers_lose_nothing_and_double_nothing_when_the_server_is_killed(server):
    load = Load(server)
    numbers = range(1, WRITERS * EPISODES_EACH + 1)
    with ThreadPoolExecutor(WRITERS) as pool:
        sent = pool.map(load.send, numbers)
        for count in KILLED_AFTER:
            eventually(lambda count=count: load.finalized >= count, GIVE_UP_S)
            server.kill()
            server.start()
        sent = dict(zip(numbers, sent, strict=True))
    assert load.wrong == []
    headers = {"Authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=server.base_url, headers=headers, follow_redirects=True, timeout=60) as http:
        listed = http.get("/api/episodes?limit=200").json()["episodes"]
        assert sorted(episode["name"] for episode in listed) == sorted(f"episode {number}" for number in numbers)
        assert {episode["status"] for episode in listed} == {"ready"}
        for episode in listed:
            files = sent[int(episode["name"].split()[-1])]
            for kind, content in files.items():
                assert http.get(f"/api/episodes/{episode['episode_id']}/artifact/{kind}").content == content
