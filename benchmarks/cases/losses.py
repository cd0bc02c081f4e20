"""What a video holds of what was rendered, after a run that ends, and after SIGKILL in its middle. Counts."""

from __future__ import annotations

import mmap
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
from worlds import Barcodes, read_barcode

from cases.recorders import with_video

__all__ = ["measure"]

_STEP_S = 0.002
_PATIENCE_S = 60.0


def measure(contestant: str, *, what: str, steps: int) -> dict[str, Any]:
    """``what``: ``whole`` or ``killed``."""
    folder = Path(tempfile.mkdtemp(prefix="robotrace-bench-"))
    try:
        return _whole(contestant, steps, folder) if what == "whole" else _killed(steps, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _whole(contestant: str, steps: int, folder: Path) -> dict[str, Any]:
    env: Any = Barcodes(length=steps)
    if contestant == "robotrace-dev":
        from robotrace.adapters.gymnasium import encode_rollout

        encode_rollout(env, folder, policy=lambda *_: 0, seed=0, max_steps=steps, record_video=True)
    else:
        env, finish = with_video(env, contestant, str(folder))
        env.reset()
        for _ in range(steps):
            env.step([0] if contestant == "vecvideo" else 0)
        finish()
    if contestant == "ours":
        (entry,) = _episodes()
        folder = entry.folder
    (path,) = folder.rglob("*.mp4")
    return _compare(_numbers(path), steps + 1)


def _compare(found: list[int], submitted: int) -> dict[str, Any]:
    """Every frame 0, 1, 2, … once and in order; ``shown_wrongly``: places of the file that hold another one."""
    wrong = sum(1 for place, number in enumerate(found) if number != place)
    missing = len(set(range(submitted)) - set(found))
    return {"frames_in_file": len(found), "frames_missing": missing, "shown_wrongly": wrong}


def _numbers(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [read_barcode(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def _episodes() -> list[Any]:
    from robotrace.deliver.spool import open_spool

    return list(open_spool().sealed_episodes())


def _killed(steps: int, folder: Path) -> dict[str, Any]:
    """A trainer that counts its finished steps in shared memory is killed; the next process brings back the rest."""
    import numpy as np

    from robotrace.deliver.salvage import salvage_dead_recordings
    from robotrace.deliver.spool import open_spool

    counter = folder / "steps"
    counter.write_bytes(bytes(8))
    trainer = subprocess.Popen([sys.executable, "-m", "cases.losses", str(counter)])
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while _count(counter) < steps:
            if trainer.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the trainer made {_count(counter)} of {steps} steps; exit {trainer.poll()}")
            time.sleep(_STEP_S)
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
    done = _count(counter)
    spool = open_spool()
    while spool.recording_folders():  # the encoder outlives its trainer to finish the video
        if time.monotonic() > deadline:
            raise RuntimeError("the killed trainer's recording could not be salvaged")
        salvage_dead_recordings(spool)
        time.sleep(0.05)
    (entry,) = _episodes()
    with np.load(entry.folder / "actions.npz", allow_pickle=False) as actions:
        kept = len(actions["action/value"])
    frames = _compare(_numbers(entry.folder / "video.mp4"), done + 1)
    return frames | {"steps_done": done, "steps_lost": done - kept, "seconds_lost": (done - kept) * _STEP_S}


def _count(counter: Path) -> int:
    return int.from_bytes(counter.read_bytes(), "little")


def _train(counter: Path) -> None:
    env, _ = with_video(Barcodes(length=10**9, step_s=_STEP_S), "ours", "")
    with counter.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
        env.reset()
        done = 0
        while True:
            env.step(0)
            done += 1
            shared[:] = done.to_bytes(8, "little")


if __name__ == "__main__":
    _train(Path(sys.argv[1]))
