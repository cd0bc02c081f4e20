"""The program's side of a login (RFC 8628): start, show a code, ask until somebody has decided."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeGuard
from urllib.parse import urlencode, urlsplit

from robotrace._version import __version__
from robotrace.cli.output import clean
from robotrace.config import checked_key
from robotrace.errors import APIError, ConfigurationError, RateLimitError, RobotraceError, ServerError, TransportError
from robotrace.transport import Transport

__all__ = ["Approval", "LoginError", "StartedLogin", "start_login", "wait_for_approval"]

# What RFC 8628 (3.2) says of servers that name no interval; no server's lifetime is known where it names none.
_INTERVAL_S = 5.0
_LIFETIME_S = 600.0
_SHORTEST_INTERVAL_S = 0.5
_LONGEST_LIFETIME_S = 3600.0
_LONGEST_BACKOFF_S = 30.0
_RETRIED_STATUS = (408, 425)


class LoginError(RobotraceError):
    """A login that was begun and came to nothing."""


@dataclass(frozen=True)
class StartedLogin:
    """A login that waits.

    Attributes:
        device_code: The secret of this login; in no output.
        user_code: What the person compares.
        uri: Where the person enters it.
        uri_complete: The same with the code filled in.
        interval_s: Between two questions.
        lifetime_s: From the start to the end.
    """

    device_code: str = field(repr=False)
    user_code: str
    uri: str
    uri_complete: str
    interval_s: float
    lifetime_s: float


@dataclass(frozen=True)
class Approval:
    """What a deployment gives to a login that was approved; None where it says nothing."""

    api_key: str = field(repr=False)
    base_url: str | None
    client_id: str | None
    user_email: str | None
    portal_url: str | None


def start_login(transport: Transport, hostname: str) -> StartedLogin:
    """Begin a login.

    Args:
        transport: To the deployment, without a key.
        hostname: Shown to whoever approves.

    Raises:
        LoginError: What answers has no login.
        TransportError: Nothing answers.
    """
    system = f"{platform.python_implementation()}/{platform.python_version()} {platform.system()}"
    body = {"user_agent": f"robotrace-python/{__version__} {system}", "hostname": hostname}
    try:
        answer = transport.call("POST", "/api/cli/auth/start", body)
    except RateLimitError as exc:
        wait = "" if exc.retry_after is None else f" in {math.ceil(exc.retry_after)} s"
        raise LoginError(f"{transport.base_url} lets nobody log in now ({_text(exc)}); try again{wait}") from exc
    except ServerError as exc:
        raise LoginError(f"{transport.base_url} could not begin a login ({_text(exc)}); try again later") from exc
    except APIError as exc:
        raise LoginError(f"{transport.base_url} offers no login ({_text(exc)}); is the URL right?") from exc
    device_code, user_code, uri = (answer.get(name) for name in ("device_code", "user_code", "verification_uri"))
    if not (isinstance(device_code, str) and isinstance(user_code, str) and device_code and user_code):
        raise LoginError(f"{transport.base_url} answered without a code; is the URL right?")
    complete = answer.get("verification_uri_complete")
    if not _is_web(uri):
        uri = f"{transport.base_url}/cli/auth"
    return StartedLogin(
        device_code=device_code,
        user_code=clean(user_code),
        uri=uri,
        uri_complete=complete if _is_web(complete) else f"{uri}?{urlencode({'code': user_code})}",
        interval_s=max(_positive(answer.get("interval"), _INTERVAL_S), _SHORTEST_INTERVAL_S),
        lifetime_s=min(_positive(answer.get("expires_in"), _LIFETIME_S), _LONGEST_LIFETIME_S),
    )


def wait_for_approval(
    transport: Transport,
    login: StartedLogin,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Approval:
    """Ask every ``interval_s`` how the login stands, until it is decided or over.

    No answer and answers of a server in trouble double the wait each time, as RFC 8628 (3.5) asks.

    Args:
        transport: To the deployment, without a key.
        login: What :func:`start_login` returned.
        clock: Monotonic seconds.
        sleep: Waits.

    Raises:
        LoginError: It was denied, has expired, or the deployment refuses to say.
        ConfigurationError: The key that came cannot be one.
    """
    deadline = clock() + login.lifetime_s
    interval_s = login.interval_s
    hiccups = 0
    trouble: RobotraceError | None = None
    while True:
        left_s = deadline - clock()
        if left_s <= 0:
            cause = "" if trouble is None else f" ({_text(trouble)})"
            raise LoginError(f"the login has expired before it was approved{cause}; run `robotrace login` again")
        sleep(min(interval_s * 2**hiccups, max(_LONGEST_BACKOFF_S, interval_s), left_s))
        try:
            answer = transport.call("POST", "/api/cli/auth/poll", {"device_code": login.device_code})
        except RateLimitError as exc:
            # RFC 8628, 3.5: asked to slow down, for the rest of the login.
            interval_s = max(interval_s + 5.0, min(exc.retry_after or 0.0, _LONGEST_BACKOFF_S))
            trouble = exc
            continue
        except (TransportError, ServerError) as exc:
            hiccups = min(hiccups + 1, 10)
            trouble = exc
            continue
        except APIError as exc:
            if exc.status_code in _RETRIED_STATUS:
                hiccups = min(hiccups + 1, 10)
                trouble = exc
                continue
            raise _refusal(exc) from exc
        hiccups, trouble = 0, None
        if answer.get("status") == "approved":
            return _approval(answer)
        if answer.get("status") == "denied":
            raise LoginError("the login was denied in the browser")


def _refusal(exc: APIError) -> LoginError:
    status = exc.response_body.get("status") if isinstance(exc.response_body, dict) else None
    if status == "consumed":
        return LoginError("this login was used already; run `robotrace login` again")
    if status == "expired" or exc.status_code == 410:
        return LoginError("the login has expired before it was approved; run `robotrace login` again")
    return LoginError(f"the deployment does not say how the login stands ({_text(exc)})")


def _approval(answer: dict[str, Any]) -> Approval:
    key = answer.get("api_key")
    if not isinstance(key, str) or not key.strip():
        raise ConfigurationError("the login was approved, but no API key came with it")
    said = {name: _said(answer.get(name)) for name in ("base_url", "client_id", "user_email", "portal_url")}
    return Approval(api_key=checked_key(key.strip()), **said)


def _said(value: object) -> str | None:
    # It goes to the terminal, and into a file.
    return clean(value).strip() or None if isinstance(value, str) else None


def _text(exc: Exception) -> str:
    return clean(str(exc))


def _is_web(value: object) -> TypeGuard[str]:
    # It is printed, and handed to the browser: no file:, no javascript:, nothing that a terminal obeys.
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _positive(value: object, otherwise: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        return otherwise
    return float(value)
