"""The cameras of an episode: tracks of one file and slots of their own, each with its times and a video that plays."""

from fractions import Fraction

import av
import httpx
import numpy as np
import pytest
from polling import eventually

from robotrace.serve.frame_times import read_frame_times

from .portal_fixtures import constant_rate, variable_rate, write_cameras

CAMERAS = {
    "front": constant_rate(40),
    "wrist": [0.5 + time_s for time_s in variable_rate(25)],
    "top": constant_rate(10, fps=10),
}


@pytest.fixture
def portal(deployment):
    with httpx.Client(base_url=deployment.base_url, timeout=60) as http:
        yield http


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Three cameras in one file."""
    path = tmp_path_factory.mktemp("cameras") / "video.mp4"
    write_cameras(path, CAMERAS)
    return path.read_bytes()


@pytest.fixture(scope="module")
def wrist(tmp_path_factory):
    """One camera in a file of its own."""
    path = tmp_path_factory.mktemp("camera") / "wrist.mp4"
    write_cameras(path, {"inner name": CAMERAS["wrist"]})
    return path.read_bytes()


@pytest.fixture
def write_tracks(tmp_path):
    """Writes 20 frames to each of several tracks, the further ones later by so many frames; returns the path."""

    def write(container, codec, *, tracks, b_frames=0, late=0):
        path = tmp_path / f"tracks.{container}"
        with av.open(str(path), "w") as file:
            streams = []
            for _ in range(tracks):
                stream = file.add_stream(codec, rate=30)
                stream.width = stream.height = 32
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = Fraction(1001, 30000)
                if codec == "libx264":
                    stream.options = {"bf": str(b_frames)}
                streams.append(stream)
            for number in range(20):
                for index, stream in enumerate(streams):
                    frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number * 12, np.uint8), format="rgb24")
                    frame.pts, frame.time_base = number + late * index, Fraction(1001, 30000)
                    file.mux(stream.encode(frame))
            for stream in streams:
                file.mux(stream.encode(None))
        return path

    return write


def view_of(portal, episode_id):
    answer = portal.get(f"/portal/episodes/{episode_id}.json")
    assert answer.status_code == 200, answer.text
    return answer.json()


def times_ms(portal, camera):
    return np.frombuffer(portal.get(camera["frames_url"]).content, "<f8")[:-1]


def test_every_track_is_a_camera_with_times_and_a_video_of_its_own(portal, api, tracks, tmp_path):
    view = view_of(portal, api.record({"video": tracks}))
    assert [(camera["key"], camera["name"]) for camera in view["cameras"]] == [
        ("video", "front"),
        ("video:1", "wrist"),
        ("video:2", "top"),
    ]
    assert view["video"] == view["cameras"][0]
    for camera, wanted_s in zip(view["cameras"], CAMERAS.values(), strict=True):
        wanted = np.round(np.array(wanted_s) * 1e6) / 1000
        assert camera["frame_count"] == len(wanted)
        np.testing.assert_array_equal(times_ms(portal, camera), wanted)
        # What a browser plays is the first track: it has these very times.
        alone = tmp_path / "alone.mp4"
        alone.write_bytes(portal.get(camera["url"]).content)
        np.testing.assert_array_equal(read_frame_times(alone).times_ms[:-1], wanted)


def test_a_track_comes_in_parts_and_is_copied_once(portal, api, tracks, settings):
    before = set(settings.cameras_dir.glob("*"))
    url = view_of(portal, api.record({"video": tracks}))["cameras"][1]["url"]
    whole = portal.get(url)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    part = portal.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    # The table of frames comes first, so that it plays while it is still loading.
    assert whole.content.index(b"moov") < whole.content.index(b"mdat")
    assert len(set(settings.cameras_dir.glob("*")) - before) == 1


def test_slots_are_cameras_under_the_names_of_the_slots(portal, api, wrist, tracks):
    view = view_of(portal, api.record({"video.wrist": wrist, "video.left": wrist}))
    assert [(camera["key"], camera["name"]) for camera in view["cameras"]] == [
        ("video.left", "left"),
        ("video.wrist", "wrist"),
    ]
    assert view["video"] == view["cameras"][0]
    both = view_of(portal, api.record({"video": wrist, "video.wrist": tracks}))
    assert [camera["name"] for camera in both["cameras"]] == ["inner name", "wrist front", "wrist wrist", "wrist top"]
    page = portal.get(f"/portal/episodes/{both['episode']['id']}").text
    assert page.count("<figure") == 4


def test_cameras_of_the_same_name_are_told_apart(portal, api, wrist, tmp_path):
    view = view_of(portal, api.record({"video": wrist, "video.wrist": wrist}))
    assert [camera["name"] for camera in view["cameras"]] == ["inner name", "wrist"]


def test_a_file_that_cannot_be_read_takes_no_other_camera_along(portal, api, wrist):
    view = view_of(portal, api.record({"video": b"no video", "video.wrist": wrist, "video.top": wrist[:200]}))
    assert [camera["key"] for camera in view["cameras"]] == ["video.wrist"]


def test_a_file_whose_object_is_gone_is_shown_without(portal, api, wrist, lose):
    episode_id = api.record({"video": wrist, "video.wrist": wrist + b"\0"})
    lose(episode_id, "video.wrist")
    assert portal.get(f"/portal/episodes/{episode_id}").status_code == 200


@pytest.mark.parametrize("camera", ["video:7", "video.nope", "nonsense", "video:1:1"])
def test_there_is_no_other_camera(portal, api, tracks, camera):
    episode_id = api.record({"video": tracks})
    for tail in ("frames.bin", "camera.mp4"):
        answer = portal.get(f"/portal/episodes/{episode_id}/{tail}", params={"camera": camera})
        assert (answer.status_code, answer.json()) == (404, {"error": "there is no such camera"})


def test_a_track_that_fits_into_no_mp4_is_422_and_its_times_are_there(portal, api, write_tracks):
    view = view_of(portal, api.record({"video": write_tracks("webm", "libvpx", tracks=2).read_bytes()}))
    (_, second) = view["cameras"]
    assert len(times_ms(portal, second)) == 20
    answer = portal.get(second["url"])
    assert answer.status_code == 422
    assert "no video of its own" in answer.json()["error"]


@pytest.mark.parametrize(("container", "b_frames"), [("mp4", 0), ("mp4", 2), ("mkv", 2)])
def test_a_track_of_any_other_writer_keeps_its_times_exactly(portal, api, write_tracks, tmp_path, container, b_frames):
    content = write_tracks(container, "libx264", tracks=2, b_frames=b_frames, late=7).read_bytes()
    second = view_of(portal, api.record({"video": content}))["cameras"][1]
    answer = portal.get(second["url"])
    assert answer.status_code == 200, answer.text
    alone = tmp_path / "alone.mp4"
    alone.write_bytes(answer.content)
    np.testing.assert_array_equal(read_frame_times(alone).times_ms[:-1], times_ms(portal, second))
    assert times_ms(portal, second)[0] > 0


def test_a_video_replaced_while_recording_has_new_tracks(portal, api, tracks, tmp_path, objects_dir):
    created = api.create(request_uploads=["video"])
    url = f"/portal/episodes/{created['episode_id']}/camera.mp4"
    api.put(created, "video", tracks)
    first = portal.get(url, params={"camera": "video:1"}).content
    write_cameras(tmp_path / "v.mp4", {"front": constant_rate(40), "wrist": constant_rate(33)})
    api.put(created, "video", (tmp_path / "v.mp4").read_bytes())
    assert portal.get(url, params={"camera": "video:1"}).content != first
    assert portal.get(url, params={"camera": "video:2"}).status_code == 404


def test_a_deleted_episode_leaves_no_track(portal, api, tracks, settings):
    episode_id = api.record({"video": tracks})
    before = set(settings.cameras_dir.glob("*"))
    assert portal.get(view_of(portal, episode_id)["cameras"][2]["url"]).status_code == 200
    assert len(set(settings.cameras_dir.glob("*")) - before) == 1
    assert api.http.delete(f"/api/episodes/{episode_id}").is_success
    eventually(lambda: set(settings.cameras_dir.glob("*")) == before)
