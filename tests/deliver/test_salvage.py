from __future__ import annotations

import json
import os
import uuid

import pytest

from robotrace.deliver.blocks import END, START, STEPS, BlockFile, encode_json
from robotrace.deliver.salvage import salvage_dead_recordings
from robotrace.deliver.sealing import seal_episode
from robotrace.deliver.spool import RecordingFolder, Spool
from robotrace.testing.episodes import seal_one, start_content, steps_block, write_episode


class DeadProcess:
    """A recording folder whose owner is gone: its lock is free."""

    def __init__(self, spool: Spool) -> None:
        self.owned: RecordingFolder = spool.new_recording_folder()
        self.file = BlockFile(self.owned.path / "blocks-0001.rtb")

    def die(self) -> None:
        self.file.close()
        os.close(self.owned.lock)


@pytest.fixture
def process(spool: Spool) -> DeadProcess:
    return DeadProcess(spool)


def test_an_episode_that_had_ended_is_sealed_as_it_ended(spool: Spool, process: DeadProcess) -> None:
    parts = write_episode(process.file)
    process.die()
    (entry,) = salvage_dead_recordings(spool)
    manifest = entry.manifest()
    assert manifest is not None
    assert entry.uuid == parts.uuid
    assert manifest["finalize"]["status"] == "ready"
    assert manifest["finalize"]["metadata"] == {"outcome": {"success": True}, "salvaged": True}
    assert {artifact["kind"] for artifact in manifest["artifacts"]} == {"sensors", "actions"}
    assert spool.recording_folders() == []


def test_an_open_episode_is_sealed_as_failed_at_its_last_step(spool: Spool, process: DeadProcess) -> None:
    write_episode(process.file, ended=False)
    process.die()
    (entry,) = salvage_dead_recordings(spool)
    finalize = entry.manifest()["finalize"]  # type: ignore[index]
    assert finalize["status"] == "failed"
    assert finalize["failure_time_s"] == finalize["duration_s"] == 0.04
    assert finalize["metadata"]["salvaged"] is True
    assert "killed" in finalize["metadata"]["failure_reason"]


def test_a_block_after_a_lost_one_is_left_out_rather_than_shifted(spool: Spool, process: DeadProcess) -> None:
    np = pytest.importorskip("numpy")
    name = write_episode(process.file, ended=False).uuid
    process.file.append(STEPS, name, 2, steps_block(5, 2, 2))  # number 1 never arrived
    process.die()
    (entry,) = salvage_dead_recordings(spool)
    with np.load(entry.folder / "sensors.npz", allow_pickle=False) as sensors:
        assert sensors["observation/value"].tolist() == [[0, 0], [1, -1], [2, -2]]


def test_a_living_process_is_left_alone(spool: Spool, process: DeadProcess) -> None:
    write_episode(process.file)
    assert salvage_dead_recordings(spool) == []
    assert spool.recording_folders() == [process.owned.path]
    process.die()


def test_a_folder_an_encoder_still_writes_into_is_left_alone(spool: Spool, process: DeadProcess) -> None:
    write_episode(process.file)
    inherited = os.dup(process.owned.lock)  # what the encoder process holds
    process.die()
    assert salvage_dead_recordings(spool) == []
    os.close(inherited)
    assert len(salvage_dead_recordings(spool)) == 1


def test_killed_between_the_seal_and_the_end_nothing_is_doubled(spool: Spool, process: DeadProcess) -> None:
    parts = write_episode(process.file)
    seal_episode(spool, process.owned.path / parts.uuid, parts)
    process.die()
    assert salvage_dead_recordings(spool) == []
    assert len(spool.sealed_episodes()) == 1


def test_delivered_and_refused_episodes_do_not_come_back(spool: Spool, process: DeadProcess) -> None:
    for finish in (lambda entry: spool.finish(entry, {}), lambda entry: spool.fail(entry, "no")):
        parts = write_episode(process.file)
        entry = seal_episode(spool, process.owned.path / parts.uuid, parts)
        assert entry is not None
        finish(entry)
    process.die()
    assert salvage_dead_recordings(spool) == []


def test_an_episode_nobody_wanted_stays_away(spool: Spool, process: DeadProcess) -> None:
    name = write_episode(process.file, ended=False).uuid
    process.file.append(END, name, 0, encode_json({"discard": True}))
    process.die()
    assert salvage_dead_recordings(spool) == []
    assert spool.recording_folders() == []


def test_a_start_without_an_observation_is_nothing(spool: Spool, process: DeadProcess) -> None:
    process.file.append(START, seal_one(spool).uuid, 0, encode_json(start_content("x")))
    process.die()
    assert salvage_dead_recordings(spool) == []


def test_a_folder_that_cannot_be_salvaged_stays_and_the_others_go_on(
    spool: Spool, process: DeadProcess, caplog: pytest.LogCaptureFixture
) -> None:
    parts = write_episode(process.file)
    (process.owned.path / parts.uuid).write_text("a file where the folder should be")
    process.die()
    good = DeadProcess(spool)
    write_episode(good.file)
    good.die()
    assert len(salvage_dead_recordings(spool)) == 1
    assert spool.recording_folders() == [process.owned.path]
    assert "left as it is" in caplog.text


def test_the_video_the_encoder_finished_goes_along(spool: Spool, process: DeadProcess) -> None:
    parts = write_episode(process.file)
    (process.owned.path / parts.uuid).mkdir()
    (process.owned.path / parts.uuid / "video.mp4").write_bytes(b"not really a video")
    process.die()
    (entry,) = salvage_dead_recordings(spool)
    assert entry.manifest()["create"]["request_uploads"] == ["sensors", "actions", "video"]  # type: ignore[index]


@pytest.mark.parametrize(("beside", "kept_from_ms"), [(None, 25), (15, 15)])
def test_of_an_open_episode_with_a_window_the_end_is_kept_where_its_video_begins(
    spool: Spool, process: DeadProcess, beside: int | None, kept_from_ms: int
) -> None:
    np = pytest.importorskip("numpy")
    name = str(uuid.uuid4())
    process.file.append(START, name, 0, encode_json({**start_content(name), "window_ns": 15_000_000}))
    process.file.append(STEPS, name, 0, steps_block(0, 3, 2))
    if beside is not None:
        folder = process.owned.path / name
        folder.mkdir()
        (folder / "video.mp4").write_bytes(b"not really a video")
        (folder / "video.json").write_text(json.dumps({"offset_ns": beside * 1_000_000}))
    process.die()
    (entry,) = salvage_dead_recordings(spool)
    with np.load(entry.folder / "sensors.npz", allow_pickle=False) as sensors:
        kept = [t for t in (0, 20, 40) if t >= kept_from_ms]
        assert sensors["observation/_t_ns"].tolist() == [(t - kept_from_ms) * 1_000_000 for t in kept]
        assert len(sensors["observation/value"]) == len(kept)
    finalize = entry.manifest()["finalize"]  # type: ignore[index]
    assert finalize["duration_s"] == pytest.approx((40 - kept_from_ms) / 1000)
    assert finalize["metadata"]["last_seconds"]["dropped_steps"] == 3 - len(kept)
    assert not (entry.folder / "video.json").exists()
