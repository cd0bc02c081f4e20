"""The process that runs episodes again: jobs come as lines of JSON over a socket, verdicts go back."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from robotrace._version import __version__
from robotrace.reroll.environments import NotReproducible, RecordedEnvironment
from robotrace.reroll.execution import Recorded, Rerun, read_recorded, rerun, why_not_deterministic
from robotrace.reroll.jobs import Job, Verdict, VideoRequest
from robotrace.reroll.plan import read_plan
from robotrace.reroll.rendering import NotRendered, VideoMaker

__all__ = ["execute", "main"]

_PROGRESS_S = 0.2
_PR_SET_PDEATHSIG = 1
"""Of Linux's prctl(2)."""


def execute(job: Job, on_progress: Callable[[int, int], None]) -> Verdict:
    """Run an episode again in this process; never raises for what an environment does.

    Args:
        job: The episode.
        on_progress: Called with the steps that ran, and the steps there are.
    """
    plan = read_plan(job.metadata)
    told: dict[str, Any] = {
        "code": plan.code,
        "checked_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "checked_by": f"robotrace {__version__}",
    }
    if plan.reason is not None:
        return Verdict("not_reproducible", plan.reason, **told)
    environment = RecordedEnvironment(job)
    try:
        recorded = read_recorded(job)
        told |= {"total_steps": recorded.steps, "not_compared": dict(recorded.missing)}
        environment.load()
        return _verdict(job, environment, recorded, told, lambda step: on_progress(step, recorded.steps))
    except NotReproducible as exc:
        return Verdict("not_reproducible", str(exc), differences=environment.differences, **told)
    except MemoryError:
        return Verdict("not_reproducible", "it needs more memory than it was given", **told)
    except BaseException as exc:  # an env that calls sys.exit, or breaks while it is closed
        reason = f"running it again raised {type(exc).__name__}: {exc}"
        return Verdict("not_reproducible", reason, differences=environment.differences, **told)


def _verdict(
    job: Job,
    environment: RecordedEnvironment,
    recorded: Recorded,
    told: dict[str, Any],
    on_step: Callable[[int], None],
) -> Verdict:
    found, video = _run(job, environment, recorded, on_step)
    told = {
        **told,
        **video,
        "differences": environment.differences,
        "steps": found.steps,
        "compared": tuple(recorded.rows),
        "not_compared": {**dict.fromkeys(sorted(found.extra), "not recorded"), **told["not_compared"]},
        "raised": found.raised,
    }
    if found.divergence is None:
        return Verdict("reproduced", **told)
    reason = why_not_deterministic(environment, recorded)
    return Verdict("diverged" if reason is None else "not_reproducible", reason, divergence=found.divergence, **told)


def _run(
    job: Job, environment: RecordedEnvironment, recorded: Recorded, on_step: Callable[[int], None]
) -> tuple[Rerun, dict[str, Any]]:
    """What came of it, and of its video: ``video`` or ``video_fault``."""
    told: dict[str, Any] = {}
    if job.video is not None:
        try:
            return _run_with_video(job, job.video, environment, recorded, on_step)
        except NotRendered as exc:  # whether it happens again does not depend on a picture
            told["video_fault"] = str(exc)
    with contextlib.closing(environment.build()) as env:
        return rerun(environment, env, recorded, on_step=on_step), told


def _run_with_video(
    job: Job,
    request: VideoRequest,
    environment: RecordedEnvironment,
    recorded: Recorded,
    on_step: Callable[[int], None],
) -> tuple[Rerun, dict[str, Any]]:
    try:
        env = environment.build(render=True, camera=request.camera)
    except NotReproducible as exc:
        raise NotRendered(str(exc)) from exc
    with contextlib.closing(env):
        maker = VideoMaker(env, request, recorded.stamps_ns, job.fps)
        try:
            found = rerun(environment, env, recorded, on_step=on_step, picture=maker.picture)
            return found, {} if found.divergence is not None else {"video": maker.close()}
        finally:
            maker.discard()


def main() -> None:
    """Serve the process at the other end of the socket whose descriptor is ``sys.argv[1]``; the limits follow it."""
    descriptor, memory_bytes, file_bytes, nice = map(int, sys.argv[1:])
    _limit(memory_bytes, file_bytes, nice)
    connection = socket.socket(fileno=descriptor)
    for line in connection.makefile("rb"):
        progress = _Progress(connection)
        verdict = execute(Job.from_dict(json.loads(line)), progress)
        _send(connection, verdict.to_dict())
    os._exit(0)  # threads of an env must not keep it


class _Progress:
    """Says how far it is, now and then."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next or done == total:
            self._next = now + _PROGRESS_S
            _send(self._connection, {"progress": [done, total]})


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
    except OSError:  # nobody is left who wants to know
        os._exit(1)


def _limit(memory_bytes: int, file_bytes: int, nice: int) -> None:
    limits = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, file_bytes)]
    if sys.platform == "linux":  # counts what is private and writable; elsewhere next to nothing
        limits.append((resource.RLIMIT_DATA, memory_bytes))
    for which, value in limits:
        with contextlib.suppress(ValueError, OSError):  # a lower one is set already
            resource.setrlimit(which, (value, value))
    with contextlib.suppress(OSError):
        os.nice(nice)
    if sys.platform == "linux":
        # The limit of time is the parent's: one that is killed leaves nobody to keep it.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
