from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from robotrace.deliver.files import try_lock
from robotrace.deliver.spool import Spool, open_spool
from robotrace.errors import ConfigurationError
from robotrace.testing.episodes import seal_one


def test_folders_and_files_are_private(spool: Spool) -> None:
    entry = seal_one(spool)
    for path in (spool.root.parent.parent, spool.sealed, spool.failed, entry.folder):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    for path in entry.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_root_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_SPOOL_DIR", str(tmp_path / "here"))
    assert open_spool().root.parent.parent == tmp_path / "here"
    monkeypatch.delenv("ROBOTRACE_SPOOL_DIR")
    monkeypatch.setenv("ROBOTRACE_HOME", str(tmp_path / "home"))
    assert open_spool().root.parent.parent == tmp_path / "home" / "spool"


def test_a_spool_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        ConfigurationError, match=r"^the spool folder .* cannot be written: .*ROBOTRACE_SPOOL_DIR"
    ) as caught:
        open_spool(tmp_path / "file" / "spool")
    assert "\n" not in str(caught.value)


def test_failed_episodes_go_up_first_then_by_age(spool: Spool) -> None:
    normal = seal_one(spool)
    failed = seal_one(spool, status="failed")
    assert [entry.uuid for entry in spool.sealed_episodes()] == [failed.uuid, normal.uuid]
    assert failed.folder.name.startswith("01700000000000-")
    assert normal.folder.name.startswith("51700000000000-")


def test_a_recording_folder_is_locked_from_the_moment_it_can_be_seen(spool: Spool) -> None:
    owned = spool.new_recording_folder()
    assert spool.recording_folders() == [owned.path]
    assert try_lock(owned.path / "owner.lock") is None
    os.close(owned.lock)
    second = try_lock(owned.path / "owner.lock")
    assert second is not None
    os.close(second)


def test_finish_leaves_a_receipt_and_nothing_else(spool: Spool) -> None:
    entry = seal_one(spool)
    spool.finish(entry, {"uuid": entry.uuid})
    assert spool.counts().done == 1
    assert spool.counts().sealed == 0
    assert list(spool.trash.iterdir()) == []
    assert spool.known_uuids() == {entry.uuid}


def test_fail_keeps_the_episode_with_its_reason(spool: Spool) -> None:
    entry = seal_one(spool)
    spool.fail(entry, "create: no such project")
    assert (spool.failed / entry.uuid / "reason.txt").read_text() == "create: no such project\n"
    assert (spool.failed / entry.uuid / "sensors.npz").exists()
    assert spool.known_uuids() == {entry.uuid}


def test_waiting_episodes_are_known_too(spool: Spool) -> None:
    assert spool.known_uuids() == set()
    entry = seal_one(spool)
    assert spool.known_uuids() == {entry.uuid}
