"""The local object store: files under one root, reached by URLs that carry their own permission.

A URL is signed by HMAC-SHA256 over its method, key, expiry, largest size, content type and file name, as those of an S3
store are; whoever holds it may do that one thing until it expires, with no other credential.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import quote, urlencode

__all__ = ["Grant", "LocalStore", "ObjectWriter", "StoreError", "sync_folder"]

Method = Literal["GET", "PUT"]

_INCOMING = ".incoming"
_ROUTE = "/objects/"


class StoreError(Exception):
    """A request to the store that is refused.

    Args:
        status_code: The HTTP status that says so.
        message: Why, for the one who asked.
    """

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


@dataclass(frozen=True)
class Grant:
    """What a signed URL permits.

    Args:
        method: ``GET`` or ``PUT``.
        key: The object's name, segments separated by ``/``.
        expires: Seconds since the epoch.
        max_size: The largest body of a PUT in bytes; 0 for a GET.
        content_type: What a PUT must say it sends, what a GET is answered with.
        file_name: The name a GET is to be saved under; empty to show it in place.
    """

    method: Method
    key: str
    expires: int
    max_size: int
    content_type: str
    file_name: str


class LocalStore:
    """Objects as files under ``root``.

    Args:
        root: The folder; made when it is not there.
        secret: What URLs are signed with.
    """

    def __init__(self, root: Path, secret: bytes) -> None:
        self._root = root.resolve()
        self._secret = secret
        self._incoming = self._root / _INCOMING
        for folder in (self._root, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def discard_incoming(self) -> None:
        """Delete what interrupted uploads of an earlier run left; only for the one who owns the folder."""
        for part in self._incoming.glob("*.part"):
            part.unlink(missing_ok=True)

    def signed_put(self, key: str, *, expires: int, max_size: int, content_type: str) -> str:
        """The path and query of a URL that stores one object."""
        return self._url(Grant("PUT", key, expires, max_size, content_type, ""))

    def signed_get(self, key: str, *, expires: int, content_type: str, file_name: str = "") -> str:
        """The path and query of a URL that reads one object; with a ``file_name``, as an attachment."""
        return self._url(Grant("GET", key, expires, 0, content_type, file_name))

    def check(self, method: Method, key: str, query: Mapping[str, str]) -> Grant:
        """What the query of a URL permits to do with this object.

        Raises:
            StoreError: 400 for a key no object can have, 403 when nothing is permitted.
        """
        self.path(key)
        try:
            grant = Grant(method, key, int(query["expires"]), int(query["max"]), query["type"], query.get("name", ""))
            given = query["signature"].encode()
        except (KeyError, ValueError):
            raise StoreError(403, "the URL is not signed") from None
        if not hmac.compare_digest(self._signature(grant).encode(), given):
            raise StoreError(403, "the signature of the URL does not fit the request")
        if grant.expires < time.time():
            raise StoreError(403, "the URL has expired")
        return grant

    def path(self, key: str) -> Path:
        """Where an object lies.

        Raises:
            StoreError: 400 for a key that could lead out of the root, or to an unfinished upload.
        """
        segments = key.split("/")
        if "\\" in key or "\0" in key or any(not segment or segment.startswith(".") for segment in segments):
            raise StoreError(400, "no object can have this key")
        path = self._root.joinpath(*segments).resolve()
        if not path.is_relative_to(self._root):
            raise StoreError(400, "no object can have this key")
        return path

    def size(self, key: str) -> int | None:
        """The size of an object in bytes, None when there is none."""
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return None

    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes of an object, 1 MiB at a time."""
        with self.path(key).open("rb") as file:
            while chunk := file.read(1024 * 1024):
                yield chunk

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is fine."""
        path = self.path(key)
        path.unlink(missing_ok=True)

    def writer(self, max_size: int) -> ObjectWriter:
        """Begin an object of at most ``max_size`` bytes."""
        return ObjectWriter(self._incoming / f"{secrets.token_hex(16)}.part", max_size)

    def _url(self, grant: Grant) -> str:
        self.path(grant.key)
        query = {"expires": grant.expires, "max": grant.max_size, "type": grant.content_type}
        if grant.file_name:
            query["name"] = grant.file_name
        return f"{_ROUTE}{quote(grant.key)}?{urlencode(query | {'signature': self._signature(grant)})}"

    def _signature(self, grant: Grant) -> str:
        # repr of a tuple: no two different grants have the same text, whatever their fields hold.
        fields = (grant.method, grant.key, grant.expires, grant.max_size, grant.content_type, grant.file_name)
        return hmac.new(self._secret, repr(fields).encode("utf-8", "backslashreplace"), hashlib.sha256).hexdigest()


class ObjectWriter:
    """An object that is arriving: hashed while written, named only when complete.

    Args:
        part: The file it is written to; :meth:`commit` moves it, :meth:`discard` deletes it.
        max_size: The most bytes it may have.
    """

    def __init__(self, part: Path, max_size: int) -> None:
        self.size = 0
        self.head = b""
        self._max_size = max_size
        self._hash = hashlib.sha256()
        self._part = part
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
        self._part.replace(target)

    def discard(self) -> None:
        """Delete what was written, unless it was committed."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
