"""An episode of which only the last seconds are kept takes no more room than these, however long it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("av")

from recorded import RecordedEpisode, sealed  # noqa: E402

from robotrace.capture.clock import EnvClock  # noqa: E402
from robotrace.capture.options import Options  # noqa: E402
from robotrace.capture.process import RecordingProcess  # noqa: E402
from robotrace.capture.recording import Recording  # noqa: E402
from robotrace.capture.rows import read_rows  # noqa: E402
from robotrace.deliver.salvage import salvage_dead_recordings  # noqa: E402
from robotrace.deliver.spool import Spool, open_spool  # noqa: E402
from robotrace.ingest import create_payload  # noqa: E402

STEP_NS = 20_000_000
WINDOW_S = 1.0
WINDOW_ROWS = 51
ROTATE_BYTES = 20_000


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robotrace.capture.process._ROTATE_BYTES", ROTATE_BYTES)
    monkeypatch.setattr("robotrace.capture.recording._BLOCK_STEPS", 7)


@pytest.fixture
def process() -> Iterator[RecordingProcess]:
    process = RecordingProcess(open_spool(), lambda entry: None)
    yield process
    process.close(30.0)


def observe(row: int) -> dict[str, Any]:
    """What the observation of a row is: of fixed size, ragged, not in every row, and of another dtype later."""
    return {
        "at": np.full(4, row, np.float32 if row < 400 else np.float64),
        "said": "x" * (row % 13),
        "seen": tuple(np.full(2, row + item) for item in range(row % 3)),
        **({"rare": np.int64(row)} if row % 5 or row < 20 else {}),
    }


def begin(process: RecordingProcess, **options: Any) -> Recording:
    recording = Recording(
        process,
        EnvClock("test", STEP_NS),
        lambda uuid: create_payload(source="sim", request_uploads=(), client_episode_id=uuid, metadata={}),
        options=Options(**{"last_seconds": WINDOW_S, **options}),
        observation_space=Dict(
            spaces={"at": Box(), "said": Text(), "seen": Sequence(feature_space=Box(), stack=False)}
        ),
    )
    recording.begin(observe(0))
    return recording


class Space:
    """What is looked at of a space, by the name of its class."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Box(Space):
    pass


class Text(Space):
    pass


class Sequence(Space):
    pass


class Dict(Space):
    pass


def steps(recording: Recording, rows: range) -> None:
    before, after = recording.step_calls(None, lambda *_: None, raise_it)
    for row in rows:
        before(np.int64(row - 1))
        after((observe(row), float(row), False, False, {}))


def raise_it(exc: Exception) -> None:
    raise exc


def on_disk(process: RecordingProcess) -> int:
    return sum(path.stat().st_size for path in process.folder.glob("blocks-*.rtb"))


def check(episode: RecordedEpisode, last: int, first: int) -> None:
    """That its rows are those from ``first`` to ``last``, on the clock that begins a window before the last."""
    sensors, actions = episode.arrays("sensors"), episode.arrays("actions")
    rows = read_rows(sensors, "observation")
    assert len(rows) == last - first + 1
    for number, row in enumerate(rows, first):
        expected = observe(number)
        assert sorted(row) == sorted(expected)
        np.testing.assert_array_equal(row["at"], expected["at"])
        assert row["at"].dtype == expected["at"].dtype
        assert row["said"] == expected["said"]
        assert np.array_equal(np.array(row["seen"]), np.array(expected["seen"]))
        assert row.get("rare") == expected.get("rare")
    times = [(number - last) * STEP_NS + round(WINDOW_S * 1e9) for number in range(first, last + 1)]
    assert sensors["observation.said/_t_ns"].tolist() == times
    assert sensors["observation.rare/_t_ns"].tolist() == [
        time for number, time in enumerate(times, first) if "rare" in observe(number)
    ]
    assert sensors["reward/value"].tolist() == list(range(first, last + 1))[-len(sensors["reward/value"]) :]
    assert sensors["reward/_t_ns"].tolist() == times[-len(sensors["reward/value"]) :]
    assert len(sensors["reward/value"]) >= last - first
    assert actions["action/value"].tolist() == list(range(first, last))
    assert actions["action/_t_ns"].tolist() == times[:-1]


def test_a_long_episode_keeps_the_files_of_its_window_and_ends_as_ever(process: RecordingProcess) -> None:
    recording = begin(process)
    most, blocks = 0, 0
    for first in range(1, 6001, 50):
        steps(recording, range(first, first + 50))
        assert process.drain(30.0)
        most = max(most, on_disk(process))
        assert recording._file is not None
        blocks = max(blocks, len(recording._file.parts._blocks))
    assert len(list(process.folder.glob("blocks-*.rtb"))) <= 4
    one_row = 400  # and its share of a block's header: more than there is
    assert most < WINDOW_ROWS * one_row + 3 * ROTATE_BYTES
    assert blocks < 100
    assert len(process._old_files) == len(process._users) - 1
    recording.end("ready", {}, fps=50)
    assert process.drain(30.0)
    (episode,) = sealed()
    check(episode, 6000, 6000 - WINDOW_ROWS + 1)
    assert episode.metadata["last_seconds"] == {"kept_s": WINDOW_S, "dropped_steps": 6000 - WINDOW_ROWS + 1}


def test_whenever_it_is_killed_the_window_is_there(process: RecordingProcess, tmp_path: Path) -> None:
    recording = begin(process)
    for number, first in enumerate(range(1, 1401, 35)):
        steps(recording, range(first, first + 35))
        assert process.drain(30.0)
        spool = left_behind(process, tmp_path / str(number))
        (entry,) = salvage_dead_recordings(spool)
        (episode,) = sealed(spool)
        assert entry.uuid == recording.uuid
        assert episode.finalize["status"] == "failed"
        last = len(read_rows(episode.arrays("sensors"), "observation")) - 1
        if "last_seconds" in episode.metadata:
            last += episode.metadata["last_seconds"]["dropped_steps"]
            check(episode, last, max(last - WINDOW_ROWS + 1, 0))
        assert first + 35 - 1 - last <= 7  # a block at the most is lost
    recording.discard()
    assert spool.recording_folders() == []


def left_behind(process: RecordingProcess, home: Path) -> Spool:
    """A spool with what a kill at this moment would leave in it."""
    spool = open_spool(home)
    shutil.copytree(process.folder, spool.new_recording_folder().path.parent / process.folder.name)
    for folder in spool.recording_folders():
        if folder.name != process.folder.name:
            shutil.rmtree(folder)
    return spool


def test_a_file_that_another_episode_needs_stays_and_makes_no_gap(process: RecordingProcess, tmp_path: Path) -> None:
    whole = begin(process, last_seconds=None)
    steps(whole, range(1, 10))
    recording = begin(process)
    for first in range(1, 2001, 50):
        steps(recording, range(first, first + 50))
        assert process.drain(30.0)
    names = sorted(path.name for path in process.folder.glob("blocks-*.rtb"))
    assert names[0] == "blocks-0001.rtb"
    assert "blocks-0002.rtb" not in names
    spool = left_behind(process, tmp_path / "killed")
    assert len(salvage_dead_recordings(spool)) == 2
    (episode,) = [found for found in sealed(spool) if found.manifest["uuid"] == recording.uuid]
    dropped = episode.metadata["last_seconds"]["dropped_steps"]
    check(episode, dropped + WINDOW_ROWS - 1, dropped)
    assert dropped + WINDOW_ROWS > 1990
    steps(whole, range(10, 40))
    whole.end("ready", {}, fps=50)
    recording.end("ready", {}, fps=50)
    assert process.drain(30.0)
    by_uuid = {found.manifest["uuid"]: found for found in sealed()}
    assert len(read_rows(by_uuid[whole.uuid].arrays("sensors"), "observation")) == 40
    check(by_uuid[recording.uuid], 2000, 2000 - WINDOW_ROWS + 1)
    assert len(list(process.folder.glob("blocks-*.rtb"))) == 1
