"""How often somebody may ask: token buckets in the memory of this process."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from fastapi import HTTPException, Request

__all__ = ["BURST_S", "DEFAULT_RATE", "Limits", "TokenBuckets", "client_address", "refuse_too_many"]

# An uploader that finds the network idle makes 55 calls a second on a shared two-core machine, of which it has half.
DEFAULT_RATE = 200.0
"""Calls a second and key."""
BURST_S = 4
"""How many seconds' worth may come at once."""
_TRIES_A_MINUTE = 10
# 10,000 buckets are 2 MB. The one asked for longest ago is dropped, as if it were full by then.
_MAX_BUCKETS = 10_000


class TokenBuckets:
    """A bucket for everyone who asks; each holds up to ``burst`` tokens, and gets ``rate`` a second.

    Args:
        rate: Tokens a second.
        burst: The most tokens in a bucket.
        max_buckets: The most buckets.
        clock: Monotonic seconds.

    Example:
        >>> buckets = TokenBuckets(rate=1.0, burst=1.0, clock=lambda: 0.0)
        >>> buckets.take("a"), buckets.take("a"), buckets.take("b")
        (0.0, 1.0, 0.0)
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        *,
        max_buckets: int = _MAX_BUCKETS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._max_buckets = max_buckets
        self._clock = clock
        self._lock = threading.Lock()
        # Tokens, and when there were so many; the one asked for last is at the end.
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, whose: Hashable) -> float:
        """Take a token; returns 0.0, or in how many seconds there will be one."""
        with self._lock:
            now = self._clock()
            tokens, since = self._buckets.pop(whose, (self._burst, now))
            tokens = min(self._burst, tokens + (now - since) * self._rate)
            wait_s = max(0.0, (1.0 - tokens) / self._rate)
            self._buckets[whose] = (tokens if wait_s else tokens - 1.0, now)
            if len(self._buckets) > self._max_buckets:
                self._buckets.popitem(last=False)
            return wait_s

    def __len__(self) -> int:
        """How many buckets there are."""
        return len(self._buckets)


def _tries() -> TokenBuckets:
    return TokenBuckets(_TRIES_A_MINUTE / 60, _TRIES_A_MINUTE)


@dataclass(frozen=True)
class Limits:
    """The limits of a deployment; None: none.

    Args:
        calls: Of the API, by key.
        failures: Calls with a key that is not in force, by address.
        sign_ins: Attempts, by address.
    """

    calls: TokenBuckets | None = field(default_factory=lambda: TokenBuckets(DEFAULT_RATE, DEFAULT_RATE * BURST_S))
    failures: TokenBuckets | None = field(default_factory=_tries)
    sign_ins: TokenBuckets = field(default_factory=_tries)

    @classmethod
    def of(cls, rate: float | None) -> Limits:
        """Those of so many calls a second and key; None: those of sign-in attempts alone."""
        if rate is None:
            return cls(calls=None, failures=None)
        return cls(calls=TokenBuckets(rate, max(1.0, rate * BURST_S)))


def refuse_too_many(buckets: TokenBuckets | None, whose: Hashable, what: str) -> None:
    """Take a token of somebody's.

    Args:
        buckets: The limit, if there is one.
        whose: Who asks.
        what: What there was too much of, for the error.

    Raises:
        HTTPException: 429 with ``Retry-After`` when there is none.
    """
    wait_s = 0.0 if buckets is None else buckets.take(whose)
    if wait_s > 0.0:
        seconds = math.ceil(wait_s)
        raise HTTPException(429, f"too many {what}; try again in {seconds} s", headers={"Retry-After": str(seconds)})


def client_address(request: Request) -> str:
    """Whose attempts are counted together: an IPv4 address, or the /64 network that one IPv6 customer has.

    Behind a proxy it is the address that the proxy names, where it is one to be believed; see ``forwarded_allow_ips``.
    """
    text = "" if request.client is None else request.client.host
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:  # what a proxy made up: all of it together
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address.packed[:8] + bytes(8), 64)))
    return str(address)
