"""Streams and cameras into the files of an episode, whatever the order and the shape in which they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")

import numpy as np
from numbered import arrays, encoded, number_in, picture, tracks, write_video

from robotrace.adapters._encoding import EpisodeWriter
from robotrace.adapters._pictures import decode_picture


def written(folder: Path, fill: Any, **closing: Any) -> Any:
    with EpisodeWriter(folder, canonical="front") as writer:
        fill(writer)
        return writer.close(**closing)


def sensors(folder: Path, fill: Any) -> dict[str, np.ndarray]:
    episode = written(folder, fill)
    assert episode.sensors is not None
    return arrays(episode.sensors.path)


@pytest.mark.parametrize(
    "dtype", ["bool", "u1", "<i2", ">i4", "<i8", "<u8", "<f2", "<f4", ">f8", "<c16", "S5", "<M8[ns]"]
)
def test_dtype_and_shape_are_kept_over_many_blocks(tmp_path: Path, dtype: str) -> None:
    values = np.arange(30_000).reshape(5_000, 3, 2).astype(dtype)

    def fill(writer: EpisodeWriter) -> None:
        for begin in range(0, 5_000, 700):
            stamps = np.arange(begin, min(begin + 700, 5_000)) * 10
            writer.append("s", values[begin : begin + 700], stamps)

    found = sensors(tmp_path, fill)
    assert found["s/value"].dtype == values.dtype.newbyteorder("<")
    assert (found["s/value"] == values).all()
    assert found["s/_t_ns"].tolist() == list(range(0, 50_000, 10))


def test_a_stream_that_changes_goes_on_beside_itself(tmp_path: Path) -> None:
    def fill(writer: EpisodeWriter) -> None:
        writer.append("s", np.zeros((2, 3)), [0, 1])
        writer.append("s", np.ones((2, 4)), [2, 3])
        writer.append("s", np.ones((1, 4), np.float32), [4])

    found = sensors(tmp_path, fill)
    assert [found[f"s{number}/value"].shape for number in ("", "#1", "#2")] == [(2, 3), (2, 4), (1, 4)]
    assert [found[f"s{number}/_t_ns"].tolist() for number in ("#1", "#2")] == [[2, 3], [4]]
    assert found["s/_t_ns"].tolist()[:2] == [0, 1]


def test_a_field_that_is_not_in_every_row_has_a_clock_of_its_own(tmp_path: Path) -> None:
    def fill(writer: EpisodeWriter) -> None:
        writer.append_fields("joints", {"position": [1.0, 2.0]}, [0, 10])
        writer.append_fields("joints", {"position": [3.0], "effort": [7.0]}, [20])
        writer.append_fields("joints", {"effort": [8.0]}, [30])
        writer.append_fields("joints", {"position": [5.0]}, [40])

    found = sensors(tmp_path, fill)
    assert found["joints/_t_ns"].tolist() == [0, 10, 20, 30, 40]
    assert found["joints/position"].tolist() == [1.0, 2.0, 3.0]
    assert found["joints/effort/value"].tolist() == [7.0, 8.0]
    assert found["joints/effort/_t_ns"].tolist() == [20, 30]
    assert (found["joints/position#1/value"].tolist(), found["joints/position#1/_t_ns"].tolist()) == ([5.0], [40])


def test_rows_of_several_lengths_and_texts_keep_their_ends(tmp_path: Path) -> None:
    def fill(writer: EpisodeWriter) -> None:
        writer.append_ragged("scan", [[1.0, 2.0], [], [3.0]], [0, 1, 2])
        writer.append_ragged("said", ["é", "", "go"], [0, 1, 2])

    found = sensors(tmp_path, fill)
    assert (found["scan/value"].tolist(), found["scan/_offsets"].tolist()) == ([1.0, 2.0, 3.0], [0, 2, 2, 3])
    assert (found["said/value"].tobytes().decode(), found["said/_offsets"].tolist()) == ("égo", [0, 2, 2, 4])


@pytest.mark.parametrize(
    ("values", "stamps", "said"),
    [
        (np.array([object()]), [0], "cannot be kept without pickle"),
        ([1.0, 2.0], [0], "2 rows and 1 stamps"),
        (3.0, [0], "no rows"),
        ([1.0], [0.5], "stamps are int64"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, values: Any, stamps: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        written(tmp_path, lambda writer: writer.append("s", values, stamps))
    assert not list(tmp_path.iterdir())


def test_cameras_keep_their_own_rates_and_may_begin_late(tmp_path: Path) -> None:
    def fill(writer: EpisodeWriter) -> None:
        for k in range(10):
            writer.frame("side", picture(k), k * 100_000_001)
        for k in range(4):
            writer.frame("front", picture(50 + k)[:80], 5_000_000_000 + k * 33_333_333)

    episode = written(tmp_path, fill)
    assert episode.video is not None
    assert episode.sensors is not None
    shown = tracks(episode.video.path)
    assert list(shown) == ["front", "side"]
    assert shown["side"] == [(k * 100_000, k) for k in range(10)]
    assert shown["front"] == [(5_000_000 + round(k * 33_333.333), 50 + k) for k in range(4)]
    # The video is in whole microseconds, these are exact.
    assert arrays(episode.sensors.path)["side/_t_ns"].tolist() == [k * 100_000_001 for k in range(10)]


def test_a_picture_of_another_size_ends_its_camera_alone(tmp_path: Path) -> None:
    def fill(writer: EpisodeWriter) -> None:
        for k in range(4):
            writer.frame("front", picture(k)[: 96 if k < 2 else 64], k * 100_000_000)
            writer.frame("side", picture(k), k * 100_000_000)

    episode = written(tmp_path, fill)
    assert episode.video is not None
    shown = tracks(episode.video.path)
    assert [len(shown["front"]), len(shown["side"])] == [2, 4]
    assert episode.metadata["incomplete"] == {
        "video.front": "the frame size changed from (96, 128, 3) to (64, 128, 3) at 0.2 s"
    }
    assert [camera["missing"] for camera in episode.metadata["video"]["cameras"]] == [2, 0]


def test_files_of_an_earlier_episode_are_replaced_and_those_of_others_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    written(tmp_path, lambda writer: writer.frame("front", picture(1), 0))
    episode = written(tmp_path, lambda writer: writer.append("a", [1.0], [0], artifact="actions"))
    assert (episode.video, episode.sensors) == (None, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["actions.npz", "notes.txt"]


def test_an_exception_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    written(tmp_path, lambda writer: writer.append("a", [1.0], [0]))

    def fill(writer: EpisodeWriter) -> None:
        writer.frame("front", picture(1), 0)
        writer.append("a", [2.0], [0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, fill)
    assert [path.name for path in tmp_path.iterdir()] == ["sensors.npz"]
    assert arrays(tmp_path / "sensors.npz")["a/value"].tolist() == [1.0]


def test_a_video_whose_frames_are_fewer_is_not_copied(tmp_path: Path) -> None:
    write_video(tmp_path / "in.mp4", [picture(k) for k in range(5)], 10, bf="0")
    with EpisodeWriter(tmp_path / "out") as writer:
        assert not writer.copy_video("front", tmp_path / "in.mp4", -0.05, 0.95, list(range(10)))
        assert writer.copy_video("front", tmp_path / "in.mp4", -0.05, 0.45, [0, 10**8, 3 * 10**8, 4 * 10**8, 9 * 10**8])
        episode = writer.close()
    assert episode.video is not None
    expected = [(stamp, number) for number, stamp in enumerate((0, 100_000, 300_000, 400_000, 900_000))]
    assert tracks(episode.video.path) == {"front": expected}


def test_compressed_pictures_are_read_as_they_were() -> None:
    for codec in ("png", "mjpeg"):
        assert number_in(decode_picture(encoded(picture(77), codec) + bytes(50))) == 77
    depth = np.random.default_rng(0).integers(0, 65535, (32, 48), np.uint16)
    np.testing.assert_array_equal(decode_picture(encoded(depth)), depth, strict=True)
    with pytest.raises(ValueError, match="61626364 are no JPEG, PNG, BMP or TIFF picture"):
        decode_picture(b"abcdef")
    with pytest.raises(ValueError, match="png picture of 60 bytes"):
        decode_picture(encoded(picture(1))[:60])
