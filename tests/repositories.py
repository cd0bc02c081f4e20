"""Repositories that git itself makes, and programs called ``git`` that do something else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

__all__ = ["commit", "forget_git_settings", "git", "head", "new_repository", "pretend_git"]


def forget_git_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine and its user have set."""
    for name in tuple(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder: Path, *arguments: str) -> str:
    settings = ("user.name=a", "user.email=a@b", "init.defaultBranch=main", "protocol.file.allow=always")
    options = [part for setting in settings for part in ("-c", setting)]
    done = subprocess.run(["git", *options, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path, message: str = "work") -> str:
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return head(folder)


def head(folder: Path) -> str:
    return git(folder, "rev-parse", "HEAD")


def new_repository(folder: Path, **files: str) -> Path:
    """A repository with one commit of these files."""
    folder.mkdir()
    git(folder, "init", "-q")
    for name, content in files.items():
        (folder / name).write_text(content)
    git(folder, "add", "--all")
    commit(folder)
    return folder


def pretend_git(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program called ``git`` before all others."""
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
