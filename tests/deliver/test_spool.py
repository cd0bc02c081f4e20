from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from robotrace.deliver import spool as spool_module
from robotrace.deliver.blocks import BlockFile
from robotrace.deliver.files import sync_file_system, try_lock
from robotrace.deliver.sealing import complete_episode
from robotrace.deliver.spool import SealedEpisode, Spool, WholeEpisode, open_spool
from robotrace.errors import ConfigurationError
from robotrace.testing.episodes import seal_one, write_episode


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


def whole_episodes(spool: Spool, count: int) -> list[WholeEpisode]:
    """About to be sealed, in the folder of one process."""
    owned = spool.new_recording_folder()
    file = BlockFile(owned.path / "blocks-0001.rtb")
    episodes = [write_episode(file) for _ in range(count)]
    group = [complete_episode(owned.path / parts.uuid, parts) for parts in episodes]
    file.close()
    os.close(owned.lock)
    return [whole for whole in group if whole is not None]


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and renamed, in order."""
    noted: list[str] = []
    real_sync, real_rename = os.fsync, Path.rename

    def sync(descriptor: int) -> None:
        noted.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        real_sync(descriptor)

    def sync_all(path: Path) -> bool:
        noted.append("sync all")
        return sync_file_system(path)

    def rename(path: Path, target: Path) -> Path:
        noted.append(f"rename {path.name}")
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(spool_module, "sync_file_system", sync_all)
    monkeypatch.setattr(Path, "rename", rename)
    return noted


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="file names of descriptors are Linux's")


@needs_proc
def test_an_episode_is_renamed_only_after_all_of_it_is_synced(spool: Spool, order: list[str]) -> None:
    (whole,) = whole_episodes(spool, 1)
    order.clear()
    spool.seal([whole])
    name = whole.folder.name
    synced = ["sync sensors.npz", "sync actions.npz", "sync manifest.json", f"sync {name}"]
    assert order == [*synced, f"rename {name}", "sync sealed"]


@needs_proc
def test_a_large_group_is_synced_once_before_the_first_rename(spool: Spool, order: list[str]) -> None:
    group = whole_episodes(spool, 20)
    order.clear()
    sealed = spool.seal(group)
    assert order == ["sync all", *(f"rename {whole.folder.name}" for whole in group), "sync sealed"]
    assert [entry.folder.name for entry in sealed if isinstance(entry, SealedEpisode)] == [
        f"51700000000000-{whole.folder.name}" for whole in group
    ]


@needs_proc
def test_without_such_a_call_each_file_of_a_large_group_is_synced(
    spool: Spool, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = whole_episodes(spool, 20)
    order.clear()
    monkeypatch.setattr(spool_module, "sync_file_system", lambda path: False)
    spool.seal(group)
    assert order.count("sync manifest.json") == order.count("sync sensors.npz") == 20
    for whole in group:
        assert order.index(f"sync {whole.folder.name}") < order.index(f"rename {whole.folder.name}")


def test_of_a_group_that_cannot_be_synced_nothing_is_sealed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    group = whole_episodes(spool, 20)
    monkeypatch.setattr(spool_module, "sync_file_system", broken)
    assert [type(result) for result in spool.seal(group)] == [OSError] * 20
    assert spool.sealed_episodes() == []


def test_a_member_that_cannot_be_written_leaves_the_others_sealed(spool: Spool) -> None:
    group = whole_episodes(spool, 3)
    (group[1].folder / "manifest.json.tmp").mkdir()
    first, second, third = spool.seal(group)
    assert isinstance(second, IsADirectoryError)
    assert isinstance(first, SealedEpisode)
    assert isinstance(third, SealedEpisode)
    assert spool.sealed_episodes() == sorted((first, third), key=lambda entry: entry.folder.name)


@needs_proc
def test_what_need_not_survive_a_power_loss_is_never_synced(
    tmp_path: Path, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOTRACE_DURABILITY", "process")
    spool = open_spool(tmp_path / "spool")
    sealed = spool.seal(whole_episodes(spool, 20))
    for entry in sealed:
        assert isinstance(entry, SealedEpisode)
        spool.finish(entry, {"uuid": entry.uuid})
    assert spool.counts().done == 20
    assert [note for note in order if note.startswith("sync")] == []


def test_a_durability_that_is_none_is_named_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ROBOTRACE_DURABILITY", "sometimes")
    assert open_spool(tmp_path / "spool").durable
    assert "ROBOTRACE_DURABILITY is 'sometimes'; it takes power or process" in caplog.text
