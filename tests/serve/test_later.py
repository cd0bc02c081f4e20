"""Work that nobody waits for."""

from __future__ import annotations

import threading

import pytest

from robotrace.serve import later as later_module
from robotrace.serve.later import Later


def test_work_is_done_in_order_on_a_thread_that_ends_and_comes_back() -> None:
    later, done = Later(), []
    for round_number in range(3):
        for number in range(5):
            later.add(f"{round_number} {number}", lambda what=(round_number, number): done.append(what))
        assert later.join(60)
    assert done == [(a, b) for a in range(3) for b in range(5)]


def test_what_waits_already_is_not_done_twice() -> None:
    later, begun, goes_on, done = Later(), threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        assert goes_on.wait(60)

    later.add("slow", slow)
    assert begun.wait(60)
    for number in range(3):
        later.add("same", lambda number=number: done.append(number))
    goes_on.set()
    assert later.join(60)
    assert done == [0]


def test_a_piece_that_fails_is_logged_and_the_next_is_done(caplog: pytest.LogCaptureFixture) -> None:
    later, done = Later(), []
    later.add("this", lambda: 1 / 0)
    later.add("that", lambda: done.append(1))
    assert later.join(60)
    assert done == [1]
    assert "this failed" in caplog.text


def test_a_closed_one_forgets_what_waits_and_takes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    later, begun, goes_on, done = Later(), threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        assert goes_on.wait(60)
        done.append("slow")

    later.add("slow", slow)
    assert begun.wait(60)
    later.add("waits", lambda: done.append("waits"))
    threading.Timer(0.05, goes_on.set).start()
    later.close()
    later.add("late", lambda: done.append("late"))
    assert later.join(60)
    assert done == ["slow"]


def test_there_is_a_limit_to_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later_module, "_MOST_WAITING", 2)
    later, begun, goes_on, done = Later(), threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        assert goes_on.wait(60)

    later.add("slow", slow)
    assert begun.wait(60)
    for number in range(5):
        later.add(str(number), lambda number=number: done.append(number))
    goes_on.set()
    assert later.join(60)
    assert done == [0, 1]
