"""What was changed in a checkout, asked of the real git, of none, and of one that hangs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from repositories import commit, forget_git_settings, git, head, new_repository, pretend_git

from robotrace.context import changes
from robotrace.context.changes import find_changes, public_remote, read_remote
from robotrace.context.git import read_checkout

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture(autouse=True)
def _no_git_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_git_settings(monkeypatch)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repository", **{"train.py": "print(1)\n", "notes.txt": "a\n"})


def found(folder: Path, **more: float) -> dict[str, object]:
    checkout = read_checkout(folder)
    assert checkout is not None
    return find_changes(checkout, **more)


def test_a_checkout_as_it_was_committed_is_clean(repository: Path) -> None:
    (repository / "untracked.py").write_text("print(2)")
    (repository / "train.py").touch()
    assert found(repository) == {"dirty": False}


def test_a_change_has_a_hash_that_anybody_can_make(repository: Path) -> None:
    (repository / "train.py").write_text("print(2)\n")
    once = found(repository)
    diff = subprocess.run(["git", "diff", "--binary", "--full-index", "HEAD"], cwd=repository, capture_output=True)
    assert once == {"dirty": True, "diff_sha256": hashlib.sha256(diff.stdout).hexdigest()}
    git(repository, "add", "train.py")
    assert found(repository) == once
    (repository / "notes.txt").unlink()
    assert found(repository)["diff_sha256"] != once["diff_sha256"]
    git(repository, "commit", "-q", "--all", "-m", "more")
    assert found(repository) == {"dirty": False}


def test_the_hash_is_the_same_whatever_the_user_has_configured(repository: Path) -> None:
    (repository / "train.py").write_text("print(2)\n")
    git(repository, "mv", "notes.txt", "moved.txt")
    once = found(repository)
    for setting in (
        ("color.diff", "always"),
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.context", "9"),
        ("diff.renames", "copies"),
        ("diff.algorithm", "histogram"),
    ):
        git(repository, "config", *setting)
    assert found(repository) == once


def test_no_program_of_the_repositorys_own_is_started(repository: Path, tmp_path: Path) -> None:
    (repository / "train.py").write_text("print(2)\n")
    once = found(repository)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-started\n")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "diff.own.command", "diff.own.textconv", "core.pager"):
        git(repository, "config", key, str(program))
    (repository / ".git" / "info" / "attributes").write_text("*.py diff=own\n")
    assert found(repository) == once
    assert not (tmp_path / "was-started").exists()


def test_a_file_that_is_not_called_as_others_is(repository: Path) -> None:
    for name in ("*.py", "a b", "ä", "-x", ":(top)", os.fsdecode(b"\xff")):
        (repository / name).write_text("a")
    git(repository, "add", "--all")
    commit(repository)
    for path in repository.iterdir():
        if path.is_file():
            path.write_text("b")
    assert len(found(repository)) == 2


def test_the_index_is_not_written(repository: Path) -> None:
    index = repository / ".git" / "index"
    before = index.read_bytes(), index.stat().st_mtime_ns
    os.utime(repository / "train.py", ns=(1, 1))
    assert found(repository) == {"dirty": False}
    (repository / "notes.txt").write_text("b")
    assert len(found(repository)) == 2
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_a_change_that_is_too_large_to_be_hashed_is_one(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_MOST_BYTES", 100_000)
    (repository / "notes.txt").write_text("\n".join(map(str, range(100_000))))
    assert found(repository) == {"dirty": True}


def test_t59_a_worktree_is_looked_at_and_not_the_repository(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    (repository / "train.py").write_text("print(2)\n")
    assert found(tmp_path / "tree") == {"dirty": False}
    (tmp_path / "tree" / "train.py").write_text("print(3)\n")
    assert found(tmp_path / "tree")["dirty"] is True


def test_t59_a_submodule_is_changed_where_another_commit_of_it_is_checked_out(repository: Path, tmp_path: Path) -> None:
    new_repository(tmp_path / "library", **{"arm.py": ""})
    git(repository, "submodule", "add", "-q", str(tmp_path / "library"), "library")
    commit(repository)
    git(repository, "commit", "-q", "--all", "--allow-empty", "-m", "library")
    assert found(repository) == {"dirty": False}
    commit(repository / "library", "more")
    assert found(repository)["dirty"] is True


def test_t59_an_unborn_branch_has_nothing_to_compare_with(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert found(tmp_path) == {}


def test_t59_without_a_git_binary_nothing_is_known(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert found(repository) == {}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_t59_what_git_does_not_look_at_for_its_owner_is_not_known(repository: Path) -> None:
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    assert found(repository) == {}


def test_t59_a_reftable_is_asked_of_git(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not of a real one: git writes them since 2.45.
    sha = head(repository)
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")
    script = f"""
        case "$*" in
            *rev-parse*) echo {sha} ;;
            *symbolic-ref*) echo side ;;
            *status*) printf ' M train.py\\0' ;;
            *diff*{sha}*--*train.py) echo changed ;;
            *) exit 1 ;;
        esac
    """
    pretend_git(tmp_path / "bin", script, monkeypatch)
    assert found(repository) == {
        "sha": sha,
        "branch": "side",
        "dirty": True,
        "diff_sha256": hashlib.sha256(b"changed\n").hexdigest(),
    }
    (tmp_path / "bin" / "git").write_text("#!/bin/sh\necho fatal\nexit 128\n")
    assert found(repository) == {}


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exec sleep 600", {}),
        ("printf ' M train.py\\0'; exec sleep 600", {}),
        ("trap '' TERM; exec sleep 600", {}),
        ("""case "$*" in *status*) printf ' M train.py\\0' ;; *) exec sleep 600 ;; esac""", {"dirty": True}),
        ("exit 128", {}),
    ],
)
def test_t60_a_git_that_does_not_end_is_ended(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: dict[str, object]
) -> None:
    pretend_git(tmp_path / "bin", f"echo $$ > {tmp_path}/pid\n{script}", monkeypatch)
    assert found(repository, timeout_s=0.5) == says
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_t60_git_is_asked_for_no_lock_no_password_and_nothing_of_the_users(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/somewhere/else")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "rm")
    pretend_git(tmp_path / "bin", f"env > {tmp_path}/env; readlink /proc/$$/fd/0 >> {tmp_path}/env", monkeypatch)
    assert found(repository) == {"dirty": False}
    seen = (tmp_path / "env").read_text().splitlines()
    assert {"GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C"} <= set(seen)
    assert not [line for line in seen if line.startswith(("GIT_DIR=", "GIT_EXTERNAL_DIFF="))]
    assert seen[-1] in ("/dev/null", "GIT_NO_LAZY_FETCH=1")


# --- remotes


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://github.com/org/repo.git", "https://github.com/org/repo.git"),
        ("https://user:hunter2@github.com/org/repo.git", "https://github.com/org/repo.git"),
        ("https://ghp_hunter2@github.com/org/repo", "https://github.com/org/repo"),
        ("https://git.example:8443/org/repo?token=hunter2#hunter2", "https://git.example:8443/org/repo"),
        ("ssh://git@host:2222/org/repo", "ssh://host:2222/org/repo"),
        ("ssh://git@[::1]:2222/org/repo", "ssh://[::1]:2222/org/repo"),
        ("git@github.com:org/repo.git", "ssh://github.com/org/repo.git"),
        ("github:org/repo", "ssh://github/org/repo"),
        ("git@host:/srv/repo", "ssh://host/srv/repo"),
        ("https://user:pa/hunter2@host/repo", None),
        ("https://user:12#hunter2@host/repo", None),
        ("https://user:12?hunter2@host/repo", None),
        ("user:hunter2@host:org/repo", None),
        ("https://user:hunter2@", None),
        ("https://[bad/repo", None),
        ("https://host:port/repo", None),
        ("https://höst/repo", None),
        ("file:///home/me/repo", None),
        ("/home/me/repo", None),
        ("../repo", None),
        ("C:\\repos\\repo", None),
        ("ext::sh -c hunter2", None),
        ("", None),
    ],
)
def test_t59_a_remote_is_shown_without_credentials_or_not_at_all(url: str, shown: str | None) -> None:
    assert public_remote(url) == shown


def test_the_remote_is_origin_else_the_first_one(repository: Path) -> None:
    checkout = read_checkout(repository)
    assert checkout is not None
    assert read_remote(checkout) is None
    git(repository, "remote", "add", "fork", "https://me:hunter2@host/fork")
    git(repository, "remote", "add", "upstream", "https://host/upstream")
    assert read_remote(checkout) == "https://host/fork"
    git(repository, "remote", "add", "origin", "git@host:org/repo.git")
    git(repository, "remote", "set-url", "--add", "origin", "https://host/second")
    git(repository, "config", "remote.origin.pushurl", "https://host/push")
    assert read_remote(checkout) == "ssh://host/org/repo.git"


def test_the_remote_of_a_worktree_is_the_repositorys(repository: Path, tmp_path: Path) -> None:
    git(repository, "remote", "add", "origin", "https://host/repo")
    git(repository, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    checkout = read_checkout(tmp_path / "tree")
    assert checkout is not None
    assert read_remote(checkout) == "https://host/repo"
    (repository / ".git" / "config").unlink()
    assert read_remote(checkout) is None
