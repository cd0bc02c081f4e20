"""URLs of ``/objects`` that carry their own permission.

A URL is signed by HMAC-SHA256 over its method, key, expiry, largest size, content type and file name, as those of an S3
store are; whoever holds it may do that one thing until it expires, with no other credential.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode

__all__ = ["Grant", "Method", "StoreError", "UrlSigner", "check_key"]

Method = Literal["GET", "PUT"]

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


def check_key(key: str) -> None:
    """Refuse a key that could lead out of the store, or to an unfinished upload.

    Raises:
        StoreError: 400 for such a key.
    """
    segments = key.split("/")
    if "\\" in key or "\0" in key or any(not segment or segment.startswith(".") for segment in segments):
        raise StoreError(400, "no object can have this key")


class UrlSigner:
    """Signs paths below ``/objects`` and checks them.

    Args:
        secret: What they are signed with.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def url(self, grant: Grant) -> str:
        """The path and query of a URL that permits this.

        Raises:
            StoreError: 400 for a key no object can have.
        """
        check_key(grant.key)
        query = {"expires": grant.expires, "max": grant.max_size, "type": grant.content_type}
        if grant.file_name:
            query["name"] = grant.file_name
        return f"{_ROUTE}{quote(grant.key)}?{urlencode(query | {'signature': self._signature(grant)})}"

    def check(self, method: Method, key: str, query: Mapping[str, str]) -> Grant:
        """What the query of a URL permits to do with this object.

        Raises:
            StoreError: 400 for a key no object can have, 403 when nothing is permitted.
        """
        check_key(key)
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

    def _signature(self, grant: Grant) -> str:
        # repr of a tuple: no two different grants have the same text, whatever their fields hold.
        fields = (grant.method, grant.key, grant.expires, grant.max_size, grant.content_type, grant.file_name)
        return hmac.new(self._secret, repr(fields).encode("utf-8", "backslashreplace"), hashlib.sha256).hexdigest()
