"""HTTP to a deployment: JSON calls with the contract's headers and errors, and streamed PUTs to signed URLs.

Shared by the synchronous client and the background uploader. The PUT goes through a bare ``httpx`` transport: an
``httpx.Client`` logs whole URLs at INFO, signature included, follows its own headers, and could send our key along.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from robotrace._version import __version__
from robotrace.config import Target
from robotrace.errors import (
    APIError,
    AuthError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TransportError,
    ValidationError,
)

__all__ = ["Transport"]

_JSON_TIMEOUT = httpx.Timeout(connect=10.0, read=30.0, write=30.0, pool=10.0)
_PUT_TIMEOUT = httpx.Timeout(connect=15.0, read=600.0, write=600.0, pool=15.0)
_CHUNK_BYTES = 256 * 1024
_RATE_LIMIT_TRIES = 4
_RATE_LIMIT_WAITS_S = (1.0, 2.0, 4.0)
_RATE_LIMIT_MAX_WAIT_S = 30.0

_ERRORS: dict[int, type[APIError]] = {400: ValidationError, 401: AuthError, 404: NotFoundError, 409: ConflictError}


class Transport:
    """One connection pool for JSON, one for uploads.

    Args:
        target: The deployment and the key.
        timeout: Seconds (or an ``httpx.Timeout``) for JSON calls; None is connect 10, read 30, write 30, pool 10.
        transport: Replaces the network for both, in tests.
        sleep: Waits between the tries of a rate-limited call.

    Raises:
        ConfigurationError: The environment's proxy settings cannot be used.
    """

    def __init__(
        self,
        target: Target,
        *,
        timeout: float | httpx.Timeout | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = target.base_url
        self._sleep = sleep
        self._given = transport
        self._direct = target.direct
        self._uploads: dict[str | None, httpx.BaseTransport] = {}
        try:
            self._client = httpx.Client(
                base_url=target.base_url,
                timeout=_JSON_TIMEOUT if timeout is None else timeout,
                transport=transport,
                follow_redirects=False,
                trust_env=not target.direct,
                headers={
                    # None for a login, which has no key yet.
                    **({"Authorization": f"Bearer {target.api_key}"} if target.api_key else {}),
                    "User-Agent": f"robotrace-python/{__version__}",
                    "X-RoboTrace-SDK-Version": __version__,
                    "Accept": "application/json",
                },
            )
        except (ValueError, ImportError) as exc:  # an unknown scheme; SOCKS without httpx's extra for it
            raise ConfigurationError(f"the proxy settings in the environment cannot be used: {exc}") from exc

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        for transport in self._uploads.values():
            transport.close()
        self._uploads.clear()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        retry_rate_limit: bool = False,
    ) -> dict[str, Any]:
        """Send one JSON request and return the object it answers.

        Args:
            method: The HTTP method.
            path: An absolute path, ``/api/…``.
            body: The JSON object to send.
            headers: Further headers.
            retry_rate_limit: Whether a 429 is tried again (4 tries in all); only where repeating is harmless.

        Raises:
            APIError: Any answer that is not a 2xx with a JSON object; the subclass tells which.
            TransportError: No answer.
        """
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        sent_headers = dict(headers or {})
        if content is not None:
            sent_headers["Content-Type"] = "application/json"

        def attempt() -> dict[str, Any]:
            try:
                response = self._client.request(method, path, content=content, headers=sent_headers)
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                raise _transport_error(exc, self.base_url) from exc
            _raise_for_status(response.status_code, response.headers, response.content)
            answer = _decode(response.content)
            if not isinstance(answer, dict):
                raise APIError(
                    f"{method} {path} answered no JSON object", status_code=response.status_code, response_body=answer
                )
            return answer

        return self._with_rate_limit_retry(attempt) if retry_rate_limit else attempt()

    def put_file(self, url: str, path: Path, content_type: str, *, retry_rate_limit: bool = False) -> int:
        """Stream a file to a signed URL; returns the number of bytes sent.

        Redirects are failures, no key is sent, and the URL appears in no log and no error.

        Raises:
            APIError: Any answer that is not 2xx.
            TransportError: No answer, or the file changed while it was sent.
            OSError: The file cannot be read.
        """

        def attempt() -> int:
            before = path.stat()
            try:
                request = httpx.Request(
                    "PUT",
                    url,
                    headers={
                        "Content-Type": content_type,
                        "Content-Length": str(before.st_size),
                        "User-Agent": f"robotrace-python/{__version__}",
                    },
                    content=_read_chunks(path, before.st_size),
                    extensions={"timeout": _PUT_TIMEOUT.as_dict()},
                )
                response = self._upload_transport(url).handle_request(request)
                try:
                    answer = response.read()
                finally:
                    response.close()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
                raise _transport_error(exc, url) from exc
            _raise_for_status(response.status_code, response.headers, answer)
            after = path.stat()
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise TransportError(f"{path.name} changed while it was sent")
            return before.st_size

        return self._with_rate_limit_retry(attempt) if retry_rate_limit else attempt()

    def _with_rate_limit_retry(self, attempt: Callable[[], Any]) -> Any:
        for number in range(_RATE_LIMIT_TRIES):
            try:
                return attempt()
            except RateLimitError as exc:
                if number == _RATE_LIMIT_TRIES - 1:
                    raise
                asked = exc.retry_after
                self._sleep(_RATE_LIMIT_WAITS_S[number] if asked is None else min(asked, _RATE_LIMIT_MAX_WAIT_S))
        raise AssertionError("unreachable")

    def _upload_transport(self, url: str) -> httpx.BaseTransport:
        if self._given is not None:
            return self._given
        parts = urlsplit(url)
        # httpx reads HTTP(S)_PROXY only in a Client; a bare transport has to be told.
        proxy = None
        if not self._direct and not urllib.request.proxy_bypass(parts.hostname or ""):
            proxies = urllib.request.getproxies()
            proxy = proxies.get(parts.scheme) or proxies.get("all")
        if proxy is not None and "://" not in proxy:
            proxy = f"http://{proxy}"
        if proxy not in self._uploads:
            made = httpx.HTTPTransport(proxy=None if proxy is None else httpx.Proxy(proxy))
            if self._uploads.setdefault(proxy, made) is not made:  # another thread was quicker
                made.close()
        return self._uploads[proxy]


def _read_chunks(path: Path, size: int) -> Iterator[bytes]:
    # Exactly the bytes announced: the HTTP library's own error for more or fewer is none that it declares.
    with path.open("rb", buffering=0) as file:
        while size:
            chunk = file.read(min(size, _CHUNK_BYTES))
            if not chunk:
                raise TransportError(f"{path.name} changed while it was sent")
            size -= len(chunk)
            yield chunk


def _raise_for_status(status: int, headers: Mapping[str, str], content: bytes) -> None:
    if 200 <= status < 300:
        return
    body = _decode(content)
    text = body.get("error") if isinstance(body, dict) else None
    message = text if isinstance(text, str) and text else f"HTTP {status}"
    if status == 429:
        raise RateLimitError(
            message, status_code=status, response_body=body, retry_after=_retry_after(headers.get("retry-after"))
        )
    kind = ServerError if status >= 500 else _ERRORS.get(status, APIError)
    raise kind(message, status_code=status, response_body=body)


def _decode(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested without end
        return content[:2000].decode(errors="replace")


def _retry_after(value: str | None) -> float | None:
    """Seconds from a ``Retry-After`` header, which is a number or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _transport_error(exc: Exception, url: str) -> TransportError:
    # Host and cause only: the URL of a PUT carries its signature.
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    cause = str(exc).partition(os.linesep)[0] or type(exc).__name__
    return TransportError(f"{host or 'the deployment'} could not be reached: {cause}")
