from __future__ import annotations

import threading

from robotrace.deliver.pace import Pace
from robotrace.testing import FakeClock


def paced(rate: float | None) -> tuple[Pace, FakeClock]:
    clock = FakeClock()

    def wait(event: threading.Event, seconds: float) -> None:
        clock.now += seconds

    return Pace(rate, clock=clock, wait=wait), clock


def test_a_long_file_goes_out_at_the_rate() -> None:
    pace, clock = paced(1000.0)
    began = clock.now
    for _ in range(100):
        pace.spend(100)
    assert round(clock.now - began, 6) == 9.9


def test_after_a_pause_no_more_than_a_tenth_of_a_second_is_caught_up() -> None:
    pace, clock = paced(1000.0)
    pace.spend(100)
    clock.now += 3600
    began = clock.now
    for _ in range(10):
        pace.spend(100)
    assert round(clock.now - began, 6) == 0.9


def test_without_a_limit_and_once_lifted_nobody_waits() -> None:
    free, clock = paced(None)
    free.spend(10**12)
    pace, other = paced(1.0)
    pace.lift()
    pace.spend(10**12)
    assert (clock.now, other.now) == (1000.0, 1000.0)
    pace.restore()
    pace.spend(1)
    assert other.now > 1000.0


def test_lifting_wakes_who_waits() -> None:
    pace = Pace(1.0)
    thread = threading.Thread(target=pace.spend, args=(10**9,))
    thread.start()
    pace.lift()
    thread.join(30)
    assert not thread.is_alive()
