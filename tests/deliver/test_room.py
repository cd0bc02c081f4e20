from __future__ import annotations

from pathlib import Path

import pytest

from robotrace.config import DeliveryLimits, delivery_limits
from robotrace.deliver.quota import why_no_room
from robotrace.deliver.room import Room
from robotrace.deliver.spool import Spool
from robotrace.errors import ConfigurationError
from robotrace.testing import FakeClock
from robotrace.testing.episodes import seal_one

GIB = 1024**3


def free(nbytes: int):
    return lambda path: nbytes


def test_two_gib_stay_free(spool: Spool) -> None:
    assert why_no_room(spool, DeliveryLimits(), free_bytes=free(3 * GIB)) is None
    why = why_no_room(spool, DeliveryLimits(), free_bytes=free(2 * GIB - 1))
    assert why is not None
    assert "stay free" in why


def test_the_spool_takes_a_fifth_of_the_disk_at_the_most_and_no_more_than_20_gib(spool: Spool) -> None:
    entry = seal_one(spool)
    with (entry.folder / "video.mp4").open("wb") as file:
        file.truncate(10 * GIB)  # sparse
    assert why_no_room(spool, DeliveryLimits(), free_bytes=free(41 * GIB)) is None
    why = why_no_room(spool, DeliveryLimits(), free_bytes=free(39 * GIB))
    assert why is not None
    assert "10.7 GB" in why
    with (entry.folder / "video.mp4").open("wb") as file:
        file.truncate(21 * GIB)
    assert why_no_room(spool, DeliveryLimits(), free_bytes=free(1000 * GIB)) is not None
    assert why_no_room(spool, DeliveryLimits(spool_bytes=30 * GIB), free_bytes=free(1000 * GIB)) is None


def test_one_warning_when_it_is_full_and_one_when_there_is_room_again(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    clock, why = FakeClock(), ["the spool is full"]
    room = Room(spool, DeliveryLimits(), clock=clock, why=lambda spool, limits: why[0] if why else None)
    assert room.is_due()
    assert not room.is_due()
    for _ in range(5):
        assert not room.look()
        clock.now += 60
    assert room.why == "the spool is full"
    assert caplog.text.count("no new episode is recorded") == 1
    why.clear()
    assert room.is_due()
    assert room.look()
    assert room.why is None
    assert caplog.text.count("recording goes on: there is room again") == 1


def test_a_full_disk_stops_recording_for_a_minute_and_gives_the_ballast_back(spool: Spool) -> None:
    clock = FakeClock()
    room = Room(spool, DeliveryLimits(), clock=clock, why=lambda spool, limits: None)
    spool.ballast.write_bytes(b"x")
    room.disk_is_full()
    assert not spool.ballast.exists()
    clock.now += 59
    assert not room.is_due()
    assert room.why == "the disk is full"
    clock.now += 2
    assert room.is_due()
    assert room.look()


def test_the_ballast_is_kept_where_there_is_room_and_its_folders_are_private(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.keep_ballast()
    assert spool.ballast.stat().st_size == 4 * 1024 * 1024
    assert spool.ballast.stat().st_mode & 0o777 == 0o600
    assert spool.free_ballast()
    assert not spool.free_ballast()
    monkeypatch.setattr("robotrace.deliver.spool._BALLAST_NEEDS_BYTES", 10**18)
    spool.keep_ballast()
    assert not spool.ballast.exists()


@pytest.mark.parametrize("full_at", ["receipt", "notes", "reason"])
def test_on_a_full_disk_an_episode_still_changes_its_state(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, full_at: str
) -> None:
    entry = seal_one(spool)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("robotrace.deliver.spool.write_json", full)
    monkeypatch.setattr(Path, "write_text", full)
    if full_at == "receipt":
        spool.finish(entry, {"uuid": entry.uuid})
        assert spool.is_done(entry.uuid)
        assert not entry.folder.exists()
    elif full_at == "notes":
        spool.write_upload_state(entry, {"attempts": 1})
    else:
        spool.fail(entry, "no")
        assert (spool.failed / entry.uuid).is_dir()


def test_the_limits_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert delivery_limits() == DeliveryLimits(None, 2 * GIB, 12.5e6, 10.0)
    monkeypatch.setenv("ROBOTRACE_SPOOL_LIMIT_GB", "5")
    monkeypatch.setenv("ROBOTRACE_KEEP_FREE_GB", "0.5")
    monkeypatch.setenv("ROBOTRACE_UPLOAD_LIMIT_MB_S", "0")
    monkeypatch.setenv("ROBOTRACE_EXIT_TIMEOUT_S", "3")
    assert delivery_limits() == DeliveryLimits(5 * 10**9, 5 * 10**8, None, 3.0)
    for wrong in ("fast", "-1", "nan", "inf"):
        monkeypatch.setenv("ROBOTRACE_EXIT_TIMEOUT_S", wrong)
        with pytest.raises(ConfigurationError, match="ROBOTRACE_EXIT_TIMEOUT_S"):
            delivery_limits()
