"""What takes longer to find out about a checkout than an episode's reset may: what was changed in it, and its remote.

``git status`` looks at every file: 5 to 46 ms on a local disk, without bound in a large tree or over NFS. So it has
two seconds, and what it does not find stays empty. It takes no lock of the repository, asks for no password, starts no
monitor or diff program that the repository names, and says nothing of a checkout that is somebody else's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from robotrace.context.git import Checkout

__all__ = ["find_changes", "public_remote", "read_remote"]

_TIMEOUT_S = 2.0
_MOST_BYTES = 64 * 1024 * 1024
"""Of a diff that is hashed: changed weights of a policy may be a tracked file."""
_POLL_MS = 20
_SHA = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOST_PATHS = 1000
"""That are given on a command line."""
_STATUS = ("status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames", "--ignore-submodules=dirty")
_DIFF = (
    # It would write the index, whatever GIT_OPTIONAL_LOCKS says.
    *("-c", "diff.autoRefreshIndex=false"),
    *("diff", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"),
    *("--unified=3", "--diff-algorithm=myers", "--src-prefix=a/", "--dst-prefix=b/", "--ignore-submodules=dirty"),
)
"""Whatever the user's own configuration says, so that the same changes have the same hash everywhere."""
_SECTION = re.compile(r'\[\s*remote\s+"(.*)"\s*\]', re.IGNORECASE)
_URL = re.compile(r'url\s*=\s*"?([^"#;]*)', re.IGNORECASE)
_SCP = re.compile(r"(?:[^@/:]+@)?([^@/:\s]{2,}):([^@:\\]+)")
_SCHEMES = ("http", "https", "ssh", "git", "git+ssh", "ssh+git")


def find_changes(checkout: Checkout, *, timeout_s: float = _TIMEOUT_S) -> dict[str, Any]:
    """Ask ``git``; never raises.

    Args:
        checkout: Of this process.
        timeout_s: For all of it.

    Returns:
        ``dirty`` (bool; files that git does not track are no change), ``diff_sha256`` (hex) where there is a change,
        and of a ``reftable`` ``sha`` and ``branch``. What could not be found out is missing.
    """
    deadline = time.monotonic() + timeout_s
    found: dict[str, Any] = {}
    sha = checkout.sha
    if checkout.reftable:
        answer = _run(checkout.root, ("rev-parse", "--verify", "HEAD"), deadline)
        if answer is None or not _SHA.fullmatch(answer.strip()):
            return {}
        sha = found["sha"] = answer.strip().decode()
        branch = _run(checkout.root, ("symbolic-ref", "--quiet", "--short", "HEAD"), deadline)
        if branch:
            found["branch"] = branch.decode("utf-8", "replace").strip()
    if sha is None:
        return found
    status = _run(checkout.root, _STATUS, deadline)
    if status is None:
        return found
    paths = [os.fsdecode(entry[3:]) for entry in status.split(b"\0") if entry]
    found["dirty"] = bool(paths)
    digest = _hash_diff(checkout.root, sha, paths, deadline) if 0 < len(paths) <= _MOST_PATHS else None
    return found if digest is None else {**found, "diff_sha256": digest}


def _hash_diff(root: Path, sha: str, paths: list[str], deadline: float) -> str | None:
    digest = hashlib.sha256()
    size = 0

    def add(part: bytes) -> bool:
        nonlocal size
        size += len(part)
        digest.update(part)
        return size <= _MOST_BYTES

    return digest.hexdigest() if _stream(root, (*_DIFF, sha, "--", *paths), deadline, add) else None


def _run(root: Path, arguments: tuple[str, ...], deadline: float) -> bytes | None:
    parts: list[bytes] = []

    def add(part: bytes) -> bool:
        parts.append(part)
        return True

    return b"".join(parts) if _stream(root, arguments, deadline, add) else None


def _stream(root: Path, arguments: tuple[str, ...], deadline: float, add: Callable[[bytes], bool]) -> bool:
    """Run ``git``, and give its output away in parts, until one is refused.

    Returns:
        Whether it came to a good end before the deadline.
    """
    # By its path: to look it up in PATH, subprocess changes the filters of `warnings`, which all threads share.
    git = shutil.which("git")
    if git is None:
        return False
    # By name: another thread may take a variable away meanwhile.
    named = ((name, os.environ.get(name)) for name in list(os.environ) if not name.startswith("GIT_"))
    environment = {name: value for name, value in named if value is not None}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
    environment |= {"GIT_LITERAL_PATHSPECS": "1", "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            # A configured fsmonitor is a program of the repository's own.
            [git, "-C", str(root), "-c", "core.fsmonitor=false", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
    except OSError:
        return False
    assert process.stdout is not None
    with process.stdout as output:
        ended = _read(process, output.fileno(), deadline, add)
    if not ended:
        process.kill()
    # One that hangs in its file system cannot be killed either.
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(max(0.0, deadline - time.monotonic()) if ended else 1.0) == 0 and ended
    return False


def _read(process: subprocess.Popen[bytes], pipe: int, deadline: float, add: Callable[[bytes], bool]) -> bool:
    os.set_blocking(pipe, False)
    poller = select.poll()
    poller.register(pipe, select.POLLIN | select.POLLHUP)
    while time.monotonic() < deadline:
        # A child that another thread forks meanwhile holds the pipe open too: its end is not always told.
        exited = process.poll() is not None
        if not poller.poll(_POLL_MS):
            if exited:
                return True
            continue
        try:
            part = os.read(pipe, 1 << 16)
        except BlockingIOError:
            continue
        if not part:
            return True
        if not add(part):
            return False
    return False


def read_remote(checkout: Checkout) -> str | None:
    """Where the repository comes from: ``origin``, else the first remote; without user, password and query."""
    try:
        lines = (checkout.common_dir / "config").read_text(errors="replace").splitlines()
    except OSError:
        return None
    remotes: dict[str, str] = {}
    section = None
    for line in map(str.strip, lines):
        if line.startswith("["):
            match = _SECTION.match(line)
            section = None if match is None else match[1]
        elif section is not None and (match := _URL.match(line)) is not None:
            remotes.setdefault(section, match[1].strip())
    url = remotes.get("origin") or next(iter(remotes.values()), None)
    return None if url is None else public_remote(url)


def public_remote(url: str) -> str | None:
    """A remote's URL as anybody may see it; None for a path on this machine, and for one that may hide a password."""
    if "://" not in url:
        match = _SCP.fullmatch(url)
        return None if match is None else f"ssh://{match[1]}/{match[2].lstrip('/')}"
    if not url.isascii():  # urlsplit would import a module for it, on a thread where a fork may catch it in the middle
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    # An @ behind the host: a password with a / or a # in it ends where urlsplit does not see it.
    if parts.scheme not in _SCHEMES or not host or "@" in parts.path + parts.query + parts.fragment:
        return None
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path}"
