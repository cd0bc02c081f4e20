"""A clock that a test moves."""

from __future__ import annotations

__all__ = ["FakeClock"]


class FakeClock:
    """Monotonic seconds that pass when told to.

    Attributes:
        now: May be set, also backwards: that is what a clock that jumps does.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """What it shows."""
        return self.now
