"""A forked child never finds what it waits for in the hands of a thread that it does not have."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from robotrace.deliver import guards
from robotrace.deliver.guards import unforked


def fork_and_enter() -> int:
    """The exit code of a forked child that takes the guard."""
    pid = os.fork()
    if pid == 0:
        with unforked():
            os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# In a process of its own: a child that is forked by another thread than the main one frees the main thread's locals,
# and PyAV keeps a scaler there, which then waits for threads that the child does not have.
WAITING = """
import os, sys, threading
from robotrace.deliver import guards
from robotrace.deliver.guards import unforked
from polling import eventually

def fork_and_enter():
    pid = os.fork()
    if pid == 0:
        with unforked():
            os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

guards._LONGEST_WAIT_S = 60.0  # a second is soon over on a busy machine
log = []
entered, leave = threading.Event(), threading.Event()

def ours():
    with unforked():
        entered.set()
        leave.wait(30)
        log.append("left")

def users():
    log.append(fork_and_enter())

threads = [threading.Thread(target=ours), threading.Thread(target=users)]
threads[0].start()
assert entered.wait(30)
threads[1].start()

def waits():
    frame = sys._current_frames().get(threads[1].ident or 0)
    return frame is not None and frame.f_code is guards._before_fork.__code__

eventually(waits)
leave.set()
for thread in threads:
    thread.join(60)
log.append(fork_and_enter())
print(*log)
"""


def test_a_fork_waits_for_what_our_threads_are_in_the_middle_of() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", WAITING],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout.split(), done.returncode) == (["left", "7", "7"], 0), done.stderr


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
