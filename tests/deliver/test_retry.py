from __future__ import annotations

import random

import pytest

from robotrace.deliver.retry import Action, Step, backoff_s, decide
from robotrace.errors import (
    APIError,
    AuthError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TransportError,
    ValidationError,
)


def status(code: int, body: object = None) -> APIError:
    kinds = {400: ValidationError, 401: AuthError, 404: NotFoundError, 409: ConflictError, 429: RateLimitError}
    return kinds.get(code, ServerError if code >= 500 else APIError)("x", status_code=code, response_body=body)


STEPS: tuple[Step, ...] = ("create", "put", "finalize")
S3 = ("RequestTimeout", "BadDigest", "IncompleteBody")
TABLE: list[tuple[Step, Exception, Action]] = [
    *((step, TransportError("gone"), Action.RETRY) for step in STEPS),
    *(
        (step, status(code), Action.RETRY)
        for step in ("create", "put", "finalize")
        for code in (408, 425, 429, 500, 503)
    ),
    *((step, status(code), Action.FAIL) for step in STEPS for code in (400, 413, 422)),
    *((step, status(code), Action.PAUSE) for step in ("create", "finalize") for code in (401, 403)),
    *(("put", status(code), Action.RECREATE) for code in (401, 403, 404, 410)),
    *(
        ("put", status(400, f"<Code>{s3}</Code>"), Action.RETRY)
        for s3 in ("RequestTimeout", "BadDigest", "IncompleteBody")
    ),
    *(
        ("put", status(400, f"<Code>{s3}</Code>"), Action.RECREATE)
        for s3 in ("AccessDenied", "ExpiredToken", "RequestTimeTooSkewed")
    ),
    ("finalize", status(404), Action.FAIL),
    ("finalize", status(410), Action.FAIL),
    ("create", status(409), Action.RETRY),
    ("put", status(409), Action.RETRY),
    ("finalize", status(409), Action.RECREATE),
    *((step, status(code), Action.PAUSE) for step in STEPS for code in (301, 302, 405, 451)),
    # A login page or a captive portal: 200, and no JSON object.
    *((step, status(200, "<html>"), Action.PAUSE) for step in STEPS),
    ("create", status(404), Action.PAUSE),
    ("create", status(410), Action.PAUSE),
    ("put", OSError("stale file handle"), Action.RETRY),
    ("put", FileNotFoundError("video.mp4"), Action.FAIL),
]


@pytest.mark.parametrize(
    ("step", "error", "action"), TABLE, ids=lambda value: getattr(value, "status_code", str(value))
)
def test_the_retry_table(step: Step, error: Exception, action: Action) -> None:
    assert decide(step, error) is action


def test_backoff_is_full_jitter_up_to_five_minutes() -> None:
    rng = random.Random(1)
    for failures in range(1, 40):
        ceiling = min(300.0, 2.0**failures)
        waits = [backoff_s(failures, None, rng) for _ in range(200)]
        assert min(waits) >= 0
        assert max(waits) <= ceiling
        assert max(waits) - min(waits) > ceiling / 2


def test_a_rate_limit_says_how_long_up_to_an_hour() -> None:
    def limited(seconds: float) -> RateLimitError:
        return RateLimitError("x", status_code=429, retry_after=seconds)

    assert backoff_s(1, limited(7), random.Random(1)) == 7
    assert backoff_s(1, limited(1e9), random.Random(1)) == 3600
