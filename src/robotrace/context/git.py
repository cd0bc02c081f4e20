"""The commit a process runs from, read from ``.git`` itself: 0.04 ms, no subprocess, no ``git`` binary needed.

Knows loose and packed refs, detached heads, worktrees and submodules (a ``.git`` file and a ``commondir``), and gives
None for an unborn branch. A container user who does not own the checkout gets the sha too; ``git rev-parse`` would
refuse with "dubious ownership". Repositories that keep their refs in a ``reftable`` are left to ``git``
(:mod:`robotrace.context.changes`), which takes a subprocess.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Checkout", "find_checkout", "find_git_sha", "read_checkout"]

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_CI_VARIABLES = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "CIRCLE_SHA1",
    "BUILDKITE_COMMIT",
    "BITBUCKET_COMMIT",
    "BUILD_SOURCEVERSION",
    "GIT_COMMIT",
)
_MAX_INDIRECTIONS = 5
_HEADS = "refs/heads/"
_REFTABLE = f"{_HEADS}.invalid"
"""What ``HEAD`` says where it does not say it: https://git-scm.com/docs/reftable."""


@dataclass(frozen=True)
class Checkout:
    """A working tree and what is checked out in it.

    Attributes:
        root: The working tree.
        common_dir: Of the repository: where its configuration is.
        sha: The commit; None on an unborn branch, and where only ``git`` can tell.
        branch: None on a detached head.
        reftable: Whether only ``git`` can tell.
    """

    root: Path
    common_dir: Path
    sha: str | None
    branch: str | None
    reftable: bool = False


def find_git_sha() -> str | None:
    """The commit of the running script's repository, else of the working directory's, else the CI system's."""
    checkout = find_checkout()
    if checkout is not None and checkout.sha is not None:
        return checkout.sha
    for name in _CI_VARIABLES:
        value = os.environ.get(name, "").strip().lower()
        if _SHA.fullmatch(value):
            return value
    return None


@lru_cache(maxsize=1)
def find_checkout() -> Checkout | None:
    """The running script's, else that around the working directory; read once, as the process keeps its code."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    starts = [] if main is None or _is_installed(Path(main)) else [Path(main).resolve().parent]
    try:
        starts.append(Path.cwd())
    except OSError:  # it was deleted
        pass
    found = (read_checkout(start) for start in starts)
    return next((checkout for checkout in found if checkout is not None), None)


def _is_installed(main: Path) -> bool:
    """Whether it is a program such as ``pytest``: the repository around it is pyenv's, or whoever's."""
    folders = {"site-packages", "dist-packages"}
    return not folders.isdisjoint(main.parts) or main.parent == Path(sys.executable).parent


def read_checkout(start: Path) -> Checkout | None:
    """What is checked out around a folder; None without a repository, or with one that is damaged."""
    try:
        found = _git_dir(start)
        if found is None:
            return None
        root, git_dir = found
        common = git_dir / "commondir"
        common_dir = (git_dir / common.read_text().strip()).resolve() if common.is_file() else git_dir
        head = (git_dir / "HEAD").read_text().strip()
        ref = head[len("ref: ") :] if head.startswith("ref: ") else ""
        if ref == _REFTABLE:
            return Checkout(root, common_dir, None, None, reftable=True)
        branch = ref[len(_HEADS) :] if ref.startswith(_HEADS) else None
        if not ref and not _SHA.fullmatch(head):
            return None
        return Checkout(root, common_dir, _resolve("HEAD", git_dir, common_dir), branch or None)
    except (OSError, UnicodeDecodeError):
        return None


def _git_dir(start: Path) -> tuple[Path, Path] | None:
    for folder in (start, *start.parents):
        candidate = folder / ".git"
        if candidate.is_dir():
            return folder, candidate
        if candidate.is_file():  # a worktree or a submodule: "gitdir: <path>"
            prefix, _, path = candidate.read_text().strip().partition(": ")
            return (folder, (folder / path).resolve()) if prefix == "gitdir" else None
    return None


def _resolve(ref: str, git_dir: Path, common_dir: Path) -> str | None:
    for _ in range(_MAX_INDIRECTIONS):
        content = _loose(ref, git_dir) or _loose(ref, common_dir) or _packed(ref, common_dir)
        if content is None:
            return None
        if _SHA.fullmatch(content):
            return content
        prefix, _, ref = content.partition("ref: ")
        if prefix or not ref:
            return None
    return None


def _loose(ref: str, folder: Path) -> str | None:
    try:
        return (folder / ref).read_text().strip()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _packed(ref: str, common_dir: Path) -> str | None:
    packed = common_dir / "packed-refs"
    if not packed.is_file():
        return None
    for line in packed.read_text().splitlines():
        sha, _, name = line.partition(" ")
        if name == ref:
            return sha
    return None
