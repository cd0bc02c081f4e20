"""Trainings as programs of their own, to be killed, forked and ended; and what is found afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from polling import eventually
from recorded import RecordedEpisode, sealed

from robotrace.deliver.salvage import salvage_dead_recordings
from robotrace.deliver.spool import open_spool

__all__ = ["PREAMBLE", "environment", "run", "run_file", "salvaged"]

PREAMBLE = """
import os, signal, sys
import numpy as np
from gymnasium_envs import LoggingEnv
from robotrace_gymnasium import RoboTraceRecorder

def make(**options):
    return RoboTraceRecorder(LoggingEnv(length=30), **{"video_trigger": 1, "max_per_minute": None, **options})

def rollout(env, seed=5, steps=10**9):
    rng = np.random.default_rng(0)
    env.reset(seed=seed)
    done = False
    while not done and steps > 0:
        done = any(env.step(rng.uniform(-1, 1, 2))[2:4])
        steps -= 1

def kill():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def environment(more: dict[str, str]) -> dict[str, str]:
    """Of a training: this process's, its import path, and ``more``."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def run(body: str, **more: str) -> subprocess.CompletedProcess[str]:
    return _run(["-c", PREAMBLE + body], more)


def run_file(folder: Path, text: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A script in a file, whose functions the children it spawns can import."""
    (folder / "training.py").write_text(text)
    return _run([str(folder / "training.py"), *arguments], more)


def _run(arguments: list[str], more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=environment(more), capture_output=True, text=True, timeout=120, check=False
    )


def salvaged() -> list[RecordedEpisode]:
    """Salvage once the encoder, which outlives its trainer to finish the video, has let go of the folder."""
    spool = open_spool()

    def nothing_left() -> bool:
        salvage_dead_recordings(spool)
        return not spool.recording_folders()

    eventually(nothing_left)
    return sealed(spool)
