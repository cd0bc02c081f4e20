"""What is written into the credentials file, by whom, and who can read it."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from robotrace import credentials
from robotrace.config import credentials_path, resolve_target
from robotrace.credentials import delete_profile, read_profiles, write_profile
from robotrace.errors import ConfigurationError

KEY = "rt_0123456789_canary"
URL = "http://127.0.0.1:8321"
VALUES = {"api_key": KEY, "base_url": URL}
ODD_NAMES = [
    "lab",
    "my lab",
    "a.b",
    'quo"te',
    "back\\slash",
    "ünï",
    "two\nlines",
    "tab\t",
    "\x01\x7f",
    "#[x]",
    "1",
    " x ",
]


@pytest.fixture
def path():
    return credentials_path()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_survives_a_round_trip(path, name):
    write_profile(path, name, VALUES)
    assert read_profiles(path) == {name: VALUES}
    assert resolve_target(profile=name).api_key == KEY
    assert delete_profile(path, name)


def test_odd_names_live_in_one_file(path):
    for number, name in enumerate(ODD_NAMES):
        write_profile(path, name, {"api_key": f"key{number}", "base_url": URL})
    assert [profile["api_key"] for profile in read_profiles(path).values()] == [
        f"key{number}" for number in range(len(ODD_NAMES))
    ]


@pytest.mark.parametrize("name", ["", "  ", "\n", "\udcff"])
def test_a_name_that_is_none_is_refused_before_anything_is_written(path, name):
    with pytest.raises(ConfigurationError, match="profile"):
        write_profile(path, name, VALUES)
    assert not path.parent.exists()


def test_values_no_text_can_break_the_file(path):
    odd = {"api_key": KEY, "base_url": URL, "user_email": 'a"b\\\n]\t=[x]\x00@ü'}
    write_profile(path, "default", odd)
    assert read_profiles(path) == {"default": odd}


def test_what_is_unknown_is_left_out_and_what_is_not_ours_stays(path):
    path.parent.mkdir(mode=0o700)
    path.write_text('top = 1\n[default]\napi_key = "old"\nuser_email = "a@b"\nmine = [1, 2]\n[b]\nx = 2030-01-01\n')
    path.chmod(0o600)
    before = read_profiles(path)
    write_profile(path, "default", {**VALUES, "user_email": None, "client_id": None})
    after = read_profiles(path)
    assert after.pop("default") == {**VALUES, "mine": [1, 2]}
    before.pop("default")
    assert after == before


# --- who can read it


def test_file_and_folder_are_for_the_owner_alone(path, monkeypatch):
    before = os.umask(0)
    try:
        write_profile(path, "default", VALUES)
    finally:
        os.umask(before)
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    assert [item.name for item in path.parent.iterdir() if mode(item) != 0o600] == []


def test_a_folder_that_was_open_to_others_is_closed(path):
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    write_profile(path, "default", VALUES)
    assert mode(path.parent) == 0o700


def test_a_folder_that_is_shared_on_purpose_stays_so(path):
    """ROBOTRACE_HOME=/tmp in a container: nobody else could use /tmp any more."""
    path.parent.mkdir()
    path.parent.chmod(0o1777)
    write_profile(path, "default", VALUES)
    assert (mode(path.parent), mode(path)) == (0o1777, 0o600)


def test_the_fix_can_be_pasted_into_a_shell(tmp_path):
    path = tmp_path / "my home" / "credentials"
    write_profile(path, "default", VALUES)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError) as caught:
        read_profiles(path)
    subprocess.run(str(caught.value).partition("run: ")[2], shell=True, check=True)
    assert read_profiles(path) == {"default": VALUES}


def test_the_key_never_lies_in_a_file_that_others_can_read(path, monkeypatch):
    """Looked at with every chance there is: right after each open, and before each rename."""
    seen = []
    real_open, real_replace = os.open, Path.replace

    def watched_open(name, flags, mode=0o777, **more):
        descriptor = real_open(name, flags, mode, **more)
        if flags & os.O_CREAT:
            seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    def watched_replace(self, target):
        seen.append(mode(self))
        return real_replace(self, target)

    monkeypatch.setattr(credentials.os, "open", watched_open)
    monkeypatch.setattr(Path, "replace", watched_replace)
    before = os.umask(0)
    try:
        write_profile(path, "default", VALUES)
    finally:
        os.umask(before)
    assert len(seen) == 3  # the lock, the temporary file, the temporary file before its rename
    assert set(seen) == {0o600}


def test_what_a_killed_writer_left_is_not_written_into(path):
    path.parent.mkdir(mode=0o700)
    left = path.with_name("credentials.tmp")
    left.write_text("half")
    left.chmod(0o666)
    write_profile(path, "default", VALUES)
    assert read_profiles(path) == {"default": VALUES}
    assert not left.exists()


def test_a_file_that_others_can_reach_is_not_written_either(path):
    write_profile(path, "default", VALUES)
    path.chmod(0o644)
    for change in (lambda: write_profile(path, "lab", VALUES), lambda: delete_profile(path, "default")):
        with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
            change()
    path.chmod(0o600)
    assert list(read_profiles(path)) == ["default"]


# --- one write at a time, all or nothing


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    write_profile(path, "default", VALUES)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(credentials.os, "fsync", full)
    with pytest.raises(ConfigurationError, match="cannot be written: No space left") as caught:
        write_profile(path, "lab", VALUES)
    assert KEY not in str(caught.value)
    assert read_profiles(path) == {"default": VALUES}
    assert not path.with_name("credentials.tmp").exists()


def test_a_broken_file_is_not_replaced(path):
    path.parent.mkdir(mode=0o700)
    path.write_text("[default\n")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        write_profile(path, "lab", VALUES)
    assert path.read_text() == "[default\n"


def test_a_folder_that_is_a_file_is_a_clear_error(path):
    path.parent.write_text("in the way")
    with pytest.raises(ConfigurationError, match=str(path)):
        write_profile(path, "default", VALUES)


LOGIN = """
import sys
from pathlib import Path
from robotrace.credentials import write_profile
sys.stdin.readline()
for number in range(20):
    write_profile(Path(sys.argv[1]), f"{sys.argv[2]} {number}", {"api_key": "k"})
"""


def test_logins_at_once_do_not_lose_each_other(path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen([sys.executable, "-c", LOGIN, str(path), name], env=environment, stdin=subprocess.PIPE)
        for name in ("a", "b", "c")
    ]
    go = [threading.Thread(target=writer.communicate, args=(b"\n",)) for writer in writers]
    for thread in go:
        thread.start()
    for thread in go:
        thread.join(60)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert set(read_profiles(path)) == {f"{name} {number}" for name in "abc" for number in range(20)}


# --- links


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one_and_its_target_is_replaced(path, tmp_path, there):
    target = tmp_path / "dotfiles" / "robotrace-credentials"
    if there:
        write_profile(target, "former", VALUES)
    path.parent.mkdir(mode=0o700)
    path.symlink_to(target)
    write_profile(path, "default", VALUES)
    assert path.is_symlink()
    assert path.readlink() == target
    assert mode(target) == 0o600
    assert set(read_profiles(target)) == {"default", *(["former"] if there else [])}
    for name in list(read_profiles(path)):
        assert delete_profile(path, name)
    assert path.is_symlink()
    assert not target.exists()


# --- taking out


def test_the_file_goes_with_its_last_profile(path):
    write_profile(path, "default", VALUES)
    write_profile(path, "my lab", VALUES)
    assert delete_profile(path, "default")
    assert list(read_profiles(path)) == ["my lab"]
    assert not delete_profile(path, "default")
    assert delete_profile(path, "my lab")
    assert not path.exists()


def test_where_nothing_is_nothing_is_made(path):
    assert not delete_profile(path, "default")
    assert not path.parent.exists()
