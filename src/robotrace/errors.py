"""Everything RoboTrace raises on purpose.

::

    RobotraceError
     ├── ConfigurationError      a key, URL, file or extra is missing; nothing was sent
     ├── TransportError          timeout, DNS, TLS, connection: no answer
     └── APIError                the deployment answered, and not with success
          ├── ValidationError    400
          ├── AuthError          401
          ├── NotFoundError      404
          ├── ConflictError      409
          ├── RateLimitError     429 (``retry_after``)
          └── ServerError        500 and above
"""

from __future__ import annotations

import functools
from typing import Any

__all__ = [
    "APIError",
    "AuthError",
    "ConfigurationError",
    "ConflictError",
    "NotFoundError",
    "RateLimitError",
    "RobotraceError",
    "ServerError",
    "TransportError",
    "ValidationError",
]


class RobotraceError(Exception):
    """The base of all of them."""


class ConfigurationError(RobotraceError):
    """Something the caller has to provide is missing or wrong; raised before anything is opened or sent."""


class TransportError(RobotraceError):
    """The deployment could not be reached, or the connection broke before it answered."""


class APIError(RobotraceError):
    """The deployment answered with something other than success.

    Args:
        message: The ``error`` text of the answer, or ``HTTP <code>``.
        status_code: The HTTP status.
        response_body: The decoded JSON body, or the text where it is no JSON.
    """

    def __init__(self, message: str, *, status_code: int, response_body: Any = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.response_body = response_body
        self.retry_after: float | None = None
        """Seconds the deployment asks to wait (429, 503), None when it does not say."""

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception with keyword-only arguments does not unpickle by itself, and a multiprocessing.Pool that gets
        # one from a worker waits for ever.
        return functools.partial(type(self), status_code=self.status_code), self.args, self.__dict__


class ValidationError(APIError):
    """400: the deployment refuses the request as it is."""


class AuthError(APIError):
    """401: the API key is unknown or revoked."""


class NotFoundError(APIError):
    """404: no such episode, run or artifact."""


class ConflictError(APIError):
    """409: the request does not fit the state the resource is in."""


class ServerError(APIError):
    """500 and above: the deployment failed."""


class RateLimitError(APIError):
    """429: too many requests.

    Args:
        message: As in :class:`APIError`.
        status_code: As in :class:`APIError`.
        response_body: As in :class:`APIError`.
        retry_after: Seconds the deployment asks to wait, None when it does not say.
    """

    def __init__(
        self, message: str, *, status_code: int, response_body: Any = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, status_code=status_code, response_body=response_body)
        self.retry_after = retry_after
