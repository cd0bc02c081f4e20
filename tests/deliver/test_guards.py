"""A forked child never finds what it waits for in the hands of a thread that it does not have."""

from __future__ import annotations

import os
import sys
import threading

import pytest
from polling import eventually

from robotrace.deliver import guards
from robotrace.deliver.guards import unforked


def fork_and_enter() -> int:
    """The exit code of a forked child that takes the guard."""
    pid = os.fork()
    if pid == 0:
        with unforked():
            os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_waits_for_what_our_threads_are_in_the_middle_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "_LONGEST_WAIT_S", 60.0)  # a second is soon over on a busy machine
    log: list[object] = []
    entered, leave = threading.Event(), threading.Event()

    def ours() -> None:
        with unforked():
            entered.set()
            leave.wait(30)
            log.append("left")

    def users() -> None:
        log.append(fork_and_enter())

    threads = [threading.Thread(target=ours), threading.Thread(target=users)]
    threads[0].start()
    assert entered.wait(30)
    threads[1].start()

    def waits() -> bool:
        frame = sys._current_frames().get(threads[1].ident or 0)
        return frame is not None and frame.f_code is guards._before_fork.__code__

    eventually(waits)
    leave.set()
    for thread in threads:
        thread.join(30)
    assert log == ["left", 7]
    assert fork_and_enter() == 7


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_waits_no_longer_than_the_limit_and_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "_LONGEST_WAIT_S", 0.0)
    entered, leave = threading.Event(), threading.Event()

    def ours() -> None:
        with unforked():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=ours)
    thread.start()
    assert entered.wait(30)
    assert fork_and_enter() == 7
    leave.set()
    thread.join(30)
    with unforked():
        pass
    assert fork_and_enter() == 7


def test_a_thread_may_fork_in_the_middle_itself() -> None:
    with unforked():
        assert fork_and_enter() == 7
    free = []

    def another() -> None:
        with unforked():
            free.append(True)

    thread = threading.Thread(target=another, daemon=True)
    thread.start()
    thread.join(30)
    assert free == [True]
