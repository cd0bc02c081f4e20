from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from polling import eventually

np = pytest.importorskip("numpy")
av = pytest.importorskip("av")

from robotrace.capture import video as video_module  # noqa: E402
from robotrace.capture.ring import VideoSettings  # noqa: E402
from robotrace.capture.video import CameraStream, EncoderProcess, VideoResult, VideoStream, open_video  # noqa: E402

SHAPE = (40, 60, 3)
STEP_NS = 20_000_000
SETTINGS = VideoSettings(STEP_NS)


@pytest.fixture
def worker() -> Iterator[EncoderProcess]:
    worker = EncoderProcess(())
    yield worker
    worker.close(30.0)


def frame_count(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def start(worker: EncoderProcess | None, path: Path) -> tuple[VideoStream, CameraStream]:
    video = open_video(worker, path, SETTINGS)
    return video, video.add_camera("render", SHAPE)


def put(camera: CameraStream, count: int, first: int = 0) -> None:
    for index in range(first, first + count):
        camera.put(np.full(SHAPE, index % 256, np.uint8), index * STEP_NS)


def frames(result: VideoResult) -> list[int]:
    assert result.cameras is not None
    return [camera["frames"] for camera in result.cameras]


@pytest.mark.parametrize("where", ["process", "thread"])
def test_every_frame_of_every_camera_is_in_the_file(tmp_path: Path, worker: EncoderProcess, where: str) -> None:
    path = tmp_path / "e" / "v.mp4"
    video = open_video(worker if where == "process" else None, path, SETTINGS)
    cameras = [video.add_camera(name, (40 + 8 * k, 60, 3)) for k, name in enumerate(("render", "wrist", "top"))]
    for index in range(120):
        for k, camera in enumerate(cameras):
            camera.put(np.full((40 + 8 * k, 60, 3), 80 * k + 20 + index % 10, np.uint8), index * STEP_NS)
    video.close()
    result = video.result(60.0)
    assert (frames(result), result.error) == ([120, 120, 120], None)
    with av.open(str(path)) as container:
        for k, name in enumerate(("render", "wrist", "top")):
            stream = container.streams.video[k]
            assert (stream.metadata["handler_name"], stream.height) == (name, 40 + 8 * k)
            container.seek(0)
            for index, picture in enumerate(container.decode(stream)):
                assert picture.time == pytest.approx(index * 0.02, abs=1e-6)
                assert abs(float(picture.to_ndarray(format="rgb24").mean()) - (80 * k + 20 + index % 10)) < 4
            assert index == 119


def test_several_videos_at_once_do_not_mix(tmp_path: Path, worker: EncoderProcess) -> None:
    started = [start(worker, tmp_path / f"{k}.mp4") for k in range(3)]
    for index in range(60):
        for k, (_, camera) in enumerate(started):
            camera.put(np.full(SHAPE, 80 * k + 20, np.uint8), index * STEP_NS)
    for video, _ in started:
        video.close()
    for k, (video, _) in reversed(list(enumerate(started))):
        assert frames(video.result(60.0)) == [60]
        with av.open(str(tmp_path / f"{k}.mp4")) as container:
            for picture in container.decode(video=0):
                assert abs(float(picture.to_ndarray(format="rgb24").mean()) - (80 * k + 20)) < 5


@pytest.mark.parametrize("where", ["process", "thread"])
def test_the_frame_may_be_changed_right_after(tmp_path: Path, worker: EncoderProcess, where: str) -> None:
    video, camera = start(worker if where == "process" else None, tmp_path / "v.mp4")
    buffer = np.zeros(SHAPE, np.uint8)
    for index in range(100):
        buffer[:] = 2 * index
        camera.put(buffer, index * STEP_NS)
        buffer[:] = 255
    video.close()
    assert frames(video.result(60.0)) == [100]
    with av.open(str(tmp_path / "v.mp4")) as container:
        for index, picture in enumerate(container.decode(video=0)):
            assert abs(float(picture.to_ndarray(format="rgb24").mean()) - 2 * index) < 5


def test_a_file_that_cannot_be_made_is_an_error_in_the_result_only(tmp_path: Path, worker: EncoderProcess) -> None:
    (tmp_path / "file").write_text("in the way")
    video, camera = start(worker, tmp_path / "file" / "v.mp4")
    put(camera, 30)
    video.close()
    result = video.result(60.0)
    assert frames(result) == [0]
    assert result.error is not None
    video, camera = start(worker, tmp_path / "v.mp4")
    put(camera, 10)
    video.close()
    assert frames(video.result(60.0)) == [10]


def test_a_camera_that_comes_too_late_is_named_and_costs_the_others_nothing(
    tmp_path: Path, worker: EncoderProcess
) -> None:
    video, render = start(worker, tmp_path / "v.mp4")
    put(render, 30)
    wrist = video.add_camera("wrist", SHAPE)  # 0.6 s: in time
    wrist.put(np.zeros(SHAPE, np.uint8), 30 * STEP_NS)
    put(render, 30, first=30)
    late = video.add_camera("late", SHAPE)
    put(late, 20, first=60)
    put(render, 30, first=60)
    video.close()
    result = video.result(60.0)
    assert result.cameras is not None
    assert [camera["frames"] for camera in result.cameras] == [90, 1, 0]
    assert [camera["error"] is None for camera in result.cameras] == [True, True, False]
    assert "more than a second" in result.cameras[2]["error"]
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert [picture.time for picture in container.decode(container.streams.video[1])] == [0.6]


def test_a_killed_encoder_is_noticed_and_never_waited_for(tmp_path: Path) -> None:
    worker = EncoderProcess(())
    video, camera = start(worker, tmp_path / "v.mp4")
    os.kill(worker._process.pid, signal.SIGKILL)
    eventually(lambda: not worker.alive)
    with pytest.raises(OSError):  # noqa: PT011 - broken pipe or connection reset, as the kernel likes
        put(camera, 100)
    result = video.result(30.0)
    assert result.cameras is None
    assert result.error is not None
    worker.close(5.0)


def test_a_dead_encoder_whose_place_is_taken_still_has_an_answer(tmp_path: Path) -> None:
    # Mechanism: the next episode closes the dead one's socket while the writer is about to ask it.
    worker = EncoderProcess(())
    video, _ = start(worker, tmp_path / "v.mp4")
    os.kill(worker._process.pid, signal.SIGKILL)
    eventually(lambda: not worker.alive)
    worker.close(5.0)
    result = video.result(30.0)
    assert result.cameras is None
    assert result.error is not None
    assert "died" in result.error


def test_another_threads_frame_does_not_come_between_the_parts_of_a_message(
    tmp_path: Path, worker: EncoderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, camera = start(worker, tmp_path / "v.mp4")
    send_fds = video_module.socket.send_fds
    threads: list[threading.Thread] = []

    def send_and_let_others(*args: Any) -> int:
        sent = send_fds(*args)
        threads.append(threading.Thread(target=put, args=(camera, 5)))
        threads[-1].start()
        threads[-1].join(0.2)  # where nobody holds it back, it has put its frames by then
        return sent

    monkeypatch.setattr(video_module.socket, "send_fds", send_and_let_others)
    other, second = start(worker, tmp_path / "w.mp4")
    for thread in threads:
        thread.join(30)
    put(second, 7)
    video.close()
    other.close()
    assert (frames(video.result(60.0)), frames(other.result(60.0))) == ([5], [7])


def test_without_pyav_the_steps_are_recorded_and_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "robotrace.capture.encoding", None)
    video, camera = start(None, tmp_path / "v.mp4")
    put(camera, 100)  # more than the queue holds
    video.close()
    result = video.result(60.0)
    assert result.cameras == ()
    assert result.error is not None
    assert "robotrace.capture.encoding" in result.error
    assert not (tmp_path / "v.mp4").exists()


def test_ctrl_c_and_sigterm_to_the_group_do_not_end_the_encoder(tmp_path: Path, worker: EncoderProcess) -> None:
    video, camera = start(worker, tmp_path / "v.mp4")
    put(camera, 20)  # it serves, so its handlers are set
    eventually(lambda: camera._ring.consumed >= 12)  # type: ignore[attr-defined]
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker._process.pid, number)
    put(camera, 20, first=20)
    video.close()
    assert frames(video.result(60.0)) == [40]


def test_a_full_ring_is_waited_for_or_the_frame_is_left_out_and_its_gap_stays(
    tmp_path: Path, worker: EncoderProcess
) -> None:
    video, camera = start(worker, tmp_path / "v.mp4")
    put(camera, 1)
    eventually(lambda: camera._ring.consumed == 1)  # type: ignore[attr-defined]
    os.kill(worker._process.pid, signal.SIGSTOP)
    taken = [camera.put(np.full(SHAPE, k, np.uint8), k * STEP_NS, wait=False) for k in range(1, 20)]
    assert taken == [0] * 8 + [-1] * 11
    os.kill(worker._process.pid, signal.SIGCONT)
    assert camera.put(np.full(SHAPE, 20, np.uint8), 20 * STEP_NS) >= 0
    video.close()
    assert frames(video.result(60.0)) == [10]
    with av.open(str(tmp_path / "v.mp4")) as container:
        times = [round(picture.time / 0.02) for picture in container.decode(video=0)]
    assert times == [*range(9), 20]


def test_an_encoder_that_hangs_ends_the_video_not_the_run(
    tmp_path: Path, worker: EncoderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_module, "_FULL_RING_LIMIT_NS", 50_000_000)
    video, camera = start(worker, tmp_path / "v.mp4")
    put(camera, 1)
    eventually(lambda: camera._ring.consumed == 1)  # type: ignore[attr-defined]
    os.kill(worker._process.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError, match="hangs"):
        put(camera, 20, first=1)
    os.kill(worker._process.pid, signal.SIGCONT)
    video.close()
    assert frames(video.result(60.0)) == [9]


TRAINER = """
import os, signal, sys
import numpy as np
from pathlib import Path
from robotrace.capture import video as video_module  # noqa: E402
from robotrace.capture.ring import VideoSettings
from robotrace.capture.video import EncoderProcess

window_ns = int(sys.argv[2]) or None
worker = EncoderProcess(())
video = worker.open(Path(sys.argv[1]), VideoSettings(20_000_000, window_ns=window_ns))
cameras = [video.add_camera(name, (48, 64, 3)) for name in ("render", "wrist")]
for index in range(257):
    for k, camera in enumerate(cameras):
        camera.put(np.full((48, 64, 3), index % 200 + 20 * k, np.uint8), index * 20_000_000)
os.write(1, str(worker._process.pid).encode())
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_trainer(path: Path, window_ns: int = 0) -> None:
    """Record 257 frames of two cameras in a process that is killed, and wait for its encoder to end."""
    command = [sys.executable, "-c", TRAINER, str(path), str(window_ns)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, timeout=60, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()

    def gone() -> bool:
        try:
            return Path(f"/proc/{int(done.stdout)}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    eventually(gone)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_after_a_kill_of_the_trainer_every_frame_of_every_track_is_there(tmp_path: Path) -> None:
    killed_trainer(tmp_path / "v.mp4")
    with av.open(str(tmp_path / "v.mp4")) as container:
        for k, stream in enumerate(container.streams.video):
            container.seek(0)
            levels = [float(picture.to_ndarray(format="rgb24").mean()) for picture in container.decode(stream)]
            assert len(levels) == 257
            assert all(abs(level - (index % 200 + 20 * k)) < 6 for index, level in enumerate(levels))
    assert not (tmp_path / "v.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_after_a_kill_the_last_seconds_are_there_and_say_where_they_begin(tmp_path: Path) -> None:
    killed_trainer(tmp_path / "v.mp4", window_ns=2_000_000_000)
    offset_ns = json.loads((tmp_path / "v.json").read_text())["offset_ns"]
    newest_ns = 256 * STEP_NS
    assert newest_ns - 2_000_000_000 <= offset_ns <= newest_ns - 1_500_000_000
    first = offset_ns // STEP_NS
    with av.open(str(tmp_path / "v.mp4")) as container:
        for k, stream in enumerate(container.streams.video):
            container.seek(0)
            pictures = list(container.decode(stream))
            assert len(pictures) == 257 - first
            for index, picture in enumerate(pictures):
                assert picture.time == pytest.approx(index * 0.02, abs=1e-6)
                level = float(picture.to_ndarray(format="rgb24").mean())
                assert abs(level - ((first + index) % 200 + 20 * k)) < 6


def numbered(number: int) -> Any:
    """(32, 256, 3) uint8 with the number burnt in, a column a bit."""
    bits = np.array([number >> bit & 1 for bit in range(16)], np.uint8) * 255
    return np.broadcast_to(np.repeat(bits, 16)[None, :, None], (32, 256, 3))


def read_number(picture: Any) -> int:
    levels = picture.to_ndarray(format="rgb24")[16, 8::16].mean(axis=1)
    return sum(1 << bit for bit, level in enumerate(levels) if level > 128)


def test_a_thousand_frames_of_two_cameras_arrive_once_and_in_order(tmp_path: Path, worker: EncoderProcess) -> None:
    video = open_video(worker, tmp_path / "v.mp4", SETTINGS)
    cameras = [video.add_camera(name, (32, 256, 3)) for name in ("render", "wrist")]
    for index in range(1000):
        for k, camera in enumerate(cameras):
            camera.put(numbered(index + 20_000 * k), index * STEP_NS)
    video.close()
    assert frames(video.result(60.0)) == [1000, 1000]
    with av.open(str(tmp_path / "v.mp4")) as container:
        for k, stream in enumerate(container.streams.video):
            container.seek(0)
            found = [read_number(picture) for picture in container.decode(stream)]
            assert found == [index + 20_000 * k for index in range(1000)]


def test_the_training_process_keeps_nothing_of_a_frame(tmp_path: Path, worker: EncoderProcess) -> None:
    video, camera = start(worker, tmp_path / "v.mp4")
    put(camera, 500)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        put(camera, 5000, first=500)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 5000  # less than a byte a frame
    video.close()
    assert frames(video.result(60.0)) == [5500]


def test_a_rings_memory_is_used_again_for_the_next_video_of_its_size(tmp_path: Path, worker: EncoderProcess) -> None:
    rings = []
    for number in range(3):
        video, camera = start(worker, tmp_path / f"{number}.mp4")
        rings.append(camera._ring)  # type: ignore[attr-defined]
        put(camera, 5)
        video.close()
        assert frames(video.result(60.0)) == [5]
    assert rings[0] is rings[1] is rings[2]


def test_the_next_videos_preset_follows_the_waits_of_the_last(tmp_path: Path, worker: EncoderProcess) -> None:
    presets = []
    for number, waits in enumerate((60, 0)):
        video, camera = start(worker, tmp_path / f"{number}.mp4")
        put(camera, 60)
        video.close(waits=waits)
        result = video.result(60.0)
        assert frames(result) == [60]
        presets.append(result.preset)
    assert presets[0] in ("superfast", "ultrafast")  # the latter where there is one core only
    assert presets[1] == "ultrafast"
