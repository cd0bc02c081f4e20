"""Where the bytes of artifacts lie: what every store can do, and the one in a folder of this machine.

The bucket is in :mod:`robotrace.serve.bucket`. A file arrives in two steps in both: its bytes come first, under a name
of nobody's; they get their place in the transaction that notes them in the database.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from robotrace.serve.grants import Grant, Method, StoreError, UrlSigner, check_key

__all__ = ["Grant", "LocalStore", "ObjectStore", "ObjectWriter", "Staged", "StoreError", "sync_folder"]

_INCOMING = ".incoming"
_IDENTITY = "storage-id"
_BLOCK = 1024 * 1024


class Staged(Protocol):
    """A file whose bytes the store has, and that has no place yet.

    Attributes:
        key: Where it will be found.
        size: In bytes.
        sha256: In hex.
        head: The first 16 bytes.
    """

    key: str
    size: int
    sha256: str
    head: bytes

    def commit(self) -> None:
        """Put it under its key; within the transaction that notes it, so never slow."""

    def settle(self) -> None:
        """After that transaction: make it last."""

    def discard(self) -> None:
        """Delete it, unless it was committed."""


class ObjectStore(Protocol):
    """Objects under keys, segments separated by ``/``.

    Every method raises :class:`StoreError`: 400 for a key that no object can have, 503 when a bucket does not answer.

    Attributes:
        origin: Scheme and host that pages load video from, where it is not the deployment; else empty.
        name: Where it is: a folder, or the URL of a bucket without what signs for it.
    """

    origin: str
    name: str

    def check(self, method: Method, key: str, query: Mapping[str, str]) -> Grant:
        """What the query of an ``/objects`` URL permits; see :meth:`robotrace.serve.grants.UrlSigner.check`."""

    def signed_put(self, key: str, *, expires: int, max_size: int, content_type: str) -> str:
        """A URL that takes the file of a slot: an absolute one, or a path and query of this deployment."""

    def signed_get(self, key: str, *, expires: int, content_type: str, file_name: str = "") -> str:
        """A URL that reads one object, likewise; with a ``file_name``, as an attachment."""

    def size(self, key: str) -> int | None:
        """Of an object in bytes, None when there is none."""

    def local_file(self, key: str) -> AbstractContextManager[Path]:
        """A file to read an object from; raises :class:`StoreError` 404 when there is none."""

    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes of an object; raises :class:`StoreError` 404 when there is none."""

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Store a copy of a file."""

    def delete(self, key: str) -> None:
        """Delete an object; that there is none is fine."""

    def empty(self, key: str) -> None:
        """Delete what lies in the slot with this key, and what waits for it."""

    def writer(self, max_size: int) -> ObjectWriter:
        """Begin a file of at most ``max_size`` bytes that comes through this deployment."""

    def stage(self, key: str, writer: ObjectWriter, content_type: str) -> Staged:
        """Take what was written and flushed, for a slot with this key."""

    def waiting(self, folder: str) -> Sequence[str]:
        """The keys of slots below a folder whose files were PUT past this deployment, and are to be collected."""

    def collect(self, key: str, max_size: int) -> Staged | None:
        """Take what waits for a slot, None when it is gone; raises :class:`StoreError` 413 when it is too large."""

    def collected(self, key: str, kept: str) -> None:
        """What waited for a slot is not needed any more, nor what lies beside the object ``kept`` for the same slot."""

    def identity(self) -> str:
        """What tells this store from every other; made on the first call, and moves with its objects."""

    def cache_use(self) -> tuple[int, int] | None:
        """Bytes of a bucket that lie on this machine, and bytes that may; None where nothing is copied."""


class LocalStore:
    """Objects as files under ``root``.

    Args:
        root: The folder; made when it is not there.
        secret: What URLs are signed with.
    """

    origin = ""

    def __init__(self, root: Path, secret: bytes) -> None:
        self._root = root.resolve()
        self.name = str(self._root)
        self._signer = UrlSigner(secret)
        self._incoming = self._root / _INCOMING
        self.check = self._signer.check
        for folder in (self._root, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def cache_use(self) -> None:
        """Nothing is copied: the objects are files of this machine."""

    def discard_incoming(self, unchanged_for_s: float = 0.0) -> int:
        """Delete what interrupted uploads left, and say how many; only for the one who owns the folder.

        Args:
            unchanged_for_s: Those that nothing was written to for so long; 0: all, when none can be under way.
        """
        latest = time.time() - unchanged_for_s
        found = 0
        for part in self._incoming.glob("*.part"):
            with contextlib.suppress(FileNotFoundError):  # it has just arrived
                if unchanged_for_s == 0 or part.stat().st_mtime < latest:
                    part.unlink()
                    found += 1
        return found

    def signed_put(self, key: str, *, expires: int, max_size: int, content_type: str) -> str:
        """The path and query of a URL that stores one object."""
        return self._signer.url(Grant("PUT", key, expires, max_size, content_type, ""))

    def signed_get(self, key: str, *, expires: int, content_type: str, file_name: str = "") -> str:
        """The path and query of a URL that reads one object; with a ``file_name``, as an attachment."""
        return self._signer.url(Grant("GET", key, expires, 0, content_type, file_name))

    def path(self, key: str) -> Path:
        """Where an object lies.

        Raises:
            StoreError: 400 for a key that could lead out of the root, or to an unfinished upload.
        """
        check_key(key)
        path = self._root.joinpath(*key.split("/")).resolve()
        if not path.is_relative_to(self._root):
            raise StoreError(400, "no object can have this key")
        return path

    def size(self, key: str) -> int | None:
        """Of an object in bytes, None when there is none."""
        path = self.path(key)
        return path.stat().st_size if path.is_file() else None

    @contextmanager
    def local_file(self, key: str) -> Iterator[Path]:
        """The file of an object."""
        path = self.path(key)
        if not path.is_file():
            raise StoreError(404, "there is no such object")
        yield path

    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes of an object."""
        with self.local_file(key) as path, path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Store a copy of a file."""
        writer = self.writer(path.stat().st_size)
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    writer.write(block)
            writer.flush()
            staged = self.stage(key, writer, content_type)
            staged.commit()
            staged.settle()
        finally:
            writer.discard()

    def delete(self, key: str) -> None:
        """Delete an object; that there is none is fine."""
        path = self.path(key)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # its episode has other files; or there is no such folder
            path.parent.rmdir()

    def empty(self, key: str) -> None:
        """Delete what lies in a slot: the object of this key."""
        self.delete(key)

    def writer(self, max_size: int) -> ObjectWriter:
        """Begin an object of at most ``max_size`` bytes."""
        return ObjectWriter(self._incoming / f"{secrets.token_hex(16)}.part", max_size)

    def stage(self, key: str, writer: ObjectWriter, content_type: str) -> Staged:
        """Take what was written; nothing is moved before the commit."""
        return _Written(key, writer, self.path(key))

    def waiting(self, folder: str) -> Sequence[str]:
        """Nothing: every file comes through this deployment."""
        return ()

    def collect(self, key: str, max_size: int) -> Staged | None:
        """Nothing waits."""
        return None

    def collected(self, key: str, kept: str) -> None:
        """Nothing waited."""

    def identity(self) -> str:
        """What tells this folder from every other."""
        path = self._root / _IDENTITY
        if not path.exists():
            part = self._incoming / f"{secrets.token_hex(16)}.part"
            part.write_text(secrets.token_hex(16))
            try:
                path.hardlink_to(part)  # fails where another process has just made one
            except FileExistsError:
                pass
            part.unlink()
        return path.read_text()


class _Written:
    """What an :class:`ObjectWriter` wrote for a :class:`LocalStore`."""

    def __init__(self, key: str, writer: ObjectWriter, path: Path) -> None:
        self.key, self.size, self.sha256, self.head = key, writer.size, writer.sha256, writer.head
        self._writer, self._path = writer, path

    def commit(self) -> None:
        self._writer.commit(self._path)

    def settle(self) -> None:
        sync_folder(self._path.parent)

    def discard(self) -> None:
        self._writer.discard()


class ObjectWriter:
    """An object that is arriving: hashed while written, named only when complete.

    Args:
        part: The file it is written to; :meth:`commit` moves it, :meth:`discard` deletes it.
        max_size: The most bytes it may have.
    """

    def __init__(self, part: Path, max_size: int) -> None:
        self.size = 0
        self.head = b""
        self.part = part
        self._max_size = max_size
        self._hash = hashlib.sha256()
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: BinaryIO = os.fdopen(descriptor, "wb", buffering=0)

    @property
    def sha256(self) -> str:
        """The hash of what was written so far, in hex."""
        return self._hash.hexdigest()

    def write(self, data: bytes | bytearray) -> None:
        """Append.

        Raises:
            StoreError: 413 when it gets too large.
        """
        if self.size + len(data) > self._max_size:
            raise StoreError(413, f"larger than the {self._max_size} bytes this URL is signed for")
        if len(self.head) < 16:
            self.head = (self.head + data[:16])[:16]
        self._hash.update(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self.size += len(data)

    def flush(self) -> None:
        """Wait until the bytes are on the disk: the sender deletes its copy once we have answered."""
        os.fsync(self._file.fileno())
        self._file.close()

    def commit(self, target: Path) -> None:
        """Give the flushed object its name, replacing what had it; :func:`sync_folder` makes that last."""
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.part.replace(target)

    def discard(self) -> None:
        """Delete what was written, unless it was committed."""
        self._file.close()
        self.part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
