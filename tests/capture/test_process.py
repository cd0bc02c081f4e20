from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("av")

from polling import eventually  # noqa: E402

from robotrace.capture import process as process_module  # noqa: E402
from robotrace.capture.clock import EnvClock  # noqa: E402
from robotrace.capture.process import RecordingProcess  # noqa: E402
from robotrace.capture.recording import Recording  # noqa: E402
from robotrace.deliver.salvage import salvage_dead_recordings  # noqa: E402
from robotrace.deliver.spool import SealedEpisode, Spool, WholeEpisode, open_spool  # noqa: E402


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return open_spool(tmp_path / "spool")


@pytest.fixture
def sealed() -> list[SealedEpisode]:
    return []


@pytest.fixture
def process(spool: Spool, sealed: list[SealedEpisode]) -> Iterator[RecordingProcess]:
    process = RecordingProcess(spool, sealed.append)
    yield process
    process.close(30.0)


def record(process: RecordingProcess, steps: int = 10, start: int = 0) -> Recording:
    def create(uuid: str) -> dict[str, object]:
        return {"source": "sim", "name": uuid, "metadata": {}}

    recording = Recording(process, EnvClock("dt", 20_000_000), create)
    recording.begin(np.full(3, start, np.float32))
    for step in range(steps):
        recording.act(np.int64(step))
        recording.result(np.full(3, start + step + 1, np.float32), 1.0, False, step == steps - 1)
    recording.end("ready", {}, fps=50.0)
    return recording


def observations(entry: SealedEpisode) -> list[float]:
    with np.load(entry.folder / "sensors.npz", allow_pickle=False) as sensors:
        return [float(row[0]) for row in sensors["observation/value"]]


def test_a_long_episode_is_handed_over_in_blocks_and_put_together_again(
    process: RecordingProcess, sealed: list[SealedEpisode]
) -> None:
    record(process, steps=10_000)
    assert process.drain(60.0)
    (entry,) = sealed
    assert observations(entry) == [float(k) for k in range(10_001)]


def test_threads_record_side_by_side_through_one_writer(process: RecordingProcess, sealed: list[SealedEpisode]) -> None:
    def run(start: int) -> None:
        for episode in range(10):
            record(process, steps=5, start=start + 100 * episode)

    threads = [threading.Thread(target=run, args=(10_000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert process.drain(60.0)
    assert len(sealed) == 40
    starts = {10_000 * number + 100 * episode for number in range(4) for episode in range(10)}
    assert {int(observations(entry)[0]) for entry in sealed} == starts
    assert all(len(observations(entry)) == 6 for entry in sealed)
    assert process.pending_bytes == 0
    assert [thread.name for thread in threading.enumerate()].count("robotrace-writer") == 1


def test_block_files_nobody_needs_any_more_are_deleted(
    process: RecordingProcess, sealed: list[SealedEpisode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_ROTATE_BYTES", 10_000)
    for _ in range(20):
        record(process, steps=50)
        process.drain(30.0)
    files = sorted(process.folder.glob("blocks-*.rtb"))
    assert len(files) <= 2
    assert files[-1].name > "blocks-0005.rtb"
    assert len(sealed) == 20


def test_an_episode_that_cannot_be_sealed_is_left_for_the_salvage(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    process = RecordingProcess(spool, lambda entry: None)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(process_module, "complete_episode", full)
        record(process)
        assert not process.close(30.0)
    assert "No space left" in caplog.text
    (entry,) = salvage_dead_recordings(spool)
    assert observations(entry) == [float(k) for k in range(11)]
    assert spool.recording_folders() == []


def test_what_waits_for_a_slow_disk_is_bounded_and_the_loss_is_named(
    process: RecordingProcess, sealed: list[SealedEpisode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_MAX_PENDING_BYTES", 200_000)
    gate = threading.Event()
    process.enqueue(lambda: gate.wait(60.0) and None)  # the writer hangs
    record(process, steps=30_000)
    assert process.pending_bytes < 1_000_000
    gate.set()
    assert process.drain(60.0)
    (entry,) = sealed
    manifest = entry.manifest()
    assert manifest is not None
    assert "too slow" in manifest["finalize"]["metadata"]["incomplete"]["*"]
    kept = observations(entry)
    assert 0 < len(kept) < 30_000
    assert kept == [float(k) for k in range(len(kept))]


def test_a_loop_that_outruns_the_writer_steps_aside_and_loses_nothing(
    process: RecordingProcess, sealed: list[SealedEpisode], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Mechanism: the writer waits 5 ms for the interpreter lock at every turn, and a fast loop makes a block in 6 ms.
    yields: list[tuple[float, int]] = []
    gate = threading.Event()

    def step_aside(seconds: float) -> None:
        yields.append((seconds, process.pending_bytes))
        gate.set()  # the writer gets its turn now

    monkeypatch.setattr(process_module, "_YIELD_BYTES", 1_000_000)
    monkeypatch.setattr(process_module.time, "sleep", step_aside)
    process.enqueue(lambda: gate.wait(60.0) and None)
    record(process, steps=60_000)
    assert process.drain(60.0)
    assert yields
    assert all(seconds == process_module._YIELD_S and pending > 1_000_000 for seconds, pending in yields)
    assert observations(sealed[0]) == [float(k) for k in range(60_001)]


def test_a_loop_of_short_episodes_steps_aside_at_their_ends_once_many_wait_to_be_sealed(
    process: RecordingProcess, sealed: list[SealedEpisode], monkeypatch: pytest.MonkeyPatch
) -> None:
    yields: list[int] = []
    gate = threading.Event()
    monkeypatch.setattr(process_module, "_MANY_UNSEALED", 5)
    monkeypatch.setattr(process_module.time, "sleep", lambda seconds: yields.append(process.unsealed))
    process.enqueue(lambda: gate.wait(60.0) and None)  # a writer that gets no turn
    for _ in range(8):
        record(process, steps=2)
    assert yields == [6, 7, 8]
    gate.set()
    assert process.drain(60.0)
    record(process, steps=2)
    assert process.drain(60.0)
    assert (len(yields), len(sealed), process.unsealed) == (3, 9, 0)


def test_many_open_episodes_are_none_that_wait(process: RecordingProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    yields: list[float] = []
    monkeypatch.setattr(process_module, "_MANY_UNSEALED", 5)
    monkeypatch.setattr(process_module.time, "sleep", yields.append)
    recordings = [
        Recording(process, EnvClock("wall"), lambda uuid: {"source": "sim", "metadata": {}}) for _ in range(20)
    ]
    for recording in recordings:
        recording.begin(np.zeros(2))
        recording.frame(None)  # so that it has a file
    for recording in recordings:
        recording.end("ready", {}, fps=None)
        assert process.drain(60.0)
    assert yields == []
    assert process.unsealed == 0


def test_episodes_that_could_not_be_sealed_do_not_slow_the_loop_for_ever(
    process: RecordingProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    monkeypatch.setattr(process_module, "complete_episode", full)
    for _ in range(3):
        record(process, steps=2)
    assert process.drain(60.0)
    assert process.unsealed == 0


@pytest.fixture
def groups(spool: Spool, process: RecordingProcess, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many episodes were sealed together, each time."""
    noted: list[int] = []
    real = Spool.seal

    def seal(spool: Spool, group: Sequence[WholeEpisode]) -> list[SealedEpisode | Exception]:
        noted.append(len(group))
        return real(spool, group)

    monkeypatch.setattr(Spool, "seal", seal)
    return noted


def record_while_the_writer_hangs(process: RecordingProcess, count: int) -> None:
    gate = threading.Event()
    process.enqueue(lambda: gate.wait(60.0) and None)
    for _ in range(count):
        record(process, steps=2)
    gate.set()


@pytest.mark.parametrize(("waiting", "expected"), [(8, [1] * 8), (9, [9]), (300, [256, 44])])
def test_where_more_than_eight_wait_they_are_sealed_together(
    process: RecordingProcess,
    sealed: list[SealedEpisode],
    groups: list[int],
    monkeypatch: pytest.MonkeyPatch,
    waiting: int,
    expected: list[int],
) -> None:
    monkeypatch.setattr(process_module, "_GROUP_S", 1000.0)
    record_while_the_writer_hangs(process, waiting)
    assert process.drain(60.0)
    assert groups == expected
    assert (len(sealed), process.unsealed) == (waiting, 0)


def test_no_episode_waits_long_for_others(
    process: RecordingProcess, sealed: list[SealedEpisode], groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_GROUP_S", 0.0)
    record_while_the_writer_hangs(process, 20)
    assert process.drain(60.0)
    assert groups == [1] * 20


def test_a_group_does_not_wait_for_an_episode_that_never_comes(
    process: RecordingProcess, sealed: list[SealedEpisode], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Ctrl-C between an episode's end and its way into the queue leaves one counted that nobody will seal.
    monkeypatch.setattr(process_module, "_GROUP_S", 0.05)
    process.ended()
    record_while_the_writer_hangs(process, 20)
    eventually(lambda: len(sealed) == 20)


def test_of_a_group_that_could_not_be_sealed_nothing_is_lost(
    process: RecordingProcess, sealed: list[SealedEpisode], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(spool: Spool, group: Sequence[WholeEpisode]) -> list[SealedEpisode | Exception]:
        return [OSError(errno.ENOSPC, "No space left on device") for _ in group]

    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "seal", full)
        record_while_the_writer_hangs(process, 20)
        assert process.drain(60.0)
    assert (sealed, process.unsealed) == ([], 0)
    process.seal_again()
    assert process.drain(60.0)
    assert (len(sealed), process.unsealed) == (20, 0)
    assert len({entry.uuid for entry in sealed}) == 20


def test_a_discarded_episode_leaves_nothing(process: RecordingProcess, sealed: list[SealedEpisode]) -> None:
    recording = Recording(process, EnvClock("wall"), lambda uuid: {"source": "sim", "metadata": {}})
    recording.begin(np.zeros(2))
    recording.frame(np.zeros((8, 8, 3), np.uint8))
    recording.discard()
    assert process.drain(60.0)
    assert sealed == []
    assert [path.name for path in process.folder.iterdir() if path.is_dir()] == []


def test_the_last_frame_size_is_the_first_one(process: RecordingProcess, sealed: list[SealedEpisode]) -> None:
    recording = Recording(process, EnvClock("dt", 20_000_000), lambda uuid: {"source": "sim", "metadata": {}})
    recording.begin(np.zeros(2))
    recording.frame(np.zeros((8, 8, 3), np.uint8))
    recording.act(0)
    recording.result(np.zeros(2), 0.0, True, False)
    recording.frame(np.zeros((9, 8, 3), np.uint8))
    recording.end("ready", {}, fps=None)
    assert process.drain(60.0)
    metadata = sealed[0].manifest()["finalize"]["metadata"]  # type: ignore[index]
    assert "frame size changed" in metadata["incomplete"]["video"]
    assert (metadata["video"]["frames_submitted"], metadata["video"]["frames"]) == (1, 1)


def stamps(process: RecordingProcess, sealed: list[SealedEpisode], clock: EnvClock, tick: object = None) -> list[int]:
    recording = Recording(process, clock, lambda uuid: {"source": "sim", "metadata": {}})
    recording.begin(np.zeros(2))
    for _ in range(3):
        recording.act(0)
        if callable(tick):
            tick()
        recording.result(np.zeros(2), 0.0, False, False)
    recording.end("ready", {}, fps=None)
    assert process.drain(60.0)
    with np.load(sealed[0].folder / "sensors.npz", allow_pickle=False) as sensors:
        return sensors["observation/_t_ns"].tolist()


def test_a_simulators_time_is_told_from_the_episodes_start(
    process: RecordingProcess, sealed: list[SealedEpisode]
) -> None:
    now = [100.0]

    def tick() -> None:
        now[0] += 0.008

    found = stamps(process, sealed, EnvClock("data.time", None, lambda: now[0]), tick)
    assert found == [0, 8_000_000, 16_000_000, 24_000_000]
    assert sealed[0].manifest()["finalize"]["duration_s"] == 0.024  # type: ignore[index]


def test_without_any_clock_it_is_the_wall(process: RecordingProcess, sealed: list[SealedEpisode]) -> None:
    found = stamps(process, sealed, EnvClock("wall"))
    assert found[0] == 0
    assert found == sorted(set(found))
    with np.load(sealed[0].folder / "sensors.npz", allow_pickle=False) as sensors:
        wall = sensors["wall_clock/value"]
        assert (wall - wall[0]).tolist() == found


def test_two_threads_that_film_at_the_same_time_start_one_encoder(
    process: RecordingProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Encoder] = []
    both = threading.Barrier(2, timeout=0.2)

    class Encoder:
        alive = True

        def __init__(self, **_: object) -> None:
            started.append(self)
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait()  # for the other one to come this far too

        def close(self, timeout_s: float) -> None:
            pass

    monkeypatch.setattr(process_module, "EncoderProcess", Encoder)
    monkeypatch.setattr(process_module, "open_video", lambda encoder, *_: encoder)
    videos: list[object] = []

    def film() -> None:
        videos.append(process.open_video(tmp_path / "video.mp4", None))  # type: ignore[arg-type]

    threads = [threading.Thread(target=film) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert videos == started * 2
