"""The commit, read from repositories that git itself made."""

import os
import shutil
import subprocess
import sys
import types

import pytest
from repositories import commit, forget_git_settings, git, head, new_repository

from robotrace.context.git import find_checkout, find_git_sha, read_checkout

CI_VARIABLES = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "CIRCLE_SHA1",
    "BUILDKITE_COMMIT",
    "BITBUCKET_COMMIT",
    "BUILD_SOURCEVERSION",
    "GIT_COMMIT",
)

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture(autouse=True)
def _no_git_settings(monkeypatch):
    forget_git_settings(monkeypatch)
    for name in CI_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    find_checkout.cache_clear()
    yield
    find_checkout.cache_clear()


def read_git_sha(folder):
    checkout = read_checkout(folder)
    return None if checkout is None else checkout.sha


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit."""
    return new_repository(tmp_path / "repository")


def test_a_branch(repository):
    checkout = read_checkout(repository)
    assert (checkout.sha, checkout.branch) == (head(repository), "main")
    assert (checkout.root, checkout.common_dir) == (repository, repository / ".git")


def test_a_folder_deep_inside(repository):
    deep = repository / "a" / "b"
    deep.mkdir(parents=True)
    assert read_git_sha(deep) == head(repository)


def test_each_commit_is_seen(repository):
    before = read_git_sha(repository)
    assert read_git_sha(repository) == before
    assert commit(repository, "more") == read_git_sha(repository) != before


def test_a_branch_with_slashes_in_its_name(repository):
    git(repository, "switch", "-q", "-c", "user/fix/grip")
    sha = commit(repository, "more")
    assert read_git_sha(repository) == sha
    assert read_checkout(repository).branch == "user/fix/grip"


def test_t59_a_detached_head(repository):
    first = head(repository)
    commit(repository, "more")
    git(repository, "checkout", "-q", first)
    checkout = read_checkout(repository)
    assert (checkout.sha, checkout.branch) == (first, None)


def test_t59_a_detached_head_on_a_tag_is_the_commit_and_not_the_tag(repository):
    git(repository, "tag", "-a", "v1", "-m", "one")
    git(repository, "checkout", "-q", "v1")
    assert read_git_sha(repository) == head(repository) != git(repository, "rev-parse", "v1")


def test_t59_packed_refs(repository):
    git(repository, "tag", "-a", "v1", "-m", "one")  # its peeled line stands between the others
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git" / "refs" / "heads" / "main").exists()
    assert read_git_sha(repository) == head(repository)


def test_t59_a_loose_ref_is_newer_than_a_packed_one(repository):
    git(repository, "pack-refs", "--all")
    sha = commit(repository, "more")
    assert read_git_sha(repository) == sha


def test_a_symbolic_branch(repository):
    git(repository, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(repository, "symbolic-ref", "HEAD", "refs/heads/alias")
    assert read_git_sha(repository) == head(repository)


@pytest.mark.parametrize("packed", [False, True])
def test_t59_a_worktree(repository, tmp_path, packed):
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", "-b", "side", str(tree))
    sha = commit(tree, "on the side")
    if packed:
        git(repository, "pack-refs", "--all")
    assert read_git_sha(tree) == sha != head(repository)
    assert read_git_sha(repository) == head(repository)


def test_t59_a_detached_worktree(repository, tmp_path):
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", "--detach", str(tree))
    assert read_git_sha(tree) == head(repository)


def test_t59_a_submodule(repository, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    sha = commit(library, "the library")
    git(repository, "submodule", "add", "-q", str(library), "library")
    assert (repository / "library" / ".git").read_text().startswith("gitdir: ../")
    assert read_git_sha(repository / "library") == sha != head(repository)


def test_a_clone(repository, tmp_path):
    git(tmp_path, "clone", "-q", str(repository), "clone")
    assert read_git_sha(tmp_path / "clone") == head(repository)


def test_a_repository_of_sha256(tmp_path):
    done = subprocess.run(
        ["git", "init", "-q", "--object-format=sha256"], cwd=tmp_path, capture_output=True, timeout=60
    )
    if done.returncode != 0:
        pytest.skip("this git knows no sha256 repositories")
    sha = commit(tmp_path)
    assert len(sha) == 64
    assert read_git_sha(tmp_path) == sha


def test_t59_an_unborn_branch_has_a_name_and_no_commit(tmp_path):
    git(tmp_path, "init", "-q")
    checkout = read_checkout(tmp_path)
    assert (checkout.sha, checkout.branch) == (None, "main")


def test_t59_a_bare_repository_is_no_checkout_and_its_worktree_is_one(repository, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    assert read_checkout(tmp_path / "bare.git") is None
    git(tmp_path / "bare.git", "worktree", "add", "-q", "-b", "side", str(tmp_path / "tree"))
    checkout = read_checkout(tmp_path / "tree")
    assert (checkout.sha, checkout.branch, checkout.root) == (head(repository), "side", tmp_path / "tree")


def test_t59_a_reftable_is_known_by_its_head_and_left_to_git(repository):
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")
    checkout = read_checkout(repository)
    assert (checkout.sha, checkout.branch, checkout.reftable) == (None, None, True)


def test_t59_neither_a_git_binary_nor_the_ownership_is_needed(repository, monkeypatch):
    sha = head(repository)
    monkeypatch.setenv("PATH", "")
    if os.geteuid() == 0:
        for path in (repository, *repository.rglob("*")):
            os.chown(path, 12345, 12345, follow_symlinks=False)
    assert read_git_sha(repository) == sha


def test_no_repository_is_none(tmp_path):
    assert read_git_sha(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"gitdir: nowhere", b"garbage", b"gitdir: ", b"\xff\xfe"],
    ids=["empty", "gone", "text", "bare", "bytes"],
)
def test_a_git_file_that_leads_nowhere_is_none(tmp_path, content):
    (tmp_path / ".git").write_bytes(content)
    assert read_git_sha(tmp_path) is None


@pytest.mark.parametrize(
    "content", [b"", b"ref: ", b"ref: refs/heads/gone", b"ref: HEAD", b"0" * 39, b"\xff", b"x ref: refs/heads/main"]
)
def test_a_damaged_head_is_none(repository, content):
    (repository / ".git" / "HEAD").write_bytes(content)
    assert read_git_sha(repository) is None


# --- where it is looked for


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The working directory is no repository, and the script's neither."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    return folder


def run_script(monkeypatch, path):
    main = types.ModuleType("__main__")
    main.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "__main__", main)


def test_the_script_s_repository_comes_first(repository, elsewhere, monkeypatch):
    git(elsewhere, "init", "-q")
    commit(elsewhere, "another")
    run_script(monkeypatch, repository / "train.py")
    assert find_git_sha() == head(repository)


def test_the_working_directory_comes_second(repository, elsewhere, monkeypatch):
    run_script(monkeypatch, elsewhere / "train.py")
    monkeypatch.chdir(repository)
    monkeypatch.setenv("GITHUB_SHA", "a" * 40)
    assert find_git_sha() == head(repository)


def test_a_program_that_is_installed_is_not_what_runs(repository, elsewhere, monkeypatch):
    git(elsewhere, "init", "-q")
    sha = commit(elsewhere, "another")
    for place in ("lib/python3.11/site-packages/rl_zoo3/train.py", "lib/python3/dist-packages/rl_zoo3/train.py"):
        find_checkout.cache_clear()
        run_script(monkeypatch, repository / place)
        assert find_git_sha() == sha
    find_checkout.cache_clear()
    monkeypatch.setattr(sys, "executable", str(repository / "bin" / "python"))
    run_script(monkeypatch, repository / "bin" / "pytest")
    assert find_git_sha() == sha


def test_a_working_directory_that_is_gone_is_passed_over(elsewhere, monkeypatch):
    elsewhere.rmdir()
    monkeypatch.setenv("GITHUB_SHA", "a" * 40)
    assert find_git_sha() == "a" * 40


def test_a_session_without_a_script_takes_the_working_directory(repository, elsewhere, monkeypatch):
    monkeypatch.chdir(repository)
    assert find_git_sha() == head(repository)


@pytest.mark.parametrize("name", CI_VARIABLES)
def test_the_ci_system_comes_last(elsewhere, monkeypatch, name):
    monkeypatch.setenv(name, f" {'AB' * 20}\n")
    assert find_git_sha() == "ab" * 20


@pytest.mark.parametrize("value", ["", "main", "a" * 39, "g" * 40])
def test_a_ci_variable_that_is_no_sha_is_passed_over(elsewhere, monkeypatch, value):
    monkeypatch.setenv("GITHUB_SHA", value)
    assert find_git_sha() is None
    find_checkout.cache_clear()
    monkeypatch.setenv("GIT_COMMIT", "b" * 40)
    assert find_git_sha() == "b" * 40
