"""What to do after a failed request: one table, as a function."""

from __future__ import annotations

import enum
import random
import re
from typing import Literal

from robotrace.errors import APIError, TransportError

__all__ = ["Action", "Step", "backoff_s", "decide", "described", "is_about_the_signature", "is_the_hosts"]

Step = Literal["create", "put", "finalize", "verdict"]

_MAX_BACKOFF_S = 300.0
_MAX_RETRY_AFTER_S = 3600.0
_TRANSIENT = frozenset({408, 425, 429})
_PERMANENT = frozenset({400, 413, 422})
_TRANSIENT_S3 = ("RequestTimeout", "BadDigest", "IncompleteBody")
"""S3 error codes that come with a 400 and mean a broken transfer, not a broken request."""

_SIGNATURE_S3 = (
    "AccessDenied",
    "ExpiredToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
"""S3 error codes that speak of the signature. AWS mostly says 403; with an expired token, and other stores, 400."""


class Action(enum.Enum):
    """What the uploader does next."""

    RETRY = "retry"
    """Later, for ever: nothing is wrong with the episode."""
    PAUSE = "pause"
    """Stop everything until the credentials change or ten minutes are over: not this episode is wrong."""
    RECREATE = "recreate"
    """Create again with the same key: fresh signatures, the same episode."""
    FAIL = "fail"
    """Refused for good."""


def decide(step: Step, error: Exception) -> Action:
    """The row and column of the retry table (docs/delivery.md) for an error.

    Args:
        step: Which request failed.
        error: What it raised.
    """
    if isinstance(error, TransportError):
        return Action.RETRY
    if isinstance(error, APIError):
        return _by_status(step, error.status_code, error)
    # A file that cannot be read now may be readable later (NFS, memory); one that is gone will not be.
    return Action.RETRY if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) else Action.FAIL


def _by_status(step: Step, status: int, error: APIError) -> Action:
    if status >= 500 or status in _TRANSIENT:
        return Action.RETRY
    if step == "put":
        if status in (404, 410) or is_about_the_signature(error):
            return Action.RECREATE
        if status == 409 or any(code in str(error.response_body) for code in _TRANSIENT_S3):
            return Action.RETRY
    elif status == 409:
        # create: another request with this key is under way. finalize: what arrived is not what was sent.
        return Action.RETRY if step == "create" else Action.RECREATE
    if status in _PERMANENT or (step == "finalize" and status in (404, 410)):
        return Action.FAIL
    # The key is refused, or what answers is no deployment (a login page, a wrong path, a redirect): every episode
    # would fare alike, and none of them is at fault.
    return Action.PAUSE


def is_the_hosts(error: Exception | None) -> bool:
    """Whether an error speaks of its host (no answer, overloaded, broken) rather than of one request."""
    return isinstance(error, TransportError) or (
        isinstance(error, APIError) and (error.status_code >= 500 or error.status_code in _TRANSIENT)
    )


def is_about_the_signature(error: Exception) -> bool:
    """Whether a store has refused a signed URL."""
    return isinstance(error, APIError) and (
        error.status_code in (401, 403) or any(code in str(error.response_body) for code in _SIGNATURE_S3)
    )


def described(error: Exception) -> str:
    """An error in a line, with the code of an S3 answer: its text is an XML document with our key's id in it."""
    body = getattr(error, "response_body", None)
    code = re.search(r"<Code>(\w{1,64})</Code>", body) if isinstance(body, str) else None
    return f"{error} {code[1]}" if code else str(error)


def backoff_s(failures: int, error: Exception | None, rng: random.Random) -> float:
    """Seconds to wait after ``failures`` failures in a row: full jitter over min(300, 2^n), or what was asked for.

    Full jitter after https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/.
    """
    if isinstance(error, APIError) and error.retry_after is not None:
        return min(error.retry_after, _MAX_RETRY_AFTER_S)
    ceiling = min(_MAX_BACKOFF_S, 2.0 ** min(failures, 16))
    return rng.uniform(0.0, ceiling)
