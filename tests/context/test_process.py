"""What is found out beside a recording, and that nobody waits for it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy")
pytest.importorskip("av")

from polling import eventually
from readme import ROOT, blocks
from recorded import RecordedEpisode, sealed
from repositories import forget_git_settings, git, head, new_repository, pretend_git

import robotrace
from robotrace import session
from robotrace.context import process
from robotrace.context.changes import find_changes
from robotrace.context.git import find_checkout
from robotrace.context.gpus import read_gpus
from robotrace.context.process import begin_looking, complete, process_facts

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    forget_git_settings(monkeypatch)
    monkeypatch.setattr(process, "_look", None)
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    session.reset()
    find_checkout.cache_clear()
    yield
    session.reset()
    find_checkout.cache_clear()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a checkout in which a file was changed."""
    folder = new_repository(tmp_path / "repository", **{"train.py": "print(1)\n"})
    git(folder, "remote", "add", "origin", "https://me:hunter2@host/repo")
    (folder / "train.py").write_text("print(2)\n")
    monkeypatch.chdir(folder)
    return folder


def record(**options: Any) -> None:
    with robotrace.record(**options) as episode:
        episode.step(observation=1.0, action=0.5)


def episodes() -> list[RecordedEpisode]:
    assert robotrace.flush()
    return sorted(sealed(), key=lambda episode: episode.folder.name)


def test_an_episode_says_what_its_code_was(repository: Path) -> None:
    record()
    (episode,) = episodes()
    assert episode.create["git_sha"] == head(repository)
    changes = find_changes(find_checkout())  # type: ignore[arg-type]
    assert episode.metadata["git"] == {
        "sha": head(repository),
        "branch": "main",
        "remote": "https://host/repo",
        "dirty": True,
        "diff_sha256": changes["diff_sha256"],
    }


def test_the_documented_keys_are_the_keys(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "nvidia"
    (driver / "gpus" / "0000:0a:00.0").mkdir(parents=True)
    (driver / "gpus" / "0000:0a:00.0" / "information").write_text("Model: \t NVIDIA H200\n")
    (driver / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu\n")
    monkeypatch.setattr(process, "read_gpus", functools.partial(read_gpus, driver))
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "WANDB_RUN_ID"):
        monkeypatch.setenv(name, "1")
    with robotrace.run(project="balance", name="night"):
        record()
    (episode,) = episodes()
    documented = json.loads(blocks(ROOT / "docs" / "context.md", "json")[0])
    for key in ("run", "git", "host"):
        assert documented[key].keys() == episode.metadata[key].keys()
    assert documented.keys() <= episode.metadata.keys()


def test_the_code_is_that_of_the_first_episode_whatever_is_edited_later(repository: Path) -> None:
    record()
    assert robotrace.flush()
    first = head(repository)
    git(repository, "commit", "-q", "--all", "-m", "more")
    record()
    one, other = episodes()
    assert one.metadata["git"] == other.metadata["git"]
    assert other.create["git_sha"] == first


def test_outside_of_a_checkout_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record()
    (episode,) = episodes()
    assert "git" not in episode.metadata
    assert episode.metadata["host"]["pid"] == os.getpid()


def test_what_the_caller_says_instead_stays(repository: Path) -> None:
    record(metadata={"git": {"sha": "mine"}}, git_sha="b" * 40)
    (episode,) = episodes()
    assert episode.metadata["git"] == {"sha": "mine"}
    assert episode.create["git_sha"] == "b" * 40


def test_t60_a_slow_git_status_holds_up_neither_the_loop_nor_the_seal(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, go_on = shutil.which("git"), tmp_path / "go-on"
    pretend_git(tmp_path / "bin", f'while [ ! -e {go_on} ]; do sleep 0.02; done; exec {real} "$@"', monkeypatch)
    monkeypatch.setattr(process, "find_changes", functools.partial(find_changes, timeout_s=60.0))
    monkeypatch.setattr(process, "_WAIT_S", 0.0)
    record()
    (before,) = episodes()
    assert set(before.metadata["git"]) == {"sha", "branch"}
    go_on.touch()
    eventually(lambda: process._look is not None and process._look.found is not None)
    record()
    assert episodes()[1].metadata["git"]["dirty"] is True


def test_t60_the_thread_that_records_asks_no_program(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asking: set[str] = set()
    start = subprocess.Popen.__init__

    def noted(self: Any, *arguments: Any, **more: Any) -> None:
        asking.add(threading.current_thread().name)
        start(self, *arguments, **more)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    record()
    episodes()
    assert asking == {"robotrace-look"}


def test_a_reftable_s_commit_comes_late(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")
    pretend_git(tmp_path / "bin", f'case "$*" in *rev-parse*) echo {"c" * 40} ;; esac', monkeypatch)
    record()
    record(git_sha="mine")
    one, other = episodes()
    assert (one.create["git_sha"], one.metadata["git"]["sha"]) == ("c" * 40, "c" * 40)
    assert other.create["git_sha"] == "mine"


def test_it_is_looked_for_once_a_process_and_anew_where_a_fork_caught_it_in_its_middle(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    monkeypatch.setattr(process, "find_changes", lambda _: looked.append(1) or {"dirty": False})

    def look() -> None:
        begin_looking()
        eventually(lambda: process._look is not None and process._look.found is not None)

    look()
    look()
    assert looked == [1]
    assert process._look is not None
    process._look.pid = -1  # as in a forked child, whose parent had found it
    look()
    assert looked == [1]
    process._look.found = None  # whose parent had not
    process._look.done.clear()
    complete({"metadata": process_facts()})
    look()
    assert looked == [1, 1]


def test_where_no_thread_can_be_started_nobody_waits_for_it(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(process, "_WAIT_S", 3600.0)
    monkeypatch.setattr(threading.Thread, "start", none)
    begin_looking()
    create = {"metadata": process_facts()}
    complete(create)
    assert "dirty" not in create["metadata"]["git"]


def test_a_process_that_ends_in_the_middle_of_it_ends_as_it_would(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text("#!/bin/sh\nexec sleep 5\n")
    (tmp_path / "bin" / "git").chmod(0o755)
    (repository / "train.py").write_text(
        textwrap.dedent(
            """
            import robotrace

            for _ in range(3):
                with robotrace.record() as episode:
                    episode.step(observation=1.0)
            """
        )
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "ROBOTRACE_MODE": "offline",
    }
    command = [sys.executable, "-W", "error", "train.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [set(episode.metadata["git"]) for episode in sealed()] == [{"sha", "branch"}] * 3


def test_nothing_is_imported_beside_the_training_where_a_fork_could_catch_it(repository: Path) -> None:
    script = """
        import sys
        import robotrace.plugin
        from robotrace.context import process

        process.process_facts()
        before = set(sys.modules)
        look = process._Look()
        look.run()
        assert look.found["git"]["diff_sha256"] and look.found["git"]["remote"], look.found
        assert set(sys.modules) == before, set(sys.modules) - before
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
