"""HTTP to a deployment: JSON calls with the contract's headers and errors, files streamed to and from signed URLs.

Shared by the synchronous client and the background uploader. Signed URLs go through a bare ``httpx`` transport: an
``httpx.Client`` logs whole URLs at INFO, signature included, follows its own headers, and could send our key along.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # a socket's first connection would, on the uploader's thread: see deliver/guards.py
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

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
    RobotraceError,
    ServerError,
    TransportError,
    ValidationError,
)
from robotrace.secret_logs import logged, unlogged

__all__ = ["Progress", "Transport", "host_of"]

Progress = Callable[[int, int | None], None]
"""Called with the bytes moved so far and the size of the whole, None where it is not known."""

_JSON_TIMEOUT = httpx.Timeout(connect=10.0, read=30.0, write=30.0, pool=10.0)
_FILE_TIMEOUT = httpx.Timeout(connect=15.0, read=600.0, write=600.0, pool=15.0)
_CHUNK_BYTES = 256 * 1024
_T = TypeVar("_T")
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_WAITS_S = (1.0, 2.0, 4.0)
"""Before the second, third and fourth try of a call that is repeated."""
_LONGEST_WAIT_S = 30.0
"""However long a deployment asks to wait."""

_ERRORS: dict[int, type[APIError]] = {400: ValidationError, 401: AuthError, 404: NotFoundError, 409: ConflictError}


class Transport:
    """One connection pool for JSON, one for files.

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
        self._files: dict[str | None, httpx.BaseTransport] = {}
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
        for transport in self._files.values():
            transport.close()
        self._files.clear()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        retry_rate_limit: bool = False,
        retry_failures: bool = False,
    ) -> dict[str, Any]:
        """Send one JSON request and return the object it answers.

        Args:
            method: The HTTP method.
            path: An absolute path, ``/api/…``.
            body: The JSON object to send.
            headers: Further headers.
            retry_rate_limit: Whether a 429 is tried again (4 tries in all); only where repeating is harmless.
            retry_failures: Whether no answer and a 5xx are as well, within the same 4 tries.

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

        limits: tuple[type[RobotraceError], ...] = (RateLimitError,) if retry_rate_limit else ()
        return self._with_retry(attempt, (*limits, TransportError, ServerError) if retry_failures else limits)

    def put_file(
        self,
        url: str,
        path: Path,
        content_type: str,
        *,
        retry_rate_limit: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Stream a file to a signed URL; returns the number of bytes sent.

        Redirects are failures, no key is sent, and the URL appears in no log and no error.

        Args:
            url: The signed URL.
            path: The file.
            content_type: What the URL is signed for.
            retry_rate_limit: Whether a 429 is tried again (4 tries in all).
            progress: Called as chunks are handed to the connection; a further try begins at 0 again.

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
                    content=_read_chunks(path, before.st_size, progress),
                    extensions={"timeout": _FILE_TIMEOUT.as_dict()},
                )
                with unlogged():  # a redirect, which is refused, shows its signed address in its headers
                    response = self._file_transport(url).handle_request(request)
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

        return self._with_retry(attempt, (RateLimitError,) if retry_rate_limit else ())

    def get_file(self, path: str, file: BinaryIO, *, progress: Progress | None = None) -> int:
        """Stream what an artifact route answers into a file; returns the number of bytes written.

        Redirects are followed, 5 at most. The key goes to the deployment's own API and never to where it redirects
        to, which is signed already and appears in no log and no error.

        Args:
            path: An absolute path, ``/api/episodes/…/artifact/…``.
            file: Open for writing; after an error it holds what had come by then.
            progress: Called after each chunk; the size is None where the answer does not say it.

        Raises:
            NotFoundError: The slot is empty.
            APIError: Any other answer that is not 2xx in the end.
            TransportError: No answer, one that was cut short, or a redirect too many.
            OSError: The file cannot be written.
        """
        response, url = self._open_file(path)
        try:
            encoded = response.headers.get("content-encoding", "identity") != "identity"
            length = response.headers.get("content-length", "")
            total = int(length) if length.isdecimal() and not encoded else None
            chunks = response.iter_bytes(_CHUNK_BYTES)
            written = 0
            while True:
                try:
                    with unlogged():
                        chunk = next(chunks, None)
                except httpx.HTTPError as exc:
                    raise _transport_error(exc, url) from exc
                if chunk is None:
                    return written
                file.write(chunk)
                written += len(chunk)
                if progress is not None:
                    progress(written, total)
        finally:
            with unlogged():
                response.close()

    def _open_file(self, path: str) -> tuple[httpx.Response, str]:
        """The answer at the end of the redirects, its body still to be read, and where it came from."""
        # The bytes as they lie in the store; compressed on the way they would be of unknown size.
        request = self._client.build_request("GET", path, headers={"Accept": "*/*", "Accept-Encoding": "identity"})
        for redirects in range(_MAX_REDIRECTS + 1):
            url = str(request.url)
            try:
                with unlogged():
                    if redirects == 0:
                        response = self._client.send(request, stream=True)
                    else:
                        response = self._file_transport(url).handle_request(request)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
                raise _transport_error(exc, url) from exc
            location = response.headers.get("location")
            if 200 <= response.status_code < 300:
                return response, url
            try:
                if response.status_code not in _REDIRECTS or not location:
                    with unlogged():
                        _raise_for_status(response.status_code, response.headers, response.read())
            except httpx.HTTPError as exc:
                raise _transport_error(exc, url) from exc
            finally:
                with unlogged():
                    response.close()
            request = self._redirected(url, location, request.headers)
        raise TransportError(f"{host_of(self.base_url)} redirected more than {_MAX_REDIRECTS} times")

    def _redirected(self, url: str, location: str, headers: httpx.Headers) -> httpx.Request:
        try:
            request = httpx.Request(
                "GET",
                urljoin(url, location),
                headers={name: headers[name] for name in ("User-Agent", "Accept", "Accept-Encoding")},
                extensions={"timeout": _FILE_TIMEOUT.as_dict()},
            )
        except (httpx.InvalidURL, ValueError) as exc:
            raise TransportError(f"{host_of(url)} redirected to an address that is none") from exc
        # Within the API the key is asked for again. A store refuses a signature and a key at once, on this origin too.
        api = httpx.URL(f"{self.base_url}/api/")
        if _origin(request.url) == _origin(api) and request.url.path.startswith(api.path):
            request.headers["Authorization"] = self._client.headers["Authorization"]
        return request

    def _with_retry(self, attempt: Callable[[], _T], errors: tuple[type[RobotraceError], ...]) -> _T:
        for wait_s in _WAITS_S:
            try:
                return attempt()
            except errors as exc:
                asked = exc.retry_after if isinstance(exc, RateLimitError) else None
                self._sleep(wait_s if asked is None else min(asked, _LONGEST_WAIT_S))
        return attempt()

    def _file_transport(self, url: str) -> httpx.BaseTransport:
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
        if proxy not in self._files:
            made = httpx.HTTPTransport(proxy=None if proxy is None else httpx.Proxy(proxy))
            if self._files.setdefault(proxy, made) is not made:  # another thread was quicker
                made.close()
        return self._files[proxy]


def _read_chunks(path: Path, size: int, progress: Progress | None) -> Iterator[bytes]:
    # Exactly the bytes announced: the HTTP library's own error for more or fewer is none that it declares.
    sent = 0
    with path.open("rb", buffering=0) as file:
        while sent < size:
            chunk = file.read(min(size - sent, _CHUNK_BYTES))
            if not chunk:
                raise TransportError(f"{path.name} changed while it was sent")
            yield chunk
            sent += len(chunk)
            if progress is not None:
                with logged():
                    progress(sent, size)


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
    error = kind(message, status_code=status, response_body=body)
    if status == 503:
        error.retry_after = _retry_after(headers.get("retry-after"))
    raise error


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
    # Host and cause only: the URL of a file carries its signature.
    cause = str(exc).partition(os.linesep)[0] or type(exc).__name__
    return TransportError(f"{host_of(url)} could not be reached: {cause}")


def host_of(url: str) -> str:
    """``host:port`` of a URL, without user name, path and signature."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "the deployment"
    except ValueError:
        return "the deployment"


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port  # httpx leaves a scheme's own port out
