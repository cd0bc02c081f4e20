"""The times of a video's frames, by camera."""

import numpy as np
import pytest

from robotrace.serve.frame_times import VideoError, read_frame_times, read_tracks

from .portal_fixtures import HEIGHT, WIDTH, constant_rate, variable_rate, write_barcode_video, write_cameras


def test_a_constant_rate_video_has_evenly_spaced_frames(write_video):
    times = [number * 40 for number in range(50)]
    frames = read_frame_times(write_video(times))
    assert (frames.width, frames.height) == (32, 32)
    np.testing.assert_allclose(frames.times_ms[:-1], times, atol=0.1)
    assert frames.times_ms[-1] > times[-1]


def test_a_variable_rate_video_has_its_real_times(write_video):
    gaps = np.random.default_rng(0).integers(5, 200, 80)
    times = np.cumsum(gaps).tolist()
    frames = read_frame_times(write_video(times))
    np.testing.assert_allclose(frames.times_ms[:-1], times, atol=0.1)
    assert np.all(np.diff(frames.times_ms) > 0)


def test_frames_stored_out_of_order_are_in_the_order_they_are_shown(write_video):
    times = [number * 40 for number in range(30)]
    frames = read_frame_times(write_video(times, b_frames=3))
    assert len(frames.times_ms) == 31
    np.testing.assert_allclose(np.diff(frames.times_ms[:-1]), 40, atol=0.1)


def test_a_single_frame_is_a_video(write_video):
    frames = read_frame_times(write_video([0]))
    assert len(frames.times_ms) == 2


@pytest.mark.parametrize("killed", [False, True])
def test_of_several_cameras_the_first_one_counts(tmp_path, killed):
    times_s = variable_rate(200)
    write_barcode_video(tmp_path / "video.mp4", times_s, killed=killed, cameras=3)
    frames = read_frame_times(tmp_path / "video.mp4")
    assert (frames.width, frames.height) == (WIDTH, HEIGHT)
    found = frames.times_ms[:-1]
    assert len(found) > 150 if killed else len(found) == 200
    np.testing.assert_allclose(found, np.array(times_s[: len(found)]) * 1000, atol=0.001)


def test_each_track_has_its_own_name_and_times(tmp_path):
    cameras = {"front": constant_rate(60), "wrist": [0.5 + time_s for time_s in variable_rate(30)]}
    write_cameras(tmp_path / "video.mp4", cameras)
    tracks = read_tracks(tmp_path / "video.mp4")
    assert [(track.track, track.name) for track in tracks] == [(0, "front"), (1, "wrist")]
    for track, times_s in zip(tracks, cameras.values(), strict=True):
        np.testing.assert_allclose(track.times_ms[:-1], np.array(times_s) * 1000, atol=0.001)


def test_a_name_that_only_a_muxer_gave_is_none(write_video):
    assert [track.name for track in read_tracks(write_video([0, 40]))] == [""]


def test_a_stream_copied_file_that_was_cut_keeps_the_frames_it_has(write_video, tmp_path):
    whole = write_video([number * 40 for number in range(50)], name="whole.mkv").read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    frames = read_frame_times(cut)
    assert 1 < len(frames.times_ms) < 51


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0\0\0\x18ftypmp42" + b"\0" * 100])
def test_what_is_no_video_is_an_error_of_its_own(tmp_path, content):
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError):
        read_frame_times(path)


def test_a_missing_file_is_the_same_error(tmp_path):
    with pytest.raises(VideoError):
        read_frame_times(tmp_path / "nope.mp4")
