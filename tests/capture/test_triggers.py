from __future__ import annotations

import pytest

pytest.importorskip("numpy")

from robotrace.capture.triggers import EpisodeStart, TokenBucket, cubic, every, rate
from robotrace.errors import ConfigurationError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def chosen(trigger: object, episodes: int) -> list[int]:
    return [k for k in range(episodes) if trigger(EpisodeStart(k, None))]  # type: ignore[operator]


def test_every() -> None:
    assert chosen(every(3), 10) == [0, 3, 6, 9]


def test_cubic_then_every_thousandth() -> None:
    expected = [k**3 for k in range(10)] + list(range(1000, 5001, 1000))
    assert chosen(cubic(), 5001) == expected


def test_rate_lets_one_pass_per_interval() -> None:
    clock = Clock()
    trigger = rate("2/min", clock)
    passed = []
    for second in range(121):
        clock.now = float(second)
        if trigger(EpisodeStart(second, None)):
            passed.append(second)
    assert passed == [0, 30, 60, 90, 120]


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(60.0, 20, clock)
    assert sum(bucket.take() for _ in range(100)) == 20
    clock.now = 10.0
    assert sum(bucket.take() for _ in range(100)) == 10


@pytest.mark.parametrize("text", ["", "2", "2/day", "x/min", "0/min", "-1/s", "inf/s"])
def test_a_rate_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="rate is"):
        rate(text)


def test_every_zero_is_named() -> None:
    with pytest.raises(ConfigurationError, match="every"):
        every(0)
