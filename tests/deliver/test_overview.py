"""What is said of a spool, while others work in it."""

import os

import pytest

from robotrace.deliver.files import try_lock
from robotrace.deliver.overview import StateOverview, look_into
from robotrace.deliver.spool import find_spool, open_spool
from robotrace.testing.episodes import seal_one

EMPTY = StateOverview(0, 0, None)


@pytest.fixture
def spool():
    return open_spool()


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_spool_that_is_not_there_is_empty_and_stays_away():
    spool = find_spool()
    overview = look_into(spool)
    assert {overview.recording, overview.waiting, overview.uploading, overview.failed} == {EMPTY}
    assert (overview.last_error, overview.uploader_running) == (None, False)
    assert not spool.root.exists()
    assert open_spool() == spool


def test_looking_makes_no_lock_file(spool):
    look_into(spool)
    assert not spool.uploader_lock.exists()


def test_each_state_is_counted_weighed_and_dated(spool):
    owned = spool.new_recording_folder()
    (owned.path / "blocks-0001.rtb").write_bytes(bytes(1000))
    waiting = [seal_one(spool), seal_one(spool, video=bytes(5000))]
    begun = seal_one(spool)
    begun.write_upload_state({"episode_id": "1", "uploaded": ["sensors"], "last_error": "put: HTTP 503"})
    refused = seal_one(spool)
    spool.fail(refused, "create: HTTP 400")
    overview = look_into(spool)
    assert (overview.recording.count, overview.recording.bytes) == (1, 1000)
    assert overview.recording.oldest_unix_s == float(owned.path.name.split("-")[1])
    assert (overview.waiting.count, overview.waiting.bytes) == (2, sum(size(entry.folder) for entry in waiting))
    assert overview.waiting.bytes > 5000
    assert overview.waiting.oldest_unix_s == 1_700_000_000.0
    assert (overview.uploading.count, overview.uploading.bytes) == (1, size(begun.folder))
    folder = spool.failed / refused.uuid
    assert (overview.failed.count, overview.failed.bytes) == (1, size(folder))
    assert overview.failed.oldest_unix_s == (folder / "reason.txt").stat().st_mtime
    assert overview.last_error == "put: HTTP 503"
    os.close(owned.lock)


def test_an_episode_that_was_tried_and_not_created_still_waits(spool):
    seal_one(spool).write_upload_state({"attempts": 3, "last_error": "create: nobody there"})
    overview = look_into(spool)
    assert (overview.waiting.count, overview.uploading.count) == (1, 0)
    assert overview.last_error == "create: nobody there"


def test_a_running_uploader_is_seen_and_left_its_lock(spool):
    lock = try_lock(spool.uploader_lock)
    assert lock is not None
    assert look_into(spool).uploader_running
    assert try_lock(spool.uploader_lock) is None
    os.close(lock)
    assert not look_into(spool).uploader_running


def test_folders_with_odd_names_are_counted_without_a_date(spool):
    (spool.sealed / "odd").mkdir()
    (spool.recording / "odd").mkdir()
    (spool.failed / "odd").mkdir()
    overview = look_into(spool)
    assert {overview.waiting, overview.recording, overview.failed} == {StateOverview(1, 0, None)}
