"""Logins that wait for somebody to approve them (RFC 8628): functions over the database.

::

    start ──► pending ──► approved ──► consumed      the key is made here, on its way out: its text is never stored
                     └──► denied                     and whatever it is, ten minutes after the start it is gone
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from robotrace.serve.audit import Actor
from robotrace.serve.keys import create_key
from robotrace.serve.models import DeviceSession

__all__ = [
    "INTERVAL_S",
    "TTL_S",
    "GuessLimit",
    "StartedSession",
    "TooManySessionsError",
    "canonical_user_code",
    "find_session",
    "purge_expired",
    "redeem",
    "session_status",
    "start_session",
]

TTL_S = 600
INTERVAL_S = 2
_MAX_LIVE = 100
_DEVICE_CODE_BYTES = 32
# RFC 8628, 6.1: no vowels, so that no words come out; eight of them are 34 bits, at 10 wrong ones a minute.
_USER_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
_USER_LENGTH = 8
_MAX_TEXT = 200


@dataclass(frozen=True)
class StartedSession:
    """What the program that wants to log in gets."""

    device_code: str
    """Its secret."""
    user_code: str
    """What a person compares, or types: ``XXXX-XXXX``."""

    def __repr__(self) -> str:
        return f"StartedSession(user_code={self.user_code!r})"


class TooManySessionsError(Exception):
    """As many logins wait as may; ``retry_after_s``: when the oldest one expires."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too many logins are waiting")
        self.retry_after_s = retry_after_s


class GuessLimit:
    """How many wrong user codes a deployment lets through in a minute (RFC 8628, 5.1).

    While there were too many, right codes are refused as well: an answer would tell them apart.

    Args:
        clock: Monotonic seconds.
    """

    MAX_WRONG = 10
    WINDOW_S = 60.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: deque[float] = deque(maxlen=self.MAX_WRONG)
        self._lock = threading.Lock()

    def wrong(self) -> None:
        """Count a wrong code."""
        with self._lock:
            self._wrong.append(self._clock())

    def wait_s(self) -> float:
        """Seconds until a code may be tried again; 0 when it may now."""
        with self._lock:
            if len(self._wrong) < self.MAX_WRONG:
                return 0.0
            return max(0.0, self._wrong[0] + self.WINDOW_S - self._clock())


def start_session(session: Session, *, hostname: str | None, user_agent: str | None, now: datetime) -> StartedSession:
    """Open a session; expired ones are deleted first.

    Args:
        session: Holds the write lock.
        hostname: Where the program says it runs; shown to whoever approves.
        user_agent: What it says it is.
        now: The current time.

    Raises:
        TooManySessionsError: As many wait as may.
    """
    purge_expired(session, now)
    waiting = DeviceSession.status.in_(("pending", "approved"))
    live, oldest = session.execute(select(func.count(), func.min(DeviceSession.expires_at)).where(waiting)).one()
    if live >= _MAX_LIVE:
        raise TooManySessionsError(int((oldest - now).total_seconds()) + 1)
    user_code = _new_user_code()
    while session.scalar(select(DeviceSession.id).where(DeviceSession.user_code == user_code)) is not None:
        user_code = _new_user_code()
    device_code = secrets.token_urlsafe(_DEVICE_CODE_BYTES)
    session.add(
        DeviceSession(
            device_code_sha256=_sha256(device_code),
            user_code=user_code,
            status="pending",
            hostname=_shown(hostname),
            user_agent=_shown(user_agent),
            created_at=now,
            expires_at=now + timedelta(seconds=TTL_S),
        )
    )
    return StartedSession(device_code, user_code)


def purge_expired(session: Session, now: datetime) -> None:
    """Delete the sessions that have expired."""
    session.execute(delete(DeviceSession).where(DeviceSession.expires_at <= now))


def canonical_user_code(text: str) -> str | None:
    """A code as it is stored, from what a person typed; None when it cannot be one."""
    letters = "".join(char for char in text.upper() if char.isalnum())
    if len(letters) != _USER_LENGTH or not set(letters) <= set(_USER_ALPHABET):
        return None
    return f"{letters[:4]}-{letters[4:]}"


def find_session(session: Session, user_code: str, now: datetime) -> DeviceSession | None:
    """The session a person means by a code, unless it has expired."""
    code = canonical_user_code(user_code)
    if code is None:
        return None
    return session.scalar(select(DeviceSession).where(DeviceSession.user_code == code, DeviceSession.expires_at > now))


def session_status(
    session: Session, device_code: str, now: datetime
) -> Literal["pending", "approved", "denied", "consumed", "expired"]:
    """How the session of a program stands; an unknown one is as an expired one."""
    found = _by_device_code(session, device_code, now)
    return "expired" if found is None else found.status  # type: ignore[return-value]


def redeem(session: Session, device_code: str, now: datetime) -> str | None:
    """Make the key of an approved session, once.

    Args:
        session: Holds the write lock.
        device_code: The program's secret.
        now: The current time.

    Returns:
        The key; None when the session is not, or no longer, approved.
    """
    found = _by_device_code(session, device_code, now)
    if found is None or found.status != "approved":
        return None
    found.status = "consumed"
    assert found.project_id is not None  # set with the approval
    actor = Actor(found.project_id, "device login")
    return create_key(session, actor, f"login from {found.hostname}" if found.hostname else "login")


def _by_device_code(session: Session, device_code: str, now: datetime) -> DeviceSession | None:
    # Found by its hash: what a comparison's duration could tell is about the hash, not about the code.
    return session.scalar(
        select(DeviceSession).where(
            DeviceSession.device_code_sha256 == _sha256(device_code), DeviceSession.expires_at > now
        )
    )


def _new_user_code() -> str:
    letters = "".join(secrets.choice(_USER_ALPHABET) for _ in range(_USER_LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


def _shown(text: str | None) -> str | None:
    return "".join(char for char in text or "" if char.isprintable())[:_MAX_TEXT].strip() or None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
