from __future__ import annotations

import pytest

pytest.importorskip("numpy")

from robotrace.capture.triggers import EpisodeStart, TokenBucket, as_trigger, cubic, every, rate
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
    assert sum(bucket.ready() for _ in range(100)) == 100  # that takes none
    assert sum(bucket.take() for _ in range(100)) == 10
    assert not bucket.ready()


@pytest.mark.parametrize("text", ["", "2", "2/day", "x/min", "0/min", "-1/s", "inf/s"])
def test_a_rate_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="rate is"):
        rate(text)


def test_every_zero_is_named() -> None:
    with pytest.raises(ConfigurationError, match="every"):
        every(0)


@pytest.mark.parametrize(
    ("text", "episodes"),
    [
        ("every(3)", [0, 3, 6, 9]),
        (" every( 4 ) ", [0, 4, 8]),
        ("cubic", [0, 1, 8]),
        ("cubic()", [0, 1, 8]),
        ("rate(1/h)", [0]),
        ('rate("1/h")', [0]),
    ],
)
def test_a_trigger_may_be_text_as_a_yaml_file_has_it(text: str, episodes: list[int]) -> None:
    assert chosen(as_trigger("trigger", text), 10) == episodes


def test_each_reader_of_the_same_text_has_a_trigger_of_its_own() -> None:
    first, second = as_trigger("trigger", "rate(1/h)"), as_trigger("trigger", "rate(1/h)")
    assert chosen(first, 2) == chosen(second, 2) == [0]


@pytest.mark.parametrize(
    "text",
    ["", "every", "every()", "every(0)", "every(-1)", "every(two)", "cubic(3)", "rate", "rate()", "never", "rate(1)"],
)
def test_a_text_that_is_no_trigger_names_the_option(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^my_trigger: "):
        as_trigger("my_trigger", text)


def test_a_number_is_a_trigger_where_it_says_so() -> None:
    assert chosen(as_trigger("video_trigger", 3, numbers=True), 7) == [0, 3, 6]
    with pytest.raises(ConfigurationError, match=r"^trigger is 3"):
        as_trigger("trigger", 3)
    assert as_trigger("trigger", None) is None
