"""Objects in a bucket: S3 and what speaks its protocol (R2, MinIO), Google Cloud Storage, Azure.

Uploads and videos go straight between the client and the bucket, by URLs that the bucket's credentials sign; those are
read from the environment, as the tools of each provider do. The deployment does not see such bytes, so they take a
detour::

    PUT ──► incoming/<episode>/<kind> ──copy──► episodes/<episode>/<kind>/<16 hex digits> ──► read: size, sha256 ──► row

The copy is read, not what lies where the URL still reaches: what was checked cannot change any more.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from robotrace.errors import ConfigurationError
from robotrace.serve.grants import Grant, Method, StoreError, UrlSigner, check_key
from robotrace.serve.object_cache import ObjectCache
from robotrace.serve.store import ObjectWriter, Staged

__all__ = ["BucketStore", "without_secrets"]

_logger = logging.getLogger(__name__)

_SCHEMES = ("s3", "gs", "az")
# Azure takes a PUT only with a header that no client of ours sends.
_DIRECT_UPLOADS = ("s3", "gs")
_OPTIONS = {"s3": ("endpoint", "region"), "gs": (), "az": ()}
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# A name that every provider's signature writes the same way.
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_EPISODES, _INCOMING, _IDENTITY = "episodes", "incoming", "storage-id"
_S3_MAX_SIZE = 5 * 1024**3
"""Of one PUT and of one copy, in bytes: S3's and R2's limit."""
_CACHE_BYTES = 10 * 1024**3
_BLOCK = 4 * 1024 * 1024
# Together below the 30 s that a client waits for an answer.
_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}
_SHORT: Any = {"connect_timeout": "5s", "timeout": "10s"}
# A copy answers when it is done, a file may take as long as its line is slow; a line that stands still is given up.
_LONG: Any = {"connect_timeout": "5s", "read_timeout": "5m", "timeout": "6h"}


_MACHINES_CREDENTIALS = "//169.254.169.254/"
"""Where a machine of a cloud gets credentials; asked when the environment has none."""


class BucketStore:
    """Objects in a bucket.

    Args:
        url: ``s3://BUCKET/PREFIX``, with ``?endpoint=URL`` and ``&region=NAME`` for what is not Amazon's; ``gs://``;
            ``az://CONTAINER/PREFIX``.
        secret: What the deployment's own URLs are signed with.
        folder: Where files of the bucket are kept for a while, and those that come through this deployment.
        cache_bytes: What may lie there.

    Raises:
        ConfigurationError: The URL is none of these, or nothing in the environment can sign for it.
    """

    def __init__(self, url: str, secret: bytes, folder: Path, *, cache_bytes: int = _CACHE_BYTES) -> None:
        scheme, address, options = _parse(url)
        self._direct_uploads = scheme in _DIRECT_UPLOADS
        self._max_size = _S3_MAX_SIZE if scheme == "s3" else None
        self._signer = UrlSigner(secret)
        self.check = self._signer.check
        open_url: Any = from_url  # typed for options written out
        try:
            self._quick, self._bulk = (
                open_url(address, client_options=client | _http(options), retry_config=_RETRIES, **options)
                for client in (_SHORT, _LONG)
            )
            signed = urlsplit(obstore.sign(self._quick, "GET", _IDENTITY, timedelta(minutes=1)))
        except (BaseError, ValueError) as error:
            raise ConfigurationError(f"storage {address}: {without_secrets(error)}") from None
        self.origin = f"{signed.scheme}://{signed.netloc}"
        self.name = address
        self._writing = folder / "incoming"
        self._writing.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cache = ObjectCache(folder / "cache", cache_bytes)

    def cache_use(self) -> tuple[int, int]:
        """Bytes of the bucket that lie on this machine, and bytes that may."""
        return self._cache.use()

    def discard_incoming(self) -> None:
        """Delete what interrupted uploads of an earlier run left on this machine."""
        for part in self._writing.glob("*.part"):
            part.unlink(missing_ok=True)

    def signed_put(self, key: str, *, expires: int, max_size: int, content_type: str) -> str:
        """A URL of the bucket; its signature covers neither size nor type, which :meth:`collect` looks at."""
        if self._direct_uploads:
            return self._sign("PUT", _incoming(key), expires)
        return self._signer.url(Grant("PUT", key, expires, max_size, content_type, ""))

    def signed_get(self, key: str, *, expires: int, content_type: str, file_name: str = "") -> str:
        """A URL of the bucket; one of the deployment where the answer has to say what the file is called."""
        if file_name:
            return self._signer.url(Grant("GET", key, expires, 0, content_type, file_name))
        return self._sign("GET", key, expires)

    def size(self, key: str) -> int | None:
        """Of an object in bytes, None when there is none."""
        try:
            with _asked(key):
                return int(obstore.head(self._quick, key)["size"])
        except StoreError as error:
            if error.status_code == 404:
                return None
            raise

    @contextmanager
    def local_file(self, key: str) -> Iterator[Path]:
        """A copy of an object."""
        with self._cache.open(key, lambda: self.chunks(key)) as path:
            yield path

    def chunks(self, key: str) -> Iterator[bytes]:
        """The bytes of an object."""
        with _asked(key):
            for chunk in obstore.get(self._bulk, key).stream(_BLOCK):
                yield bytes(chunk)

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Store a copy of a file."""
        with _asked(key):
            obstore.put(
                self._bulk,
                key,
                path,
                attributes={"Content-Type": content_type},
                chunk_size=4 * _BLOCK,  # of at most 10,000 parts
                max_concurrency=4,
            )

    def delete(self, key: str) -> None:
        """Delete an object; that there is none is fine."""
        self._cache.forget(key)
        try:
            with _asked(key):
                obstore.delete(self._quick, key)
        except StoreError as error:
            if error.status_code != 404:
                raise

    def empty(self, key: str) -> None:
        """Delete what lies in a slot, below its key, and what waits for it."""
        self.collected(key, "")

    def writer(self, max_size: int) -> ObjectWriter:
        """Begin a file of at most ``max_size`` bytes that comes through this deployment."""
        return ObjectWriter(self._writing / f"{secrets.token_hex(16)}.part", max_size)

    def stage(self, key: str, writer: ObjectWriter, content_type: str) -> Staged:
        """Send what was written to the bucket."""
        place = _place(key)
        self.put_file(place, writer.part, content_type)
        return _InBucket(self, place, writer.size, writer.sha256, writer.head)

    def waiting(self, folder: str) -> Sequence[str]:
        """The keys of slots below a folder for which something was PUT into the bucket."""
        with _asked(folder):
            found = [entry["path"] for page in obstore.list(self._quick, prefix=_incoming(folder)) for entry in page]
        return [_EPISODES + path.removeprefix(_INCOMING) for path in found]

    def collect(self, key: str, max_size: int) -> Staged | None:
        """Copy what waits for a slot to a name that no URL for a PUT reaches, and read it there."""
        limit = min(max_size, self._max_size or max_size)
        waiting, place = _incoming(key), _place(key)
        size = self.size(waiting)
        if size is None:
            return None
        if size > limit:
            self.delete(waiting)
            raise StoreError(413, f"{key.rpartition('/')[2]}: {size} bytes have arrived; {limit} are taken")
        with _asked(waiting):
            obstore.copy(self._bulk, waiting, place)
        staged = _InBucket(self, place, 0, "", b"")
        try:
            staged.read(self.chunks(place), limit)
        except BaseException:
            staged.discard()
            raise
        return staged

    def collected(self, key: str, kept: str) -> None:
        """Delete what waited, and copies of it that a deployment had made when it was killed."""
        self.delete(_incoming(key))
        with _asked(key):
            beside = [entry["path"] for page in obstore.list(self._quick, prefix=key) for entry in page]
        for other in beside:
            if other != kept:
                self.delete(other)

    def identity(self) -> str:
        """What tells this bucket and prefix from every other; an object among the others."""
        try:
            with _asked(_IDENTITY):
                return bytes(obstore.get(self._quick, _IDENTITY).bytes()).decode()
        except StoreError as error:
            if error.status_code != 404:
                raise
        made = secrets.token_hex(16)
        try:
            with _asked(_IDENTITY):
                obstore.put(self._quick, _IDENTITY, made.encode())
        except StoreError as error:
            if error.status_code == 404:
                raise StoreError(503, "there is no such bucket") from error
            raise
        return made

    def _sign(self, method: Method, key: str, expires: int) -> str:
        check_key(key)
        with _asked(key):
            return str(obstore.sign(self._quick, method, key, timedelta(seconds=max(1, expires - int(time.time())))))


class _InBucket:
    """A file that lies in a bucket under a name of its own; the row that names it is what commits it."""

    def __init__(self, store: BucketStore, key: str, size: int, sha256: str, head: bytes) -> None:
        self.key, self.size, self.sha256, self.head = key, size, sha256, head
        self._store = store

    def read(self, chunks: Iterator[bytes], limit: int) -> None:
        """Learn what it is."""
        content = hashlib.sha256()
        for chunk in chunks:
            if len(self.head) < 16:
                self.head = (self.head + chunk[:16])[:16]
            content.update(chunk)
            self.size += len(chunk)
            if self.size > limit:  # it grew before it was copied
                raise StoreError(413, f"more than {limit} bytes have arrived")
        self.sha256 = content.hexdigest()

    def commit(self) -> None:
        pass

    def settle(self) -> None:
        pass

    def discard(self) -> None:
        self._store.delete(self.key)


def without_secrets(error: BaseException) -> str:
    """What an error of the bucket says, in one line and without the query of a URL, which may be a signature."""
    text = re.sub(r"\?\S*", "", str(error).strip().partition("\n")[0])
    if _MACHINES_CREDENTIALS in text:
        text = f"the environment has no credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY): {text}"
    return text


@contextmanager
def _asked(key: str) -> Iterator[None]:
    """Turn the errors of a request about a key into ours.

    Raises:
        StoreError: 404 when it is not there, 503 for everything else.
    """
    check_key(key)
    try:
        yield
    except FileNotFoundError:
        raise StoreError(404, "there is no such object") from None
    except BaseError as error:
        _logger.error("the bucket refuses or does not answer: %s", without_secrets(error))
        raise StoreError(503, "the bucket does not answer; the log of the deployment says more") from None


def _parse(url: str) -> tuple[str, str, dict[str, str]]:
    """Scheme, the URL without options, and those."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        has_user = "@" in parts.netloc
    except ValueError:
        raise ConfigurationError("--storage is no URL; it takes s3://BUCKET/PREFIX, gs:// or az://") from None
    # Not quoted back: what was typed in the wrong place may be a secret.
    if parts.scheme not in _SCHEMES or not parts.netloc or has_user or parts.fragment:
        raise ConfigurationError(
            "--storage takes s3://BUCKET/PREFIX, gs://… or az://…; credentials are read from the environment"
        )
    prefix = parts.path.strip("/")
    if prefix and (not _PREFIX.fullmatch(prefix) or any(part.startswith(".") for part in prefix.split("/"))):
        raise ConfigurationError("the prefix of --storage may have letters, digits, '-', '_' and '.'")
    unknown = set(options) - set(_OPTIONS[parts.scheme])
    if unknown:
        raise ConfigurationError(f"--storage {parts.scheme}:// knows no {', '.join(sorted(unknown))}")
    return parts.scheme, f"{parts.scheme}://{parts.netloc}/{prefix}".rstrip("/"), options


def _http(options: Mapping[str, str]) -> dict[str, Any]:
    endpoints = (options.get("endpoint"), *(os.environ.get(name) for name in _ENDPOINT_VARIABLES))
    return {"allow_http": True} if (next(filter(None, endpoints), "")).startswith("http://") else {}


def _incoming(key: str) -> str:
    return _INCOMING + key.removeprefix(_EPISODES)


def _place(key: str) -> str:
    return f"{key}/{secrets.token_hex(8)}"
