"""The commit, read from repositories that git itself made."""

import os
import shutil
import subprocess
import sys
import types

import pytest

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
    for name in tuple(os.environ):
        if name.startswith("GIT_") or name in CI_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    find_checkout.cache_clear()
    yield
    find_checkout.cache_clear()


def git(folder, *arguments):
    settings = ("user.name=a", "user.email=a@b", "init.defaultBranch=main", "protocol.file.allow=always")
    options = [part for setting in settings for part in ("-c", setting)]
    done = subprocess.run(["git", *options, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder, message="work"):
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def read_git_sha(folder):
    checkout = read_checkout(folder)
    return None if checkout is None else checkout.sha


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    commit(folder)
    return folder


def head(folder):
    return git(folder, "rev-parse", "HEAD")


def test_a_branch(repository):
    assert read_git_sha(repository) == head(repository)


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


def test_a_detached_head(repository):
    first = head(repository)
    commit(repository, "more")
    git(repository, "checkout", "-q", first)
    assert read_git_sha(repository) == first


def test_a_detached_head_on_a_tag_is_the_commit_and_not_the_tag(repository):
    git(repository, "tag", "-a", "v1", "-m", "one")
    git(repository, "checkout", "-q", "v1")
    assert read_git_sha(repository) == head(repository) != git(repository, "rev-parse", "v1")


def test_packed_refs(repository):
    git(repository, "tag", "-a", "v1", "-m", "one")  # its peeled line stands between the others
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git" / "refs" / "heads" / "main").exists()
    assert read_git_sha(repository) == head(repository)


def test_a_loose_ref_is_newer_than_a_packed_one(repository):
    git(repository, "pack-refs", "--all")
    sha = commit(repository, "more")
    assert read_git_sha(repository) == sha


def test_a_symbolic_branch(repository):
    git(repository, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(repository, "symbolic-ref", "HEAD", "refs/heads/alias")
    assert read_git_sha(repository) == head(repository)


@pytest.mark.parametrize("packed", [False, True])
def test_a_worktree(repository, tmp_path, packed):
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", "-b", "side", str(tree))
    sha = commit(tree, "on the side")
    if packed:
        git(repository, "pack-refs", "--all")
    assert read_git_sha(tree) == sha != head(repository)
    assert read_git_sha(repository) == head(repository)


def test_a_detached_worktree(repository, tmp_path):
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", "--detach", str(tree))
    assert read_git_sha(tree) == head(repository)


def test_a_submodule(repository, tmp_path):
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


def test_an_unborn_branch_is_none(tmp_path):
    git(tmp_path, "init", "-q")
    assert read_git_sha(tmp_path) is None


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
