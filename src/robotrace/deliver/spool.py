"""The spool: episodes on disk between recording and delivery. Folders are the state, renames change it.

::

    <root>/v1/<machine-id8>-<hostname>/
        uploader.lock                       flock of the one uploader
        recording/<pid>-<start>-<rand>/     one writing process; owner.lock, blocks-*.rtb, <uuid>/
        sealed/<lane><unix_ms>-<uuid>/      manifest.json, upload.json, the artifacts; name order = upload order
        failed/<uuid>/                      refused for good, with reason.txt
        done/<uuid>.json                    receipts
        trash/                              rename here, then delete

Functions over folders: no threads, no sockets.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotrace.config import spool_root
from robotrace.deliver.files import fsync_dir, make_private_dir, read_json, try_lock, write_json
from robotrace.errors import ConfigurationError

__all__ = [
    "LANE_FAILED",
    "LANE_NORMAL",
    "MANIFEST_SCHEMA",
    "Counts",
    "RecordingFolder",
    "SealedEpisode",
    "Spool",
    "find_spool",
    "open_spool",
]

MANIFEST_SCHEMA = 1
LANE_FAILED = 0
LANE_NORMAL = 5

_MANIFEST = "manifest.json"
_UPLOAD_STATE = "upload.json"


@dataclass(frozen=True)
class Counts:
    """How many episodes are in each state."""

    recording: int
    sealed: int
    failed: int
    done: int


@dataclass(frozen=True)
class SealedEpisode:
    """An episode folder that is complete and frozen."""

    folder: Path

    @property
    def uuid(self) -> str:
        """The client-made id, which is also the idempotency key."""
        return self.folder.name.partition("-")[2]

    @property
    def unix_ms(self) -> int | None:
        """When the episode began; None where the folder's name does not say."""
        stamp = self.folder.name.partition("-")[0][1:]
        return int(stamp) if stamp.isascii() and stamp.isdigit() else None

    def manifest(self) -> dict[str, Any] | None:
        """What to create, upload and finalize; None when the folder is damaged or gone."""
        return read_json(self.folder / _MANIFEST)

    def upload_state(self) -> dict[str, Any]:
        """The uploader's own notes: server id, what is done, attempts, last error."""
        return read_json(self.folder / _UPLOAD_STATE) or {}

    def write_upload_state(self, state: Mapping[str, Any]) -> None:
        """Replace the notes; not fsynced: losing them repeats a step that is safe to repeat."""
        write_json(self.folder / _UPLOAD_STATE, state, durable=False)


@dataclass(frozen=True)
class RecordingFolder:
    """The folder one process records into, held by its ``owner.lock``."""

    path: Path
    lock: int
    """Descriptor of the lock; whoever inherits it keeps the folder from being salvaged."""


@dataclass(frozen=True)
class Spool:
    """This host's spool."""

    root: Path

    @property
    def recording(self) -> Path:
        """Folders of writing processes."""
        return self.root / "recording"

    @property
    def sealed(self) -> Path:
        """Complete episodes, waiting."""
        return self.root / "sealed"

    @property
    def failed(self) -> Path:
        """Episodes a deployment refused for good."""
        return self.root / "failed"

    @property
    def done(self) -> Path:
        """Receipts of delivered episodes."""
        return self.root / "done"

    @property
    def trash(self) -> Path:
        """What is being deleted."""
        return self.root / "trash"

    @property
    def uploader_lock(self) -> Path:
        """The lock that elects the one uploader of this host."""
        return self.root / "uploader.lock"

    def new_recording_folder(self) -> RecordingFolder:
        """Make and lock a folder for this process.

        It is locked under a hidden name and then renamed, so that no salvager ever sees it unlocked.
        """
        name = f"{os.getpid()}-{int(time.time())}-{secrets.token_hex(4)}"
        hidden = self.recording / f".{name}"
        hidden.mkdir(mode=0o700)
        lock = try_lock(hidden / "owner.lock")
        if lock is None:
            raise OSError(f"{hidden} is locked by another process")
        path = self.recording / name
        hidden.rename(path)
        return RecordingFolder(path, lock)

    def recording_folders(self) -> list[Path]:
        """The folders of all writing processes, dead ones too."""
        return [path for path in self._list(self.recording) if not path.name.startswith(".")]

    def seal(self, folder: Path, manifest: Mapping[str, Any], *, lane: int, unix_ms: int) -> SealedEpisode:
        """Freeze an episode folder: manifest, then one rename into ``sealed``.

        The artifacts must be closed and fsynced. Seen by an uploader only as a whole.
        """
        write_json(folder / _MANIFEST, manifest)
        fsync_dir(folder)
        target = self.sealed / f"{lane}{unix_ms:013d}-{manifest['uuid']}"
        folder.rename(target)
        fsync_dir(self.sealed)
        return SealedEpisode(target)

    def sealed_episodes(self) -> list[SealedEpisode]:
        """The waiting episodes in upload order."""
        return [SealedEpisode(path) for path in self._list(self.sealed)]

    def failed_folders(self) -> list[Path]:
        """The folders of the episodes that were refused for good."""
        return self._list(self.failed)

    def known_uuids(self) -> set[str]:
        """The episodes that were sealed before, wherever they are by now."""
        delivered = {path.name.removesuffix(".json") for path in self._list(self.done)}
        refused = {path.name for path in self.failed_folders()}
        return delivered | refused | {entry.uuid for entry in self.sealed_episodes()}

    def finish(self, entry: SealedEpisode, receipt: Mapping[str, Any]) -> None:
        """Move sealed → done: write the receipt, then delete the folder."""
        write_json(self.done / f"{entry.uuid}.json", receipt)
        self.discard(entry.folder)

    def fail(self, entry: SealedEpisode, reason: str) -> None:
        """Move sealed → failed: kept with ``reason.txt``, never deleted silently."""
        (entry.folder / "reason.txt").write_text(f"{reason}\n", encoding="utf-8")
        entry.folder.rename(self.failed / entry.uuid)

    def discard(self, folder: Path) -> None:
        """Delete a folder: renamed away first, so that nobody finds half of it."""
        target = self.trash / f"{folder.name}-{secrets.token_hex(4)}"
        folder.rename(target)
        shutil.rmtree(target, ignore_errors=True)

    def counts(self) -> Counts:
        """How many episodes are in each state; ``recording`` counts writing processes."""
        return Counts(
            recording=len(self.recording_folders()),
            sealed=len(self._list(self.sealed)),
            failed=len(self.failed_folders()),
            done=len(self._list(self.done)),
        )

    def _list(self, folder: Path) -> list[Path]:
        return sorted(self._iter(folder), key=lambda path: path.name)

    def _iter(self, folder: Path) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError):
            yield from folder.iterdir()


def find_spool(root: Path | None = None) -> Spool:
    """This host's spool as it is: nothing is created, and every list of one that is not there is empty.

    Args:
        root: As in :func:`open_spool`.
    """
    return Spool((spool_root() if root is None else root) / "v1" / _host_folder())


def open_spool(root: Path | None = None) -> Spool:
    """This host's spool, its folders created and tried.

    Args:
        root: Instead of ``$ROBOTRACE_SPOOL_DIR`` or ``~/.robotrace/spool``.

    Raises:
        ConfigurationError: A folder cannot be created or written.
    """
    base = spool_root() if root is None else root
    spool = find_spool(base)
    try:
        make_private_dir(base)
        for folder in (spool.recording, spool.sealed, spool.failed, spool.done, spool.trash):
            make_private_dir(folder)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
    except OSError as exc:
        raise ConfigurationError(
            f"the spool folder {base} cannot be written: {exc.strerror}; set ROBOTRACE_SPOOL_DIR to one that can"
        ) from exc
    return spool


def _host_folder() -> str:
    # Homes are often shared over a network: a lock or a pid means nothing on another host.
    hostname = socket.gethostname() or "localhost"
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        machine = ""
    machine = machine or hashlib.sha256(hostname.encode()).hexdigest()
    safe = "".join(char if char.isalnum() or char in "-_." else "_" for char in hostname)
    return f"{machine[:8]}-{safe[:64]}"
