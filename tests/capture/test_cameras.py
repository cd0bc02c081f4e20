from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
av = pytest.importorskip("av")

from robotrace.capture.cameras import Cameras, merge_result  # noqa: E402
from robotrace.capture.clock import EnvClock  # noqa: E402
from robotrace.capture.options import Options  # noqa: E402
from robotrace.capture.process import RecordingProcess  # noqa: E402
from robotrace.capture.recording import Recording  # noqa: E402
from robotrace.capture.ring import VideoSettings  # noqa: E402
from robotrace.capture.video import VideoResult, VideoStream, open_video  # noqa: E402
from robotrace.deliver.spool import SealedEpisode, open_spool  # noqa: E402

STEP_NS = 20_000_000


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production: a fault of a camera is named, not raised."""
    monkeypatch.delenv("ROBOTRACE_RAISE_INTERNAL_ERRORS")


def opener(path: Path) -> Callable[[], VideoStream]:
    return lambda: open_video(None, path, VideoSettings(STEP_NS))


def picture(level: int, size: tuple[int, int] = (48, 64)) -> Any:
    return np.full((*size, 3), level, np.uint8)


def finish(cameras: Cameras) -> dict[str, Any]:
    """metadata.video as the writer thread completes it."""
    video = cameras.metadata()
    assert video is not None
    cameras.close()
    result = cameras.result(60.0)
    assert result is not None
    merged, missing = merge_result(video, result, [])
    assert missing == {}
    return merged


def titles(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.metadata["handler_name"] for stream in container.streams.video]


def test_the_render_view_is_the_first_track_though_an_observation_comes_before_it(tmp_path: Path) -> None:
    cameras = Cameras(opener(tmp_path / "v.mp4"))
    buffer = picture(10)
    for step in range(5):
        buffer[:] = 10 + step
        cameras.put("observation.wrist", buffer, step * STEP_NS, lossy_of="observation.wrist")
        buffer[:] = 255  # the next step's
        cameras.put("observation.top", picture(100), step * STEP_NS, lossy_of="observation.top")
        cameras.put("render", picture(200), step * STEP_NS)
    video = finish(cameras)
    assert titles(tmp_path / "v.mp4") == ["render", "observation.wrist", "observation.top"]
    assert [camera["name"] for camera in video["cameras"]] == titles(tmp_path / "v.mp4")
    assert [camera.get("lossy_of") for camera in video["cameras"]] == [None, "observation.wrist", "observation.top"]
    assert [camera["track"] for camera in video["cameras"]] == [0, 1, 2]
    assert (video["frames"], video["frames_submitted"]) == (15, 15)
    with av.open(str(tmp_path / "v.mp4")) as container:
        levels = [float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=1)]
    assert levels == pytest.approx([10, 11, 12, 13, 14], abs=2)


@pytest.mark.parametrize("steps", [1, 5])
def test_where_nothing_is_rendered_the_first_named_camera_is_the_first_track(tmp_path: Path, steps: int) -> None:
    cameras = Cameras(opener(tmp_path / "v.mp4"))
    for step in range(steps):
        cameras.put("wrist", picture(10 * step), step * STEP_NS)
        cameras.put("top", picture(200, (30, 40)), step * STEP_NS)
    video = finish(cameras)
    assert titles(tmp_path / "v.mp4") == ["wrist", "top"]
    assert [(camera["width"], camera["height"]) for camera in video["cameras"]] == [(64, 48), (40, 30)]
    assert [camera["frames"] for camera in video["cameras"]] == [steps, steps]


def test_a_camera_that_has_no_picture_for_a_while_has_a_gap(tmp_path: Path) -> None:
    cameras = Cameras(opener(tmp_path / "v.mp4"), first=None)
    for step in range(10):
        cameras.put("wrist", None if step in (0, 4, 5) else picture(20 * step), step * STEP_NS)
        cameras.put("top", picture(step), step * STEP_NS)
    video = finish(cameras)
    # The one whose first picture came first has the first track.
    top, wrist = video["cameras"]
    assert (top["name"], top["track"], top["missing"]) == ("top", 0, 0)
    assert (wrist["name"], wrist["track"], wrist["missing"], wrist["frames"]) == ("wrist", 1, 3, 7)
    with av.open(str(tmp_path / "v.mp4")) as container:
        times = [round(frame.time / 0.02) for frame in container.decode(container.streams.video[1])]
    assert times == [1, 2, 3, 6, 7, 8, 9]


@pytest.mark.parametrize("bad", [picture(1, (50, 64)), np.zeros(7), "no picture"], ids=["size", "vector", "text"])
def test_a_camera_whose_pictures_are_none_any_more_ends_and_the_others_go_on(tmp_path: Path, bad: Any) -> None:
    cameras = Cameras(opener(tmp_path / "v.mp4"), first=None)
    for step in range(10):
        cameras.put("wrist", bad if step == 4 else picture(step), step * STEP_NS)
        cameras.put("top", picture(step), step * STEP_NS)
    assert list(cameras.faults) == ["video.wrist"]
    assert not cameras.alive("wrist")
    assert cameras.alive("top")
    assert [camera["frames"] for camera in finish(cameras)["cameras"]] == [4, 10]


def test_without_a_picture_there_is_no_video(tmp_path: Path) -> None:
    cameras = Cameras(opener(tmp_path / "v.mp4"))
    cameras.put("render", None, 0)
    cameras.failed("render", "no GL")
    cameras.put("render", picture(1), STEP_NS)
    assert cameras.metadata() is None
    cameras.close()
    assert cameras.result(1.0) is None
    assert cameras.faults == {"video": "no GL"}
    assert not (tmp_path / "v.mp4").exists()


class Encoder:
    """An encoder whose answers to a frame are given: ns waited, -1 for a full ring, or an exception."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.waits: int | None = None
        self.cut_ns: int | None = None

    def add_camera(self, name: str, shape: tuple[int, int, int]) -> Encoder:
        return self

    def put(self, frame: Any, t_ns: int, *, wait: bool = True) -> int:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert wait == (answer >= 0)
        return answer

    def close(self, *, waits: int = 0, cut_ns: int | None = None) -> None:
        self.waits, self.cut_ns = waits, cut_ns

    def result(self, timeout_s: float) -> VideoResult:
        return VideoResult(None, "nobody is there")


def test_a_simulator_waits_and_the_wait_is_shown() -> None:
    encoder = Encoder(0, 1_500_000_000, 0, 250_000_000)
    cameras = Cameras(lambda: encoder, first=None)
    for step in range(4):
        cameras.put("render", picture(1), step)
    cameras.close(cut_ns=7)
    video = cameras.metadata()
    assert video is not None
    assert (video["waited_s"], video["frames_submitted"], encoder.waits, encoder.cut_ns) == (1.75, 4, 2, 7)


def test_a_robot_drops_the_frame_and_counts_it() -> None:
    encoder = Encoder(-1, -1, -1)
    cameras = Cameras(lambda: encoder, realtime=True, first=None)
    for step in range(3):
        cameras.put("render", picture(1), step)
    cameras.close()
    video = cameras.metadata()
    assert video is not None
    assert (video["cameras"][0]["dropped"], video["frames_submitted"], encoder.waits) == (3, 0, 3)


def test_a_dead_encoder_ends_every_camera_and_is_not_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    encoder = Encoder(0, 0, BrokenPipeError("the encoder process died"))
    cameras = Cameras(lambda: encoder, first=None)
    for step in range(4):
        cameras.put("render", picture(1), step)
        cameras.put("wrist", picture(1), step)
    assert set(cameras.faults) == {"video", "video.wrist"}
    assert all("died" in why for why in cameras.faults.values())


def test_where_nobody_is_left_to_say_the_file_is_counted() -> None:
    metadata = {
        "frames_submitted": 20,
        "waited_s": 0.0,
        "cameras": [{"name": "render", "frames_submitted": 10}, {"name": "wrist", "frames_submitted": 10}],
    }
    merged, missing = merge_result(metadata, VideoResult(None, "the encoder process died"), [8, 7])
    assert missing == {"video": "the encoder process died"}
    assert merged["frames"] == 15
    assert [camera["frames"] for camera in merged["cameras"]] == [8, 7]
    assert "preset" not in merged
    assert merge_result(metadata, VideoResult(None, "died"), [])[0]["frames"] == 0


def episode(tmp_path: Path, options: Options, steps: int, show: Callable[[Recording, int], None]) -> tuple[Any, Path]:
    """An episode's finalize metadata and its folder, recorded through the real process."""
    sealed: list[SealedEpisode] = []
    process = RecordingProcess(open_spool(tmp_path / "spool"), sealed.append)
    recording = Recording(
        process, EnvClock("dt", STEP_NS), lambda uuid: {"source": "sim", "metadata": {}}, options=options
    )
    recording.begin(np.zeros(2))
    show(recording, 0)
    for step in range(1, steps + 1):
        recording.act(0)
        recording.result(np.zeros(2), 0.0, False, step == steps)
        show(recording, step)
    recording.end("ready", {}, fps=50.0)
    assert process.drain(60.0)
    process.close(30.0)
    manifest = sealed[0].manifest()
    assert manifest is not None
    return manifest["finalize"]["metadata"], sealed[0].folder


def test_an_episode_says_what_became_of_each_camera(tmp_path: Path) -> None:
    def show(recording: Recording, step: int) -> None:
        recording.frame(picture(step, (100, 200)), "observation.wrist", lossy_of="observation.wrist")
        recording.frame(picture(step, (120, 160)))
        if step > 55:
            recording.frame(picture(step), "late")

    metadata, folder = episode(tmp_path, Options(video_size=100), 60, show)
    video = metadata["video"]
    assert video["preset"] in ("ultrafast", "superfast")
    assert video["waited_s"] >= 0
    told = [
        [camera.get(key) for key in ("name", "track", "width", "height", "frames", "dropped")]
        for camera in video["cameras"]
    ]
    assert told == [
        ["render", 0, 100, 74, 61, 0],
        ["observation.wrist", 1, 100, 50, 61, 0],
        ["late", None, None, None, 0, 0],
    ]
    assert video["frames"] == 122
    assert "more than a second" in metadata["incomplete"]["video.late"]
    assert titles(folder / "video.mp4") == ["render", "observation.wrist"]
    with av.open(str(folder / "video.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx(np.arange(61) * 0.02, abs=1e-6)


def test_the_video_of_the_last_seconds_is_in_memory_until_its_end(tmp_path: Path) -> None:
    metadata, folder = episode(
        tmp_path, Options(last_seconds=2.0), 300, lambda recording, step: recording.frame(picture(step % 200))
    )
    offset_ns = metadata["video"]["offset_ns"]
    assert offset_ns == 300 * STEP_NS - 2_000_000_000  # where the steps are cut
    with av.open(str(folder / "video.mp4")) as container:
        pictures = list(container.decode(video=0))
    assert 0.0 <= pictures[0].time <= 0.3  # the first keyframe from there on
    step = round(offset_ns / STEP_NS + pictures[0].time * 1e9 / STEP_NS)
    assert len(pictures) == metadata["video"]["frames"] == 301 - step
    assert metadata["video"]["frames_submitted"] == 301
    first = float(pictures[0].to_ndarray(format="rgb24").mean())
    assert first == pytest.approx(step % 200, abs=4)


@pytest.mark.parametrize("told_by", ["a step's length", "the simulator", "the wall clock"])
@pytest.mark.parametrize("calls", ["step_calls", "result"])
def test_a_picture_in_an_observation_has_the_time_it_was_seen(calls: str, told_by: str) -> None:
    simulated = iter([0.0, *(0.02 * k for k in range(9))])  # asked once more at the start: for the time that is 0
    clock = {
        "a step's length": EnvClock("dt", STEP_NS),
        "the simulator": EnvClock("data.time", STEP_NS, lambda: float(next(simulated))),
        "the wall clock": EnvClock("wall"),
    }[told_by]
    sealed: list[SealedEpisode] = []
    process = RecordingProcess(open_spool(), sealed.append)
    recording = Recording(process, clock, lambda uuid: {"source": "sim", "metadata": {}})

    def observe(step: int) -> dict[str, Any]:
        return {"wrist": picture(20 * step, (96, 128)), "at": np.full(2, step)}

    recording.begin(observe(0))
    before, after = recording.step_calls(None, lambda *_: None, pytest.fail)
    for step in range(1, 9):
        if calls == "step_calls":
            before(0)
            after((observe(step), 0.0, False, step == 8, {}))
        else:
            recording.act(0)
            recording.result(observe(step), 0.0, False, step == 8)
    recording.end("ready", {}, fps=50.0)
    assert process.close(60.0)
    with np.load(sealed[0].folder / "sensors.npz") as sensors:
        seen = sensors["observation.at/_t_ns"] / 1e9
        assert "observation.wrist/value" not in sensors.files
    with av.open(str(sealed[0].folder / "video.mp4")) as container:
        frames = list(container.decode(video=0))
    levels = [round(float(frame.to_ndarray(format="rgb24").mean()) / 20) for frame in frames]
    assert levels == list(range(9))
    assert [frame.time for frame in frames] == pytest.approx(seen, abs=1e-4)
