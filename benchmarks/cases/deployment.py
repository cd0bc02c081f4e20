"""The embedded deployment under load, over real HTTP: eight writers, a long list, large files.

``embedded`` is SQLite and files in a folder. ``postgres`` is a database of its own on the server of the one that
ROBOTRACE_BENCH_DATABASE names, with the storage of ROBOTRACE_BENCH_STORAGE, else files in a folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np

__all__ = ["measure", "running"]

_MIB = 1024 * 1024
_OCTETS = {"Content-Type": "application/octet-stream"}
# In a process of its own, as in use: its threads would share the interpreter with the clients.
_SERVE = """
import sys
from pathlib import Path
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings
options = {}
if sys.argv[2]:
    options["database"] = sys.argv[2]
if sys.argv[3]:
    options["storage"] = sys.argv[3]
with Deployment(Settings(Path(sys.argv[1]), port=0, rate_limit=None, **options)) as deployment:
    print(deployment.base_url, deployment.internal_key, flush=True)
    sys.stdin.read()
"""


def measure(contestant: str, *, what: str, **size: Any) -> dict[str, Any]:
    """``what``: ``ingest``, ``list`` or ``files``; see the functions of these names for the sizes."""
    with tempfile.TemporaryDirectory(prefix="robotrace-bench-") as folder:
        database = storage = ""
        if contestant == "postgres":
            database = os.environ.get("ROBOTRACE_BENCH_DATABASE", "")
            storage = os.environ.get("ROBOTRACE_BENCH_STORAGE", "")
            if not database:
                raise RuntimeError("ROBOTRACE_BENCH_DATABASE names no database")
        with _own(database) as database, running(Path(folder), database, storage) as (base_url, key):
            headers = {"Authorization": f"Bearer {key}"}
            return {"ingest": _ingest, "list": _list, "files": _files}[what](
                base_url, headers, Path(folder), database, **size
            )


@contextmanager
def _own(server: str) -> Iterator[str]:
    """A new database on the server of this one; empty where there is none."""
    if not server:
        yield ""
        return
    from sqlalchemy import create_engine, make_url

    url, name = make_url(server), f"robotrace_bench_{uuid.uuid4().hex}"
    engine = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        try:
            yield url.set(database=name).render_as_string(hide_password=False)
        finally:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        engine.dispose()


@contextmanager
def running(folder: Path, database: str, storage: str) -> Iterator[tuple[str, str]]:
    """A deployment in a process of its own on ``folder / "data"``; its base URL and a key."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(folder / "data"), database, storage],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        base_url, key = process.stdout.readline().split()
        yield base_url, key
        process.stdin.close()
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _ingest(
    base_url: str, headers: dict[str, str], folder: Path, database: str, *, writers: int, seconds: float, nbytes: int
) -> dict[str, Any]:
    """Whole episodes, each of a create, two PUTs of ``nbytes`` and a finalize, by ``writers`` at once."""
    content = os.urandom(nbytes)

    def write(number: int) -> dict[str, list[float]]:
        took: dict[str, list[float]] = {"create": [], "put": [], "finalize": []}
        with httpx.Client(base_url=base_url, headers=headers) as api, httpx.Client() as files:
            ends = time.perf_counter() + seconds

            def timed(call: str, response: httpx.Response, began: float) -> httpx.Response:
                took[call].append(time.perf_counter() - began)
                response.raise_for_status()
                return response

            while time.perf_counter() < ends:
                body = {"policy_version": f"writer {number}", "request_uploads": ["sensors", "actions"]}
                began = time.perf_counter()
                created = timed("create", api.post("/api/ingest/episode", json=body), began).json()
                for slot in created["upload_urls"]:
                    began = time.perf_counter()
                    timed("put", files.put(slot["url"], content=content, headers=_OCTETS), began)
                path = f"/api/ingest/episode/{created['episode_id']}/finalize"
                began = time.perf_counter()
                timed("finalize", api.post(path, json={"status": "ready"}), began)
        return took

    began = time.perf_counter()
    with ThreadPoolExecutor(writers) as pool:
        results = list(pool.map(write, range(writers)))
    took_s = time.perf_counter() - began
    figures = {"episodes_per_s": sum(len(result["finalize"]) for result in results) / took_s}
    for call in ("create", "put", "finalize"):
        times = np.concatenate([result[call] for result in results]) * 1e3
        figures[f"{call}_p50_ms"], figures[f"{call}_p99_ms"] = np.percentile(times, [50, 99]).tolist()
    return figures


def _list(
    base_url: str, headers: dict[str, str], folder: Path, database: str, *, episodes: int, requests: int
) -> dict[str, Any]:
    """The newest 50 of ``episodes``, other pages of them, and the portal's, one request after the other."""
    _fill(folder, database, episodes)
    queries = {
        "newest": {},
        "failed": {"status": "failed"},
        "policy": {"policy_version": "policy 7"},
        "seed": {"seed": 77},
        "robot": {"robot": "robot 3"},
        "rare_reason": {"failure_reason": "only once"},
        "rare_name": {"name": f"episode {episodes // 2} "},
    }
    figures = {}
    with httpx.Client(base_url=base_url, headers=headers, timeout=60) as api:
        for name, query in queries.items():
            times = []
            for _ in range(requests if name == "newest" else max(5, requests // 10)):
                began = time.perf_counter()
                answer = api.get("/api/episodes", params={"limit": 50, **query})
                times.append((time.perf_counter() - began) * 1e3)
                answer.raise_for_status()
            figures[f"{name}_p50_ms"], figures[f"{name}_p99_ms"] = np.percentile(times, [50, 99]).tolist()
        for name, path in (("twin", "episodes.json"), ("page", "episodes"), ("policies", "policies.json")):
            times = []
            for _ in range(max(5, requests // 4)):
                began = time.perf_counter()
                answer = api.get(f"/portal/{path}")
                times.append((time.perf_counter() - began) * 1e3)
                answer.raise_for_status()
            figures[f"{name}_p50_ms"] = float(np.median(times))
        times = []
        cursor = ""
        for _ in range(episodes // 200 - 1):  # to the end of the list
            began = time.perf_counter()
            cursor = api.get("/api/episodes", params={"limit": 200, "cursor": cursor}).json()["next"]
            times.append((time.perf_counter() - began) * 1e3)
        figures["last_page_ms"] = float(np.median(times[-10:]))
    return figures


def _fill(folder: Path, database: str, episodes: int) -> None:
    """Rows, past HTTP: what is measured is reading them."""
    from sqlalchemy import insert

    from robotrace.serve.database import Database
    from robotrace.serve.models import Artifact, Episode, utc_now
    from robotrace.serve.settings import Settings

    opened = Database(Settings(folder / "data", database=database).database_url)
    now = utc_now()
    try:
        for begin in range(0, episodes, 5000):
            numbers = range(begin, min(begin + 5000, episodes))
            rows = [
                {
                    "id": f"bench-{number:08}",
                    "project_id": 1,
                    "status": "failed" if number % 5 == 0 else "ready",
                    "source": "sim",
                    "name": f"episode {number} of many",
                    "robot": f"robot {number % 20}",
                    "policy_version": f"policy {number % 40}",
                    "seed": number % 5000,
                    "success": number % 5 != 0,
                    "failure_reason": "only once" if number == episodes // 2 else None,
                    "meta": {"task": "pick", "config": {f"key_{key}": key for key in range(40)}},
                    "requested_uploads": ["sensors"],
                    "created_at": now - timedelta(seconds=episodes - number),
                    "updated_at": now,
                }
                for number in numbers
            ]
            files = [
                {
                    "episode_id": row["id"],
                    "kind": "sensors",
                    "object_key": f"episodes/{row['id']}/sensors",
                    "file_name": "sensors.npz",
                    "content_type": "application/octet-stream",
                    "size": 1000,
                    "sha256": "0" * 64,
                    "stored_at": now,
                }
                for row in rows
            ]
            with opened.write() as session:
                session.execute(insert(Episode), rows)
                session.execute(insert(Artifact), files)
    finally:
        opened.close()


def _files(
    base_url: str, headers: dict[str, str], folder: Path, database: str, *, mib: int, requests: int
) -> dict[str, Any]:
    """A PUT of ``mib`` MiB, the ZIP file of the episode, and Range requests of 64 KiB at random."""
    rng = np.random.default_rng(7)
    block = rng.bytes(_MIB)
    with httpx.Client(base_url=base_url, headers=headers, timeout=600) as api:
        created = api.post("/api/ingest/episode", json={"request_uploads": ["sensors"]}).json()
        url = created["upload_urls"][0]["url"]
        began = time.perf_counter()
        content = (block for _ in range(mib))
        put = httpx.put(url, content=content, headers={**_OCTETS, "Content-Length": str(mib * _MIB)}, timeout=600)
        put.raise_for_status()
        put_s = time.perf_counter() - began
        episode_id = created["episode_id"]
        api.post(f"/api/ingest/episode/{episode_id}/finalize", json={"status": "ready"}).raise_for_status()
        began = time.perf_counter()
        with api.stream("GET", f"/api/episodes/{episode_id}/download") as answer:
            received = sum(len(chunk) for chunk in answer.iter_raw(_MIB))
        zip_s = time.perf_counter() - began
        signed = api.get(f"/api/episodes/{episode_id}/artifact/sensors").headers["location"]
    times = []
    with httpx.Client() as files:
        for begin in rng.integers(0, mib * _MIB - 65536, requests):
            began = time.perf_counter()
            answer = files.get(signed, headers={"Range": f"bytes={begin}-{begin + 65535}"})
            times.append(time.perf_counter() - began)
            assert answer.status_code == 206, answer.status_code
    return {
        "put_mib_per_s": mib / put_s,
        "zip_mib_per_s": received / _MIB / zip_s,
        "ranges_per_s": requests / sum(times),
        "range_p50_ms": float(np.median(times)) * 1e3,
    }
