"""``robotrace serve --check``: whether a deployment with these settings can work, tried out rather than looked at."""

from __future__ import annotations

import fcntl
import secrets
import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Literal

import httpx
from sqlalchemy.exc import DatabaseError

from robotrace.errors import ConfigurationError
from robotrace.serve.artifacts import artifact_key
from robotrace.serve.database import Database
from robotrace.serve.server import listen
from robotrace.serve.settings import Settings
from robotrace.serve.storage import open_store
from robotrace.serve.store import LocalStore, ObjectStore, StoreError

__all__ = ["check_settings"]

_Check = tuple[str, Literal["ok", "note", "wrong"], str]

_LITTLE_SPACE = 2 * 1024**3
_MAX_CLOCK_DIFFERENCE_S = 120.0
"""S3 refuses what is signed by a clock that is 15 minutes off; a machine that keeps time is not 2 off."""
_TIMEOUT_S = 15.0
_PROBE = b"robotrace serve --check"


def check_settings(settings: Settings) -> Iterator[_Check]:
    """Try data folder, port, database, storage and secret, and leave nothing behind.

    Yields:
        What was tried, how it is, and what it is or how to mend it; every kind of thing at least once.
    """
    yield _data_folder(settings)
    yield _port(settings)
    yield from _database(settings)
    yield from _storage(settings)
    yield _secret(settings)


def _data_folder(settings: Settings) -> _Check:
    folder = settings.data_dir
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with NamedTemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return "data folder", "wrong", f"{folder} cannot be written: {error.strerror}; choose another with --data-dir"
    space = f"{free / 1e9:.1f} GB free"
    if free < _LITTLE_SPACE:
        return "data folder", "wrong", f"{folder} has only {space}"
    if _is_locked(settings.lock_path):
        return "data folder", "note", f"{folder}: a deployment runs on it; {space}"
    return "data folder", "ok", f"{folder}{'' if there == folder.absolute() else ' (will be made)'}, {space}"


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # never started here
        return False
    return False


def _port(settings: Settings) -> _Check:
    try:
        listen(settings.host, settings.port).close()
    except (ConfigurationError, OSError) as error:
        return "port", "wrong", str(error)
    return "port", "ok", f"{settings.port} on {settings.host} is free"


def _database(settings: Settings) -> Iterator[_Check]:
    if not settings.database and not settings.database_path.exists():
        yield "database", "ok", f"SQLite, {settings.database_path} (will be made)"
        return
    try:
        database = Database(settings.database_url)
    except ConfigurationError as error:
        yield "database", "wrong", str(error)
        return
    try:
        yield "database", "ok", f"{database.server_version()}, {database.name}"
        schema, ours = database.schema(), database.newest_schema()
        if schema == ours:
            yield "schema", "ok", f"{ours}, this version's"
        elif schema is None or database.knows_schema(schema):
            yield "schema", "note", f"{schema or 'none yet'}; the start brings it to {ours}"
        else:
            yield "schema", "wrong", f"{schema} is of a newer RoboTrace; install that one here, too"
        database.try_writing()
        yield "writing", "ok", "a table was made and undone"
    except DatabaseError as error:
        lines = str(error.orig).strip().splitlines()
        yield "database", "wrong", f"{database.name}: {lines[0] if lines else error}"
    finally:
        database.close()


def _storage(settings: Settings) -> Iterator[_Check]:
    try:
        if settings.storage:
            # In a folder of its own: a deployment may be running on the data folder.
            with TemporaryDirectory() as folder:
                store = open_store(Settings(Path(folder), storage=settings.storage), secrets.token_bytes(32))
                yield from _bucket(store)
        else:
            yield _local(settings)
    except (ConfigurationError, StoreError, OSError) as error:
        yield "storage", "wrong", str(error)


def _local(settings: Settings) -> _Check:
    if settings.database:
        return (
            "storage",
            "note",
            f"{settings.objects_dir}: for one deployment; replicas need a bucket or this folder shared",
        )
    return "storage", "ok", str(settings.objects_dir)


def _bucket(store: ObjectStore) -> Iterator[_Check]:
    """A file goes the way of every file: PUT past us, collected, read by a part, deleted."""
    assert not isinstance(store, LocalStore)
    key = artifact_key(f"check-{secrets.token_hex(8)}", "actions")
    expires = int((datetime.now(timezone.utc) + timedelta(minutes=5)).timestamp())
    kept = None
    try:
        url = store.signed_put(key, expires=expires, max_size=1000, content_type="application/octet-stream")
        if url.startswith("/"):
            yield "storage", "note", f"{store.origin} takes files only through this deployment"
            kept = _through_us(store, key)
        else:
            began = time.time()
            put = httpx.put(
                url, content=_PROBE, headers={"Content-Type": "application/octet-stream"}, timeout=_TIMEOUT_S
            )
            if not put.is_success:
                yield "storage", "wrong", f"{store.origin} answers a signed PUT with {put.status_code} {_code(put)}"
                return
            yield "storage", "ok", f"{store.origin} takes a signed PUT"
            yield _clock(put, (began + time.time()) / 2)
            staged = store.collect(key, 1000)
            if staged is None or staged.size != len(_PROBE):
                yield "copying", "wrong", "what was PUT cannot be found again"
                return
            kept = staged.key
            yield "copying", "ok", "copied within the bucket and read back"
        yield _range(store, kept, expires)
        store.collected(key, kept)
        store.delete(kept)
        gone, kept = store.size(kept) is None, None
        yield ("deleting", "ok", "deleted") if gone else ("deleting", "wrong", "a deleted object is still there")
    except httpx.HTTPError as error:
        yield "storage", "wrong", f"{store.origin} cannot be reached over HTTP: {type(error).__name__}"
    finally:
        if kept is not None:
            store.delete(kept)


def _through_us(store: ObjectStore, key: str) -> str:
    writer = store.writer(1000)
    try:
        writer.write(_PROBE)
        writer.flush()
        return store.stage(key, writer, "application/octet-stream").key
    finally:
        writer.discard()


def _clock(answer: httpx.Response, ours: float) -> _Check:
    try:
        difference = parsedate_to_datetime(answer.headers["Date"]).timestamp() - ours
    except (KeyError, ValueError):
        return "clock", "note", "the bucket does not say what time it has"
    if abs(difference) > _MAX_CLOCK_DIFFERENCE_S:
        return (
            "clock",
            "wrong",
            f"{difference:+.0f} s from the bucket's, which refuses what is signed then; set this machine's",
        )
    return "clock", "ok", f"within {max(1, round(abs(difference)))} s of the bucket's"


def _range(store: ObjectStore, key: str, expires: int) -> _Check:
    url = store.signed_get(key, expires=expires, content_type="application/octet-stream")
    answer = httpx.get(url, headers={"Range": "bytes=10-14"}, timeout=_TIMEOUT_S)
    if answer.status_code == 206 and answer.content == _PROBE[10:15]:
        return "range", "ok", "a part of a file can be read, as browsers do with videos"
    if answer.is_success:
        return (
            "range",
            "wrong",
            "the bucket sends all of a file that it is asked a part of: no browser can seek in a video",
        )
    return "range", "wrong", f"{store.origin} answers a signed GET with {answer.status_code} {_code(answer)}"


def _code(answer: httpx.Response) -> str:
    """The code in the answer of an S3 store; nothing else of it, as it may repeat what was signed."""
    return answer.text.partition("<Code>")[2].partition("</Code>")[0][:60]


def _secret(settings: Settings) -> _Check:
    try:
        given = settings.signing_secret is not None
    except ConfigurationError as error:
        return "secret", "wrong", f"ROBOTRACE_SERVE_SECRET: {error}"
    if given:
        return "secret", "ok", "from ROBOTRACE_SERVE_SECRET"
    if settings.database and settings.storage:
        return "secret", "note", f"in {settings.secret_path}; several replicas need the same ROBOTRACE_SERVE_SECRET"
    return "secret", "ok", f"in {settings.secret_path}{'' if settings.secret_path.exists() else ' (will be made)'}"
