from __future__ import annotations

from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
av = pytest.importorskip("av")

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
