"""What is in the spool, for people: how much waits in each state, and for how long."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotrace.deliver.files import folder_bytes, read_json, try_lock
from robotrace.deliver.spool import Spool

__all__ = ["SpoolOverview", "StateOverview", "look_into"]


@dataclass(frozen=True)
class StateOverview:
    """One state of the spool.

    Attributes:
        count: Episodes; in ``recording``, processes.
        bytes: On disk.
        oldest_unix_s: When the oldest one began (in ``failed``: was refused); None where there is none.
    """

    count: int
    bytes: int
    oldest_unix_s: float | None


@dataclass(frozen=True)
class SpoolOverview:
    """The spool at a moment; it goes on changing meanwhile.

    Attributes:
        recording: Processes that record, and dead ones that wait to be salvaged.
        waiting: Complete episodes of which nothing was sent yet.
        uploading: Complete episodes whose upload has begun.
        failed: Refused for good.
        last_error: What kept the first episode in the row from being delivered; None where nothing did.
        uploader_running: Whether a process holds the uploader's lock.
        uploader: What that process, or the last one, has said of itself: ``pid``, ``uploaded``, ``bytes``, ``retried``,
            ``failed``, ``salvaged`` since it began, ``paused``, and ``waits_s``, the seconds that each host is left
            alone; None where none ever did.
        done: Receipts of delivered episodes; of the last 30 days, or 10,000.
    """

    recording: StateOverview
    waiting: StateOverview
    uploading: StateOverview
    failed: StateOverview
    last_error: str | None
    uploader_running: bool
    uploader: dict[str, Any] | None
    done: int


def look_into(spool: Spool) -> SpoolOverview:
    """Look at every state; changes nothing, and takes a spool that is not there for an empty one."""
    waiting: list[tuple[Path, float | None]] = []
    uploading: list[tuple[Path, float | None]] = []
    last_error: str | None = None
    for entry in spool.sealed_episodes():
        state = entry.upload_state()
        began = None if entry.unix_ms is None else entry.unix_ms / 1000
        (uploading if "episode_id" in state else waiting).append((entry.folder, began))
        error = state.get("last_error")
        if last_error is None and isinstance(error, str):
            last_error = error
    return SpoolOverview(
        recording=_state((path, _started(path)) for path in spool.recording_folders()),
        waiting=_state(waiting),
        uploading=_state(uploading),
        failed=_state((path, _modified(path / "reason.txt")) for path in spool.failed_folders()),
        last_error=last_error,
        uploader_running=_is_locked(spool.uploader_lock),
        uploader=read_json(spool.uploader_file),
        done=spool.counts().done,
    )


def _state(folders: Iterable[tuple[Path, float | None]]) -> StateOverview:
    found = list(folders)
    times = [began for _, began in found if began is not None]
    return StateOverview(
        count=len(found), bytes=sum(folder_bytes(folder) for folder, _ in found), oldest_unix_s=min(times, default=None)
    )


def _started(folder: Path) -> float | None:
    # Its name is <pid>-<start>-<rand>.
    _, _, rest = folder.name.partition("-")
    start = rest.partition("-")[0]
    return float(start) if start.isascii() and start.isdigit() else None


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _is_locked(path: Path) -> bool:
    # Had for an instant, the lock is no loss for an uploader that looks just now: it looks again in two seconds.
    if not path.exists():
        return False
    lock = try_lock(path)
    if lock is None:
        return True
    os.close(lock)
    return False
