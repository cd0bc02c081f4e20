"""A real deployment on loopback, and a client that speaks the wire."""

import hashlib
import io
import json
import struct
import uuid
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the server extra is not installed")

import av
import httpx
import numpy as np
from sqlalchemy import select

from robotrace.serve.database import Database
from robotrace.serve.models import Artifact
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings
from robotrace.serve.storage import open_store

from .backends import ON_SERVERS, run_servers
from .portal_fixtures import Tab, chromium

CONTENT_TYPES = {"video": "video/mp4"}


@dataclass(frozen=True)
class Api:
    """The client's side of the contract, over real HTTP."""

    http: httpx.Client

    def create(self, *, key=None, **body):
        headers = {} if key is None else {"Idempotency-Key": key}
        response = self.http.post("/api/ingest/episode", json=body, headers=headers)
        assert response.status_code == 201, response.text
        return response.json()

    def put(self, created, kind, content):
        url = next(entry["url"] for entry in created["upload_urls"] if entry["kind"] == kind)
        headers = {"Content-Type": CONTENT_TYPES.get(kind.partition(".")[0], "application/octet-stream")}
        return httpx.put(url, content=content, headers=headers, timeout=60)

    def finalize(self, episode_id, **body):
        return self.http.post(f"/api/ingest/episode/{episode_id}/finalize", json={"status": "ready"} | body)

    def episode(self, episode_id):
        response = self.http.get(f"/api/episodes/{episode_id}")
        assert response.status_code == 200, response.text
        return response.json()

    def record(self, files=(), *, finalize=None, **body):
        """A whole episode; returns its id."""
        files = dict(files)
        created = self.create(request_uploads=list(files), **body)
        for kind, content in files.items():
            assert self.put(created, kind, content).status_code == 200
        assert self.finalize(created["episode_id"], **(finalize or {})).status_code == 200
        return created["episode_id"]


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """A PostgreSQL and an S3 store."""
    with run_servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture(scope="module")
def amazon(servers):
    """The URL of a bucket of moto's, which checks no signature and does the rest as Amazon does."""
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        httpx.put(f"http://{host}:{port}/bucket").raise_for_status()
        yield f"s3://bucket/some/prefix?endpoint=http://{host}:{port}&region=us-east-1"
    finally:
        server.stop()


@pytest.fixture(scope="module")
def settings(tmp_path_factory, request):
    """Of a deployment on the backend that ``ROBOTRACE_TEST_BACKEND`` names.

    Without limits: a module of tests asks more often than people do.
    """
    data_dir = tmp_path_factory.mktemp("deployment") / "data"
    if ON_SERVERS:
        return replace(request.getfixturevalue("servers").settings(data_dir), rate_limit=None)
    return Settings(data_dir, port=0, rate_limit=None)


@pytest.fixture(scope="module")
def objects_dir(settings):
    """The folder of the local store, for tests that look at its files."""
    if settings.storage:
        pytest.skip("it is about the files of the local store")
    return settings.objects_dir


@pytest.fixture(scope="module")
def deployment(settings):
    """One for the tests of a module; they tell their episodes apart by id, or by a policy version of their own."""
    with Deployment(settings) as running:
        yield running


@pytest.fixture(scope="module")
def api(deployment):
    headers = {"Authorization": f"Bearer {deployment.internal_key}"}
    with httpx.Client(base_url=deployment.base_url, headers=headers, timeout=60) as http:
        yield Api(http)


@pytest.fixture(scope="module")
def store(deployment, settings, tmp_path_factory):
    """The deployment's own store, to sign what its routes would never sign."""
    elsewhere = tmp_path_factory.mktemp("store")  # a bucket's store keeps files of its own there
    own = replace(settings, data_dir=elsewhere) if settings.storage else settings
    return open_store(own, settings.secret_path.read_bytes())


@pytest.fixture
def database(deployment, settings):
    """A second connection to the deployment's database."""
    database = Database(settings.database_url)
    yield database
    database.close()


@pytest.fixture
def lose(database, store):
    """Deletes the file in a slot behind the deployment's back."""

    def delete(episode_id, kind):
        with database.read() as session:
            artifact = session.scalars(
                select(Artifact).where(Artifact.episode_id == episode_id, Artifact.kind == kind)
            ).one()
            key = artifact.object_key
        store.delete(key)

    return delete


@pytest.fixture
def policy():
    """A policy version that no other test's episodes have."""
    return str(uuid.uuid4())


@pytest.fixture
def claim():
    def make(kind, content):
        return {"kind": kind, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    return make


@pytest.fixture
def npz():
    """Makes the bytes of an NPZ file from ``{key: array}``."""

    def make(arrays):
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    return make


class Series:
    """The answer of series.bin, read as the portal's script reads it."""

    def __init__(self, content):
        (length,) = struct.unpack_from("<I", content)
        self.payload_start = 4 + length
        self.header = json.loads(content[4 : self.payload_start])
        self.streams = {stream["name"]: stream for stream in self.header["streams"]}
        self.skipped = {stream["name"]: stream["reason"] for stream in self.header["skipped"]}
        self._payload = content[self.payload_start :]

    def times(self, name):
        stream = self.streams[name]
        return np.frombuffer(self._payload, "<f8", stream["rows"], stream["time_offset"])

    def values(self, name):
        """``(columns, rows)``."""
        stream = self.streams[name]
        shape = len(stream["labels"]), stream["rows"]
        return np.frombuffer(self._payload, "<f4", shape[0] * shape[1], stream["values_offset"]).reshape(shape)


@pytest.fixture
def decode_series():
    return Series


@pytest.fixture
def write_npz(tmp_path, npz):
    def write(arrays) -> Path:
        path = tmp_path / "file.npz"
        path.write_bytes(npz(arrays))
        return path

    return write


@pytest.fixture
def write_video(tmp_path):
    """Writes frames at the given times in ms, 32 × 32 pixels; returns the path."""

    def write(times_ms, *, b_frames=0, name="video.mp4") -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
            stream.options = {"bf": str(b_frames), "preset": "ultrafast" if b_frames == 0 else "medium"}
            for number, time_ms in enumerate(times_ms):
                image = np.full((32, 32, 3), number * 7 % 256, dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def tab(browser, deployment, request):
    """A page of each kind; nothing may be in its console at the end."""
    width, scheme = request.param
    tab = Tab(browser, deployment.base_url, viewport={"width": width, "height": 800}, color_scheme=scheme)
    yield tab
    tab.close()
    assert tab.complaints == []


@pytest.fixture
def desktop(browser, deployment):
    """A page of one kind, where the layout does not matter."""
    tab = Tab(browser, deployment.base_url, viewport={"width": 1280, "height": 800})
    yield tab
    tab.close()
    assert tab.complaints == []
