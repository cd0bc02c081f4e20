"""Small file operations whose order matters after a crash."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robotrace.deliver.failpoints import reach
from robotrace.deliver.guards import unforked

__all__ = [
    "folder_bytes",
    "fsync_dir",
    "fsync_file",
    "is_disk_full",
    "is_same_file",
    "make_private_dir",
    "read_json",
    "sha256_of",
    "sync_file_system",
    "try_lock",
    "write_json",
]

_CHUNK_BYTES = 1024 * 1024


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception says that there is no room left, on the disk or for this user."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_same_file(descriptor: int, path: Path) -> bool:
    """Whether a path still leads to the file behind a descriptor: it may have been deleted, and made anew."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def make_private_dir(path: Path) -> None:
    """Create a folder (and what is missing above it) that only its owner can enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def try_lock(path: Path) -> int | None:
    """Take an exclusive ``flock`` on a file, creating it; None when someone else has it.

    The lock lives as long as the descriptor (and its duplicates in other processes) is open. The file is never
    unlinked: a second owner could lock a new file of the same name while the first still holds the old one.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def fsync_file(path: Path) -> None:
    """Make a file's content survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_dir(path: Path) -> None:
    """Make the names in a folder survive a power loss; best effort where a file system cannot."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> bool:
    """Make everything that was written to a folder's file system survive a power loss, in one go.

    Returns:
        False where the system has no such call (``syncfs``, of Linux).

    Raises:
        OSError: Something could not be written.
    """
    try:
        with unforked():
            import ctypes  # not in every build of Python
    except ImportError:
        return False
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
    return True


def write_json(path: Path, value: Mapping[str, Any], *, durable: bool = True) -> None:
    """Replace a JSON file in one rename: a reader sees the old or the new one, never half of it."""
    temporary = path.with_name(f"{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, allow_nan=False, separators=(",", ":"))
        if durable:
            file.flush()
            os.fsync(file.fileno())
    reach("state.before_replace")
    temporary.replace(path)


def folder_bytes(folder: Path) -> int:
    """The size of all files of a folder; 0 where it is not there."""
    total = 0
    for parent, _, names in os.walk(folder):  # passes over what vanishes meanwhile
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118  # thousands of them
            except FileNotFoundError:
                pass
    return total


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file, None where there is none or it is not readable as one."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
