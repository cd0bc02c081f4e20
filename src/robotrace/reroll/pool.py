"""Worker processes that run episodes again, and what stands between them and the rest of the machine.

Each worker is an interpreter of its own, with limits of time and memory, without the keys of this process, and killed
with everything it started when it is no longer wanted. A worker runs one episode after another as long as they import
the same local code; which one ran what makes no difference to the answers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from robotrace.children import python_command, usable_cores
from robotrace.errors import ConfigurationError
from robotrace.reroll.jobs import Job, Verdict

__all__ = ["Cancelled", "Executor", "Limits", "ProcessPool", "Progress", "run_job"]

Progress = Callable[[int, int], None]
"""``(steps that ran, steps there are)``."""

_WORKER = "robotrace.reroll.worker"
_POLL_S = 0.1
"""How soon a cancel or a time limit is noticed."""
_LAST_WORDS = 300
_NEEDED = ("gymnasium", "numpy", "av")


class Cancelled(Exception):
    """Whoever wanted the answer does not want it any more."""


@dataclass(frozen=True)
class Limits:
    """What one episode may take.

    Args:
        time_s: Wall time, from its start to its answer; importing the environment's code is part of it.
        memory_bytes: Of data; a worker that asks for more gets none (Linux; elsewhere it is not enforced).
        file_bytes: Of each file it writes.
        nice: How far it stands back behind other processes.
    """

    time_s: float = 600.0
    memory_bytes: int = 4 * 1024**3
    file_bytes: int = 8 * 1024**3
    nice: int = 0


class Executor(Protocol):
    """Runs jobs somewhere: processes of this machine (:class:`ProcessPool`), or a cluster."""

    def run(
        self, jobs: Iterable[Job], *, on_progress: Callable[[int, int, int], None] | None = None
    ) -> Iterator[tuple[int, Verdict]]:
        """Run every job.

        Args:
            jobs: Taken one by one as there is room for them.
            on_progress: Called with the job's position, the steps that ran, and the steps there are; on any thread.

        Yields:
            A job's position, and the verdict on it, in the order in which they end. The verdicts are the same however
            many run at once.
        """


class ProcessPool:
    """An :class:`Executor` over processes of this machine.

    Args:
        workers: How many at once; None: one a core.
        limits: Of each episode.
        folder: Their working directory; None: this process's, where an env's relative paths lead to.
    """

    def __init__(self, workers: int | None = None, *, limits: Limits | None = None, folder: Path | None = None) -> None:
        self._workers = workers or usable_cores()
        self._limits = limits or Limits()
        self._folder = folder

    def run(
        self, jobs: Iterable[Job], *, on_progress: Callable[[int, int, int], None] | None = None
    ) -> Iterator[tuple[int, Verdict]]:
        """See :meth:`Executor.run`; leaving the iteration early ends the workers.

        Raises:
            ConfigurationError: What a worker needs is not installed.
        """
        _require()
        waiting = enumerate(jobs)
        taking = threading.Lock()
        answers: queue.Queue[tuple[int, Verdict] | BaseException | None] = queue.Queue()
        cancelled = threading.Event()

        def work() -> None:
            worker: _Worker | None = None
            try:
                while not cancelled.is_set():
                    with taking:
                        position, job = next(waiting, (0, None))
                    if job is None:
                        break
                    if worker is not None and not worker.takes(job):
                        worker.close()
                        worker = None
                    worker = worker or _Worker(job, self._limits, self._folder)
                    progress = None if on_progress is None else _of(on_progress, position)
                    answers.put((position, worker.run(job, progress, cancelled)))
            except Cancelled:
                pass
            except BaseException as exc:  # of whoever makes the jobs: a download that failed
                answers.put(exc)
            finally:
                if worker is not None:
                    worker.close()
                answers.put(None)

        threads = [threading.Thread(target=work, name="robotrace-reroll", daemon=True) for _ in range(self._workers)]
        try:
            for thread in threads:
                thread.start()
            alive = len(threads)
            while alive:
                answer = answers.get()
                if answer is None:
                    alive -= 1
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    yield answer
        finally:
            cancelled.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()


def run_job(
    job: Job,
    *,
    limits: Limits | None = None,
    on_progress: Progress | None = None,
    cancelled: threading.Event | None = None,
    folder: Path | None = None,
) -> Verdict:
    """Run one episode again, in a process of its own.

    Args:
        job: The episode.
        limits: Of it.
        on_progress: Called now and then, on this thread.
        cancelled: Set by another thread to end it.
        folder: Its working directory; None: this process's.

    Raises:
        Cancelled: ``cancelled`` was set.
        ConfigurationError: What a worker needs is not installed.
    """
    _require()
    worker = _Worker(job, limits or Limits(), folder)
    try:
        return worker.run(job, on_progress, cancelled or threading.Event())
    finally:
        worker.close()


class _Worker:
    """A worker process, and the socket to it."""

    def __init__(self, job: Job, limits: Limits, folder: Path | None) -> None:
        self._key = _key(job)
        self._limits = limits
        self._buffer = b""
        self._words: Any = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            limit_texts = (str(limits.memory_bytes), str(limits.file_bytes), str(limits.nice))
            self._process = subprocess.Popen(
                # Without the entry for the working directory: what lies there is no code that anybody named.
                python_command(_WORKER, str(theirs.fileno()), *limit_texts, path=[item for item in sys.path if item]),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                env=_environment(),
                cwd=folder,
                start_new_session=True,  # a Ctrl-C is ours to handle, and one signal reaches all it has started
            )
        except BaseException:
            self._socket.close()
            self._words.close()
            raise
        finally:
            theirs.close()

    def takes(self, job: Job) -> bool:
        """Whether it can run this one after those before it: it may not know two modules of the same name."""
        return self._process.poll() is None and self._key == _key(job)

    def run(self, job: Job, on_progress: Progress | None, cancelled: threading.Event) -> Verdict:
        """Run one episode; after a limit or a crash the process is gone."""
        deadline = time.monotonic() + self._limits.time_s
        done, total = 0, 0
        try:
            self._socket.settimeout(_POLL_S)
            self._send(json.dumps(job.to_dict()).encode() + b"\n", deadline, cancelled)
            while True:
                if cancelled.is_set():
                    self._kill()
                    raise Cancelled
                if time.monotonic() > deadline:
                    self._kill()
                    where = f", at step {done} of {total}" if total else ""
                    return _failed(f"it was not done within {self._limits.time_s:g} s{where}")
                message = self._receive()
                if message is None:
                    continue
                if "verdict" in message:
                    return Verdict.from_dict(message)
                done, total = message["progress"]
                if on_progress is not None:
                    on_progress(done, total)
        except OSError:
            return _failed(self._how_it_died())

    def close(self) -> None:
        """End the process and all it has started."""
        self._kill()
        self._socket.close()
        self._words.close()

    def _send(self, data: bytes, deadline: float, cancelled: threading.Event) -> None:
        while data and time.monotonic() < deadline and not cancelled.is_set():
            with contextlib.suppress(TimeoutError):
                data = data[self._socket.send(data) :]

    def _receive(self) -> dict[str, Any] | None:
        """The next message; None while there is none. OSError: there will be none."""
        line, newline, rest = self._buffer.partition(b"\n")
        if newline:
            self._buffer = rest
            found: dict[str, Any] = json.loads(line)
            return found
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return None
        if not data:
            raise ConnectionError("the worker is gone")
        self._buffer += data
        return None

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _how_it_died(self) -> str:
        code = self._process.wait()
        try:
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:
            name = f"signal {-code}"
        self._words.seek(0)
        words = self._words.read().decode(errors="replace").strip().splitlines()
        last = f": {words[-1][:_LAST_WORDS]}" if words else ""
        return f"the process that ran it died ({name}){last}"


def _require() -> None:
    for name in _NEEDED:
        if importlib.util.find_spec(name) is None:
            raise ConfigurationError(
                f"running an episode again needs {name}; run: pip install 'robotrace-dev[gymnasium]'"
            )


def _of(on_progress: Callable[[int, int, int], None], position: int) -> Progress:
    return lambda done, total: on_progress(position, done, total)


def _failed(reason: str) -> Verdict:
    return Verdict("not_reproducible", reason)


def _key(job: Job) -> str:
    block = job.metadata.get("reproduce")
    sources = block.get("sources") if isinstance(block, dict) else None
    return json.dumps([sources, job.import_from, job.trusts_sources])


def _environment() -> dict[str, str]:
    """This process's, without our own settings and keys: what runs there is the env's code, and records nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROBOTRACE_")}
    # An env that iterates over a set of texts takes them in another order with another hash seed.
    return {"SDL_VIDEODRIVER": "dummy", **_headless(), **kept, "ROBOTRACE_MODE": "disabled", "PYTHONHASHSEED": "0"}


def _headless() -> dict[str, str]:
    # MuJoCo's default needs a display.
    return {} if os.environ.get("DISPLAY") or sys.platform == "darwin" else {"MUJOCO_GL": "egl"}
