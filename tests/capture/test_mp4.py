from __future__ import annotations

import re
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
av = pytest.importorskip("av")

from robotrace.capture import mp4  # noqa: E402
from robotrace.capture.frames import as_rgb  # noqa: E402
from robotrace.capture.mp4 import Mp4Writer, count_frames  # noqa: E402

STEP_NS = 20_000_000


def write(path: Path, frames: list[object], stamps: list[int] | None = None) -> None:
    height, width, _ = frames[0].shape  # type: ignore[attr-defined]
    writer = Mp4Writer(path, STEP_NS)
    writer.add_camera("render", width, height)
    for index, frame in enumerate(frames):
        writer.add(frame, stamps[index] if stamps else index * STEP_NS)  # type: ignore[arg-type]
    writer.close()


def flat(value: tuple[int, int, int], size: tuple[int, int] = (48, 64)) -> object:
    return np.full((*size, 3), value, np.uint8)


def decode(path: Path) -> tuple[list[object], list[int]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [frame.to_ndarray(format="rgb24") for frame in frames], [
            round(frame.pts * float(frame.time_base) * 1e6) for frame in frames
        ]


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (17, 99, 200)])
def test_red_is_red(tmp_path: Path, color: tuple[int, int, int]) -> None:
    write(tmp_path / "v.mp4", [flat(color)] * 3)
    pictures, _ = decode(tmp_path / "v.mp4")
    for picture in pictures:
        assert np.abs(picture.astype(int) - color).max() <= 4  # type: ignore[attr-defined]


def test_every_frame_arrives_once_in_order_at_its_time(tmp_path: Path) -> None:
    levels = [(7 * k) % 256 for k in range(130)]
    stamps = [k * STEP_NS + (k % 5) * 3_000_000 + (400_000_000 if k > 60 else 0) for k in range(130)]
    write(tmp_path / "v.mp4", [flat((level,) * 3) for level in levels], stamps)
    pictures, times = decode(tmp_path / "v.mp4")
    assert times == [round(stamp / 1000) for stamp in stamps]
    assert len(pictures) == 130
    for picture, level in zip(pictures, levels, strict=True):
        assert abs(float(picture.mean()) - level) < 6  # type: ignore[attr-defined]


def test_no_b_frames_and_a_keyframe_a_second(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", [flat((k, 0, 0)) for k in range(150)])
    with av.open(str(tmp_path / "v.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.color_range == 1
    assert all(packet.pts == packet.dts for packet in packets)
    assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == [0, 50, 100]


@pytest.mark.parametrize("size", [(47, 63), (48, 63), (47, 64), (1, 1), (2, 200)])
def test_odd_sizes_are_padded_with_their_own_edge(tmp_path: Path, size: tuple[int, int]) -> None:
    write(tmp_path / "v.mp4", [flat((200, 30, 30), size)] * 2)
    pictures, _ = decode(tmp_path / "v.mp4")
    assert pictures[0].shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)  # type: ignore[attr-defined]
    assert np.abs(pictures[0].astype(int) - (200, 30, 30)).max() <= 6  # type: ignore[attr-defined]


def test_stamps_that_stand_still_are_kept_apart(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", [flat((9, 9, 9))] * 4, [0, 0, 0, STEP_NS])
    _, times = decode(tmp_path / "v.mp4")
    assert times == [0, 4, 8, 20_000]


def test_a_file_that_was_never_closed_plays_what_was_encoded(tmp_path: Path) -> None:
    writer = Mp4Writer(tmp_path / "v.mp4", STEP_NS)
    writer.add_camera("render", 64, 48)
    for index in range(120):
        writer.add(flat((index, index, index)), index * STEP_NS)  # type: ignore[arg-type]
    content = (tmp_path / "v.mp4").read_bytes()
    writer.close()
    (tmp_path / "cut.mp4").write_bytes(content)
    pictures, _ = decode(tmp_path / "cut.mp4")
    assert len(pictures) >= 100  # all but the open fragment of the last second
    assert count_frames(tmp_path / "cut.mp4") == [len(pictures)]
    assert count_frames(tmp_path / "v.mp4") == [120]


@pytest.mark.parametrize("content", [None, b"", b"no video at all"])
def test_a_file_that_is_no_video_holds_no_frames(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "v.mp4").write_bytes(content)
    assert count_frames(tmp_path / "v.mp4") == []


def tracks(path: Path) -> list[tuple[str, list[float], list[float]]]:
    """(title, times in s, mean levels) of each track."""
    found = []
    with av.open(str(path)) as container:
        for stream in container.streams.video:
            container.seek(0)
            pictures = list(container.decode(stream))
            levels = [float(picture.to_ndarray(format="rgb24").mean()) for picture in pictures]
            found.append((stream.metadata["handler_name"], [picture.time for picture in pictures], levels))
    return found


@pytest.mark.parametrize("ending", ["closed", "remuxed", "killed"])
def test_cameras_of_other_sizes_and_rates_keep_their_own_clock(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second one begins at 0.3001 s: a track that begins late is neither moved to 0 nor rounded to a millisecond.
    path = tmp_path / "v.mp4"
    if ending == "remuxed":  # as with an older FFmpeg
        monkeypatch.setattr(mp4, "_HYBRID_SINCE", (999, 0, 0))
        monkeypatch.setattr(mp4, "_HYBRID_LATE_SINCE", (999, 0, 0))
    writer = Mp4Writer(path, STEP_NS)
    writer.add_camera("render", 64, 48)
    expected: list[list[int]] = [[], []]
    for index in range(200):
        writer.add(flat((index,) * 3), index * STEP_NS)  # type: ignore[arg-type]
        expected[0].append(index * STEP_NS)
        if index == 15:
            assert writer.add_camera("wrist", 30, 70) == 1
        if index >= 15 and index % 3 == 0:
            writer.add(flat((255 - index,) * 3, (70, 30)), index * STEP_NS + 100_000, 1)  # type: ignore[arg-type]
            expected[1].append(index * STEP_NS + 100_000)
    content = path.read_bytes()
    writer.close()
    if ending == "killed":
        path.write_bytes(content)
    for number, (title, times, levels) in enumerate(tracks(path)):
        assert title == ("render", "wrist")[number]
        stamps = expected[number]
        assert len(times) == len(stamps) if ending != "killed" else len(stamps) * 0.7 < len(times) <= len(stamps)
        assert [round(time * 1e9) for time in times] == pytest.approx(stamps[: len(times)], abs=1000)
        for stamp, level in zip(stamps, levels, strict=False):
            index = stamp // STEP_NS
            assert abs(level - (255 - index if number else index)) < 6
    counts = count_frames(path)
    assert counts == [len(times) for _, times, _ in tracks(path)]


def test_the_first_track_is_the_one_a_player_shows(tmp_path: Path) -> None:
    writer = Mp4Writer(tmp_path / "v.mp4", STEP_NS)
    for name in ("render", "wrist", "top"):
        writer.add_camera(name, 64, 48)
    for index in range(60):
        for track in range(3):
            writer.add(flat((index,) * 3), index * STEP_NS, track)  # type: ignore[arg-type]
    writer.close()
    content = (tmp_path / "v.mp4").read_bytes()
    enabled = [content[found.end() + 3] & 1 for found in re.finditer(b"tkhd", content)]  # the flag track_enabled
    assert enabled[-3:] == [1, 0, 0]


def test_cameras_can_join_for_a_second_and_no_longer(tmp_path: Path) -> None:
    writer = Mp4Writer(tmp_path / "v.mp4", STEP_NS)
    writer.add_camera("render", 64, 48)
    for index in range(51):
        writer.add(flat((9, 9, 9)), index * STEP_NS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="more than a second"):
        writer.add_camera("late", 64, 48)
    writer.close()
    assert count_frames(tmp_path / "v.mp4") == [51]


def test_what_is_held_back_for_the_tracks_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    # Mechanism: with steps of 10 µs the first second of the episode has 100,000 frames.
    rng = np.random.default_rng(0)
    writer = Mp4Writer(tmp_path / "v.mp4", 10_000)
    writer.add_camera("render", 640, 480)
    for index in range(70):
        writer.add(rng.integers(0, 255, (480, 640, 3), np.uint8), index * 10_000)
    assert writer._started
    writer.close()
    assert count_frames(tmp_path / "v.mp4") == [70]


@pytest.mark.parametrize(
    ("size", "max_edge", "expected"),
    [
        ((480, 640), 320, (240, 320)),
        ((480, 640), 321, (240, 320)),
        ((640, 480), 100, (100, 74)),
        ((480, 640), 640, (480, 640)),
        ((480, 640), None, (480, 640)),
        ((47, 63), 63, (48, 64)),
        ((1000, 3), 100, (100, 2)),
    ],
)
def test_larger_frames_are_scaled_down_to_even_sizes(
    tmp_path: Path, size: tuple[int, int], max_edge: int | None, expected: tuple[int, int]
) -> None:
    writer = Mp4Writer(tmp_path / "v.mp4", STEP_NS, max_edge=max_edge)
    writer.add_camera("render", size[1], size[0])
    height = np.arange(size[0])[:, None, None]
    frame = np.broadcast_to(np.where(height < size[0] // 2, 30, 220), (*size, 3)).astype(np.uint8)
    for index in range(3):
        writer.add(frame, index * STEP_NS)
    writer.close()
    pictures, _ = decode(tmp_path / "v.mp4")
    picture: np.ndarray = pictures[0]  # type: ignore[assignment]
    assert picture.shape == (*expected, 3)
    assert (writer.tracks[0].height, writer.tracks[0].width) == expected
    assert abs(float(picture[: expected[0] // 2 - 2].mean()) - 30) < 8
    assert abs(float(picture[expected[0] // 2 + 2 :].mean()) - 220) < 8


@pytest.mark.parametrize("preset", ["ultrafast", "superfast", "veryfast"])
def test_every_preset_keeps_every_frame_exactly_seekable(tmp_path: Path, preset: str) -> None:
    writer = Mp4Writer(tmp_path / "v.mp4", STEP_NS, preset=preset)
    writer.add_camera("render", 64, 48)
    for index in range(120):
        writer.add(flat((2 * index,) * 3), index * STEP_NS)  # type: ignore[arg-type]
    writer.close()
    with av.open(str(tmp_path / "v.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    assert all(packet.pts == packet.dts for packet in packets)
    assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == [0, 50, 100]
    pictures, _ = decode(tmp_path / "v.mp4")
    assert all(abs(float(picture.mean()) - 2 * index) < 6 for index, picture in enumerate(pictures))  # type: ignore[attr-defined]


GRADIENT = np.stack(np.broadcast_arrays(np.arange(64)[:, None] * 3, np.arange(96)[None] * 2, 90), axis=-1).astype("u1")


@pytest.mark.parametrize(
    ("frame", "color"),
    [
        (GRADIENT, True),
        (GRADIENT[::-1], True),
        (GRADIENT[:, ::-1], True),
        (GRADIENT.transpose(2, 0, 1), True),
        (np.dstack([GRADIENT, np.zeros(GRADIENT.shape[:2], np.uint8)]), True),
        (GRADIENT.astype(np.float32) / 255, True),
        (GRADIENT[:, :, 0], False),
        (GRADIENT[:, :, :1], False),
        (GRADIENT[:63, :95], True),
    ],
    ids=["rgb", "flipped", "mirrored", "channels first", "rgba", "float", "grey", "grey 1", "odd"],
)
def test_what_is_decoded_is_what_was_given(tmp_path: Path, frame: np.ndarray, color: bool) -> None:
    rgb = as_rgb(frame)
    write(tmp_path / "v.mp4", [rgb] * 3)
    pictures, _ = decode(tmp_path / "v.mp4")
    picture: np.ndarray = pictures[1][: rgb.shape[0], : rgb.shape[1]]  # type: ignore[index]
    difference = np.abs(picture.astype(int) - rgb)
    assert difference.mean() < 3
    assert difference.max() < 24


def window(path: Path, seconds: float, frames: int, cut_ns: int | None, step_ns: int = STEP_NS) -> int:
    writer = Mp4Writer(path, step_ns, window_ns=round(seconds * 1e9))
    writer.add_camera("render", 64, 48)
    writer.add_camera("slow", 64, 48)
    for index in range(frames):
        writer.add(flat((index % 200,) * 3), index * step_ns)  # type: ignore[arg-type]
        if index % 10 == 0:
            writer.add(flat((index % 200,) * 3), index * step_ns, 1)  # type: ignore[arg-type]
    kept = sum(packet.size for track in writer.tracks for group in track.groups for packet in group)
    assert kept < 200_000
    return writer.close(cut_ns)


@pytest.mark.parametrize("frames", [40, 500, 3000])
def test_only_the_last_seconds_are_kept_and_begin_where_they_were_cut(tmp_path: Path, frames: int) -> None:
    end_ns = (frames - 1) * STEP_NS
    cut_ns = max(0, end_ns - 3_000_000_000)
    assert window(tmp_path / "v.mp4", 3.0, frames, cut_ns) == cut_ns
    (_, times, levels), (_, slow_times, slow_levels) = tracks(tmp_path / "v.mp4")
    assert times[-1] == pytest.approx((end_ns - cut_ns) / 1e9, abs=1e-6)
    assert times[0] <= 3.0 / 8 + 0.02  # cut at a keyframe, of which there are eight
    for some_times, some_levels in ((times, levels), (slow_times, slow_levels)):
        for time, level in zip(some_times, some_levels, strict=True):
            assert abs(level - (cut_ns + round(time * 1e9)) // 1000 / 20_000 % 200) < 7
    assert len(times) == round((times[-1] - times[0]) / 0.02) + 1
    assert len(slow_times) >= 10 or frames == 40


def test_without_a_cut_the_window_says_where_it_begins(tmp_path: Path) -> None:
    end_ns = 499 * STEP_NS
    offset_ns = window(tmp_path / "v.mp4", 3.0, 500, None)
    assert end_ns - 3_000_000_000 <= offset_ns <= end_ns - 2_600_000_000
    (_, times, _), _ = tracks(tmp_path / "v.mp4")
    assert times[0] == 0.0
    assert times[-1] == pytest.approx((end_ns - offset_ns) / 1e9, abs=1e-6)
    assert window(tmp_path / "short.mp4", 3.0, 40, None) == 0
    assert [len(times) for _, times, _ in tracks(tmp_path / "short.mp4")] == [40, 4]
