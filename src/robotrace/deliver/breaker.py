"""The circuit breaker of one host: after three failures in a row a single request knocks, and the others wait."""

from __future__ import annotations

import random

from robotrace.deliver.retry import backoff_s
from robotrace.errors import APIError

__all__ = ["Breaker"]

_OPENS_AFTER = 3


class Breaker:
    """Whether a host may be asked now. Not locked: its owner sees to that.

    Args:
        rng: For the jitter.

    Attributes:
        failures: In a row.
        not_before: On the owner's clock; the next request may go then.
    """

    def __init__(self, rng: random.Random) -> None:
        self.failures = 0
        self.not_before = 0.0
        self._rng = rng
        self._knocking = False

    @property
    def is_open(self) -> bool:
        """Whether only one request at a time may knock."""
        return self.failures >= _OPENS_AFTER

    def lets_through(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return now >= self.not_before and not (self.is_open and self._knocking)

    def sent(self) -> None:
        """A request is under way; :meth:`succeeded` or :meth:`failed` follows."""
        self._knocking = True

    def succeeded(self) -> None:
        """The host has answered, with whatever."""
        self.failures = 0
        self.not_before = 0.0
        self._knocking = False

    def failed(self, now: float, error: Exception | None) -> None:
        """It has not, or said that it cannot."""
        self.failures += 1
        self._knocking = False
        asked = isinstance(error, APIError) and error.retry_after is not None
        if asked or self.is_open:
            self.not_before = max(self.not_before, now + backoff_s(self.failures, error, self._rng))

    def given_up(self) -> None:
        """The request ended without a word about the host."""
        self._knocking = False
