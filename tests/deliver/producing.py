"""Processes that record and upload, to be killed: ``python producing.py ROOT LOG URL PREFIX EPISODES``.

Without NumPy. Each episode that has ended is noted in LOG before anything is done with it: what is noted there has to
arrive. Names are unique over all processes, so that an episode that came twice is seen whatever its uuid is.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from robotrace.config import Target
from robotrace.deliver.blocks import END, BlockFile, encode_json
from robotrace.deliver.sealing import complete_episode, seal_episode
from robotrace.deliver.spool import VERDICT_FILE, open_spool
from robotrace.deliver.uploader import Uploader
from robotrace.testing.episodes import end_content, write_episode

ENDLESS_PAUSE_S = 0.05
"""Of a producer without end: it makes fewer episodes than a server written in Python takes."""

__all__ = ["noted", "record", "start", "upload"]

REFUSED = "refused"
"""In the name of an episode that the server refuses for good."""


def record(root: Path, log: Path, prefix: str, episodes: int, *, pause_s: float = 0.0, together: bool = False) -> None:
    """Record and seal ``episodes`` (0: without end) in a folder of this process, and leave one more open.

    ``together``: all of them in one group.
    """
    spool = open_spool(root)
    owned = spool.new_recording_folder()
    file = BlockFile(owned.path / "blocks-0001.rtb")
    note = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    number = 0
    group = []
    while not episodes or number < episodes:
        label = f"{prefix}-{number}"
        parts = write_episode(file, ended=False, label=label)
        time.sleep(pause_s)
        end = encode_json(end_content("failed" if number % 5 == 4 else "ready"))
        parts.feed(file.append(END, parts.uuid, 0, end))
        os.write(note, f"{label}\n".encode())  # one write, and it survives a SIGKILL
        folder = owned.path / parts.uuid
        folder.mkdir()
        (folder / "video.mp4").write_bytes(label.encode() * 100)
        (folder / VERDICT_FILE).write_text('{"verdict": "reproduced"}')
        if together:
            group.append(complete_episode(folder, parts))
        else:
            seal_episode(spool, folder, parts)
        number += 1
    spool.seal([whole for whole in group if whole is not None])
    write_episode(file, ended=False, label=f"{prefix}-open")
    file.close()
    os.close(owned.lock)


def upload(root: Path, url: str) -> None:
    """Two rounds of an uploader: what failed for a moment in the first may arrive in the second."""
    uploader = Uploader(open_spool(root), lambda: Target(url, "rt_key"), rng=random.Random(1))
    uploader.run_once()
    uploader._waits.clear()
    uploader.run_once()
    uploader._close()


def noted(log: Path) -> list[str]:
    """The names of the episodes that have ended."""
    return log.read_text().splitlines() if log.exists() else []


def start(root: Path, log: Path, url: str, prefix: str, episodes: int, **environment: str) -> subprocess.Popen[str]:
    """This module as a process."""
    return subprocess.Popen(
        [sys.executable, __file__, str(root), str(log), url, prefix, str(episodes)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


if __name__ == "__main__":
    root, log, url, prefix, count = sys.argv[1:]
    if prefix == "upload":
        running = Uploader(open_spool(Path(root)), lambda: Target(url, "rt_key"))
        running.start()
        running._thread.join()  # type: ignore[union-attr]  # until it is killed
    else:
        endless = int(count) == 0
        together = "PRODUCE_TOGETHER" in os.environ
        record(
            Path(root), Path(log), prefix, int(count), pause_s=ENDLESS_PAUSE_S if endless else 0.0, together=together
        )
        if url:
            upload(Path(root), url)
