"""The spool: episodes on disk between recording and delivery. Folders are the state, renames change it.

::

    <root>/v1/<machine-id8>-<hostname>/
        uploader.lock                       flock of the one uploader
        uploader.json                       what that uploader has done so far, for people
        imported.jsonl                      imported episodes that were delivered (robotrace.adapters)
        ballast                             4 MiB, given back when the disk is full
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
import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotrace.config import durability, spool_root
from robotrace.deliver.failpoints import reach
from robotrace.deliver.files import (
    fsync_dir,
    fsync_file,
    is_disk_full,
    is_same_file,
    make_private_dir,
    read_json,
    sync_file_system,
    try_lock,
    write_json,
)
from robotrace.errors import ConfigurationError

__all__ = [
    "LANE_BULK",
    "LANE_FAILED",
    "LANE_NORMAL",
    "MANIFEST_SCHEMA",
    "MAX_GROUP",
    "VERDICT_FILE",
    "Counts",
    "RecordingFolder",
    "SealedEpisode",
    "Spool",
    "WholeEpisode",
    "find_spool",
    "open_spool",
]

_log = logging.getLogger("robotrace")

MANIFEST_SCHEMA = 1
LANE_FAILED = 0
LANE_NORMAL = 5
LANE_BULK = 9
"""Imports: thousands of old episodes never hold up one that was recorded today."""
MAX_GROUP = 256
"""Episodes that are sealed together at the most; what a sync costs one of them is next to nothing then."""

_SINGLE = 8
"""So many episodes are synced file by file: with more, one sync of the file system is the cheaper one, even if it takes
other people's files along."""
VERDICT_FILE = "reproduction.json"
"""Beside the manifest of an episode that was run again before it was delivered: what came of it."""

_MANIFEST = "manifest.json"
_UPLOAD_STATE = "upload.json"
_BALLAST_BYTES = 4 * 1024 * 1024
_BALLAST_NEEDS_BYTES = 64 * 1024 * 1024
"""It is made where so much is free: on a disk that is nearly full it would be what fills it."""
_MAX_RECEIPTS = 10_000
_RECEIPT_S = 30 * 86400.0


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

    def verdict(self) -> dict[str, Any] | None:
        """What running it again came to; None where nobody did."""
        return read_json(self.folder / VERDICT_FILE)

    def upload_state(self) -> dict[str, Any]:
        """The uploader's own notes: server id, what is done, attempts, last error."""
        return read_json(self.folder / _UPLOAD_STATE) or {}

    def write_upload_state(self, state: Mapping[str, Any]) -> None:
        """Replace the notes; not fsynced: losing them repeats a step that is safe to repeat."""
        write_json(self.folder / _UPLOAD_STATE, state, durable=False)


@dataclass(frozen=True)
class WholeEpisode:
    """An episode folder in ``recording`` with all its files, about to be sealed.

    Attributes:
        folder: Where it is.
        manifest: What will be in ``manifest.json``.
        lane: How urgent it is.
        unix_ms: When it began.
    """

    folder: Path
    manifest: Mapping[str, Any]
    lane: int
    unix_ms: int

    def paths(self) -> list[Path]:
        """What has to be on the disk: the files, the manifest, and the folder that names them, last."""
        files = [self.folder / artifact["file"] for artifact in self.manifest["artifacts"]]
        return [*files, self.folder / _MANIFEST, self.folder]


@dataclass(frozen=True)
class RecordingFolder:
    """The folder one process records into, held by its ``owner.lock``."""

    path: Path
    lock: int
    """Descriptor of the lock; whoever inherits it keeps the folder from being salvaged."""


@dataclass(frozen=True)
class Spool:
    """This host's spool.

    Attributes:
        root: Its folder.
        durable: What is sealed here survives a power loss; otherwise the death of its process and no more.
    """

    root: Path
    durable: bool = True

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
        reach("recording.after_mkdir")
        lock = try_lock(hidden / "owner.lock")
        if lock is None:
            raise OSError(f"{hidden} is locked by another process")
        reach("recording.before_rename")
        path = self.recording / name
        hidden.rename(path)
        reach("recording.after_rename")
        return RecordingFolder(path, lock)

    def recording_folders(self) -> list[Path]:
        """The folders of all writing processes, dead ones too."""
        return [path for path in self._list(self.recording) if not path.name.startswith(".")]

    def seal(self, group: Sequence[WholeEpisode]) -> list[SealedEpisode | Exception]:
        """Freeze episodes: their manifests, one sync for all of them, then a rename into ``sealed`` each.

        Args:
            group: Their files must be closed. Each is seen by an uploader only as a whole.

        Returns:
            One a member, in their order; where there is an exception, the others are sealed all the same.
        """
        results: list[SealedEpisode | Exception | None] = [None] * len(group)

        def attempt(number: int, step: Callable[[WholeEpisode], SealedEpisode | None]) -> None:
            if results[number] is None:
                try:
                    results[number] = step(group[number])
                except Exception as exc:
                    results[number] = exc

        for number in range(len(group)):
            attempt(number, self._write_manifest)
        together = self.durable and len(group) > _SINGLE and self._sync_together(results)
        for number in range(len(group)):
            if self.durable and not together:
                attempt(number, _sync_one)
            attempt(number, self._rename_sealed)
        if self.durable:
            fsync_dir(self.sealed)
        return [result for result in results if result is not None]

    def _write_manifest(self, whole: WholeEpisode) -> None:
        reach("seal.before_manifest")
        write_json(whole.folder / _MANIFEST, whole.manifest, durable=False)  # synced with the rest, before the rename

    def _sync_together(self, results: list[SealedEpisode | Exception | None]) -> bool:
        try:
            return sync_file_system(self.recording)
        except OSError as exc:  # nobody knows whose bytes they were
            results[:] = [exc if result is None else result for result in results]
            return True

    def _rename_sealed(self, whole: WholeEpisode) -> SealedEpisode:
        reach("seal.before_rename")
        target = self.sealed / f"{whole.lane}{max(0, whole.unix_ms):013d}-{whole.manifest['uuid']}"
        whole.folder.rename(target)
        reach("seal.after_rename")
        return SealedEpisode(target)

    def sealed_episodes(self) -> list[SealedEpisode]:
        """The waiting episodes in upload order."""
        return [SealedEpisode(path) for path in self._list(self.sealed)]

    def failed_folders(self) -> list[Path]:
        """The folders of the episodes that were refused for good."""
        return self._list(self.failed)

    def known_uuids(self) -> set[str]:
        """The episodes that were sealed before, wherever they are by now."""
        # In the order in which they move; twice, for those that someone retries meanwhile.
        waiting = {entry.uuid for entry in self.sealed_episodes()}
        refused = {path.name for path in self.failed_folders()}
        delivered = {path.name.removesuffix(".json") for path in self._list(self.done)}
        return waiting | refused | delivered | {entry.uuid for entry in self.sealed_episodes()}

    def finish(self, entry: SealedEpisode, receipt: Mapping[str, Any]) -> None:
        """Move sealed → done: write the receipt, then delete the folder."""
        reach("done.before_receipt")
        path = self.done / f"{entry.uuid}.json"
        try:
            self._with_ballast(lambda: write_json(path, receipt, durable=self.durable))
        except OSError as exc:
            if not is_disk_full(exc):
                raise
            (entry.folder / _MANIFEST).rename(path)  # a receipt all the same, and a rename needs no room
        reach("done.after_receipt")
        self.discard(entry.folder)

    def is_done(self, uuid: str) -> bool:
        """Whether there is a receipt for an episode."""
        return (self.done / f"{uuid}.json").exists()

    def fail(self, entry: SealedEpisode, reason: str) -> None:
        """Move sealed → failed: kept with ``reason.txt``, never deleted silently."""
        text = f"{reason}\n"
        with contextlib.suppress(OSError):  # on a full disk the episode without its reason is better than none
            self._with_ballast(lambda: (entry.folder / "reason.txt").write_text(text, encoding="utf-8"))
        reach("failed.before_rename")
        entry.folder.rename(self.failed / entry.uuid)
        reach("failed.after_rename")

    def retry(self, folder: Path) -> SealedEpisode | None:
        """Move failed → sealed, to be delivered from its beginning; None where the folder is damaged.

        Args:
            folder: One of :meth:`failed_folders`.
        """
        manifest = read_json(folder / _MANIFEST)
        if manifest is None:
            return None
        lane = LANE_FAILED if manifest.get("finalize", {}).get("status") == "failed" else LANE_NORMAL
        for name in (_UPLOAD_STATE, "reason.txt"):
            (folder / name).unlink(missing_ok=True)
        began = (read_json(folder / "intent.json") or {}).get("unix_ms", int(time.time() * 1000))
        target = self.sealed / f"{lane}{max(0, int(began)):013d}-{folder.name}"
        folder.rename(target)
        return SealedEpisode(target)

    def discard(self, folder: Path) -> None:
        """Delete a folder: renamed away first, so that nobody finds half of it."""
        target = self.trash / f"{folder.name}-{secrets.token_hex(4)}"
        try:
            folder.rename(target)
        except FileNotFoundError:  # gone already, or someone deleted the whole spool
            return
        reach("trash.after_rename")
        shutil.rmtree(target, ignore_errors=True)

    def tidy(self) -> None:
        """Delete what a killed process left in ``trash``, unfinished recording folders, and old receipts."""
        for folder in self._list(self.trash):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in self._list(self.recording):
            if folder.name.startswith(".") and self._is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
        self._prune_receipts()

    def _is_abandoned(self, hidden: Path) -> bool:
        # A minute: between its creation and its lock no lock says that someone is at work.
        with contextlib.suppress(OSError):
            if time.time() - hidden.stat().st_mtime < 60:
                return False
            lock = try_lock(hidden / "owner.lock")
            if lock is not None:
                os.close(lock)
                return True
        return False

    def _prune_receipts(self) -> None:
        receipts = []
        for path in self._iter(self.done):
            with contextlib.suppress(OSError):
                receipts.append((path.stat().st_mtime, path))
        receipts.sort(reverse=True)
        # Those of a process that still runs are needed should it be killed: its block file has their episodes.
        began = [folder.stat().st_ctime for folder in self.recording_folders() if folder.exists()]
        oldest = min(began, default=time.time())
        for number, (written, path) in enumerate(receipts):
            if written < oldest and (number >= _MAX_RECEIPTS or written < time.time() - _RECEIPT_S):
                path.unlink(missing_ok=True)

    @property
    def uploader_file(self) -> Path:
        """What the uploader says of itself, for people; see :class:`robotrace.deliver.uploader.Uploader`."""
        return self.root / "uploader.json"

    @property
    def ballast(self) -> Path:
        """Room on the disk that is ours, to be given back when there is none left."""
        return self.root / "ballast"

    def keep_ballast(self) -> None:
        """Make the ballast where there is room for it."""
        if self.ballast.exists() or shutil.disk_usage(self.root).free < _BALLAST_NEEDS_BYTES:
            return
        temporary = self.root / "ballast.tmp"
        with contextlib.suppress(OSError):
            temporary.write_bytes(bytes(_BALLAST_BYTES))  # written, since a sparse file holds no room
            temporary.chmod(0o600)
            temporary.rename(self.ballast)

    def free_ballast(self) -> bool:
        """Give the ballast back; whether there was one."""
        try:
            self.ballast.unlink()
        except OSError:
            return False
        return True

    def _with_ballast(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as exc:
            if not is_disk_full(exc) or not self.free_ballast():
                raise
            write()

    def write_upload_state(self, entry: SealedEpisode, state: Mapping[str, Any]) -> None:
        """Replace the uploader's notes on an episode; without room for them a step is repeated, which is harmless."""
        try:
            self._with_ballast(lambda: entry.write_upload_state(state))
        except OSError as exc:
            if not is_disk_full(exc):
                raise

    def holds(self, lock: int) -> bool:
        """Whether a descriptor of ``uploader.lock`` is one of the file that is there now."""
        return is_same_file(lock, self.uploader_lock)

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
    spool = Spool(find_spool(base).root, durable=_is_durable())
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


def _is_durable() -> bool:
    try:
        return durability() == "power"
    except ConfigurationError as exc:  # a slip in a variable may cost no training its episodes
        _log.warning("%s; power is taken", exc)
        return True


def _sync_one(whole: WholeEpisode) -> None:
    for path in whole.paths():
        (fsync_dir if path == whole.folder else fsync_file)(path)


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
