from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from polling import eventually

np = pytest.importorskip("numpy")
av = pytest.importorskip("av")

from robotrace.capture.video import EncoderProcess, VideoStream, open_video  # noqa: E402

SHAPE = (40, 60, 3)
STEP_NS = 20_000_000


@pytest.fixture
def worker() -> Iterator[EncoderProcess]:
    worker = EncoderProcess(())
    yield worker
    worker.close(30.0)


def frame_count(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def put(stream: VideoStream, count: int) -> None:
    for index in range(count):
        stream.put(np.full(SHAPE, index % 256, np.uint8), index * STEP_NS)


@pytest.mark.parametrize("where", ["process", "thread"])
def test_every_frame_is_in_the_file(tmp_path: Path, worker: EncoderProcess, where: str) -> None:
    stream = open_video(worker if where == "process" else None, tmp_path / "e" / "v.mp4", SHAPE, STEP_NS)
    put(stream, 200)
    stream.close()
    result = stream.result(60.0)
    assert (result.frames, result.error) == (200, None)
    assert frame_count(tmp_path / "e" / "v.mp4") == 200


def test_several_videos_at_once_do_not_mix(tmp_path: Path, worker: EncoderProcess) -> None:
    streams = [open_video(worker, tmp_path / f"{k}.mp4", SHAPE, STEP_NS) for k in range(3)]
    for index in range(60):
        for k, stream in enumerate(streams):
            stream.put(np.full(SHAPE, 80 * k + 20, np.uint8), index * STEP_NS)
    for stream in streams:
        stream.close()
    for k, stream in reversed(list(enumerate(streams))):
        assert stream.result(60.0).frames == 60
        with av.open(str(tmp_path / f"{k}.mp4")) as container:
            for picture in container.decode(video=0):
                assert abs(float(picture.to_ndarray(format="rgb24").mean()) - (80 * k + 20)) < 5


def test_the_frame_may_be_changed_right_after(tmp_path: Path, worker: EncoderProcess) -> None:
    stream = open_video(worker, tmp_path / "v.mp4", SHAPE, STEP_NS)
    buffer = np.zeros(SHAPE, np.uint8)
    for index in range(100):
        buffer[:] = 2 * index
        stream.put(buffer, index * STEP_NS)
        buffer[:] = 255
    stream.close()
    assert stream.result(60.0).frames == 100
    with av.open(str(tmp_path / "v.mp4")) as container:
        for index, picture in enumerate(container.decode(video=0)):
            assert abs(float(picture.to_ndarray(format="rgb24").mean()) - 2 * index) < 5


def test_a_file_that_cannot_be_made_is_an_error_in_the_result_only(tmp_path: Path, worker: EncoderProcess) -> None:
    (tmp_path / "file").write_text("in the way")
    stream = open_video(worker, tmp_path / "file" / "v.mp4", SHAPE, STEP_NS)
    put(stream, 30)
    stream.close()
    result = stream.result(60.0)
    assert result.frames == 0
    assert result.error is not None
    good = open_video(worker, tmp_path / "v.mp4", SHAPE, STEP_NS)
    put(good, 10)
    good.close()
    assert good.result(60.0).frames == 10


def test_a_killed_encoder_is_noticed_and_never_waited_for(tmp_path: Path) -> None:
    worker = EncoderProcess(())
    stream = open_video(worker, tmp_path / "v.mp4", SHAPE, STEP_NS)
    os.kill(worker._process.pid, signal.SIGKILL)
    eventually(lambda: not worker.alive)
    with pytest.raises(OSError):  # noqa: PT011 - broken pipe or connection reset, as the kernel likes
        put(stream, 100)
    result = stream.result(30.0)
    assert result.frames is None
    assert result.error is not None
    worker.close(5.0)


def test_ctrl_c_and_sigterm_to_the_group_do_not_end_the_encoder(tmp_path: Path, worker: EncoderProcess) -> None:
    stream = open_video(worker, tmp_path / "v.mp4", SHAPE, STEP_NS)
    put(stream, 20)  # it serves, so its handlers are set
    eventually(lambda: stream._ring.consumed >= 12)  # type: ignore[attr-defined]
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker._process.pid, number)
    put(stream, 20)
    stream.close()
    assert stream.result(60.0).frames == 40
