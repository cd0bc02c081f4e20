"""HDF5 files, written with h5py in the layouts of robomimic and ALOHA, as episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

h5py = pytest.importorskip("h5py")

import numpy as np  # noqa: E402
from numbered import arrays, encoded, number_in, peak_bytes, picture, tracks  # noqa: E402

from robotrace.adapters.hdf5 import encode_episode, scan_file, upload_dataset, upload_episode  # noqa: E402
from robotrace.adapters.hdf5._values import as_number, stamps_from  # noqa: E402
from robotrace.client import Client  # noqa: E402
from robotrace.deliver.spool import open_spool  # noqa: E402
from robotrace.errors import ConfigurationError, RobotraceError  # noqa: E402
from robotrace.evals import extract_outcome  # noqa: E402
from robotrace.testing import Fault, FaultServer  # noqa: E402

_ENV_ARGS = {
    "env_name": "Lift",
    "env_version": "1.4.1",
    "type": 1,
    "env_kwargs": {"control_freq": 25, "reward_shaping": False},
}


def robomimic(path: Path, lengths: tuple[int, ...] = (6, 4), *, env_args: Any = _ENV_ARGS) -> Path:
    """As robomimic's collection scripts write it; ``demo_10`` comes before ``demo_2`` in the file's own order."""
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(lengths)
        if env_args is not None:
            data.attrs["env_args"] = json.dumps(env_args)
        for number, length in zip((2, 10, 11, 12), lengths, strict=False):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = length
            demo.attrs["model_file"] = "<mujoco>" + " " * 5000 + "</mujoco>"
            demo["actions"] = rng.uniform(-1, 1, (length, 7))
            demo["states"] = rng.normal(size=(length, 32))
            demo["rewards"] = np.eye(1, length, length - 1)[0] if number == 2 else np.zeros(length)
            demo["dones"] = np.arange(length) == length - 1
            obs = demo.create_group("obs")
            obs["robot0_eef_pos"] = rng.normal(size=(length, 3)).astype(np.float32)
            obs["agentview_image"] = np.stack([picture(number * 10 + k) for k in range(length)])
            obs["robot0_eye_in_hand_image"] = rng.integers(0, 255, (length, 84, 84, 3), np.uint8)
            obs["agentview_depth"] = rng.uniform(0, 4, (length, 96, 128, 1)).astype(np.float32)
            demo.create_group("next_obs")["robot0_eef_pos"] = rng.normal(size=(length, 3)).astype(np.float32)
    return path


def aloha(path: Path, *, frames: int = 8, compress: bool = True, **attributes: Any) -> Path:
    """As ALOHA's ``record_episodes.py`` writes it: compressed pictures are rows padded to the longest one's length."""
    with h5py.File(path, "w") as file:
        file.attrs["sim"] = np.bool_(False)
        file.attrs["compress"] = compress
        file.attrs.update(attributes)
        observations = file.create_group("observations")
        observations["qpos"] = np.linspace(0, 1, frames * 14).reshape(frames, 14)
        observations["qvel"] = np.zeros((frames, 14))
        observations["effort"] = np.ones((frames, 14), np.float16)
        images = observations.create_group("images")
        lengths = []
        for offset, camera in enumerate(("cam_high", "cam_left_wrist")):
            shown = [picture(100 * offset + k) for k in range(frames)]
            if compress:
                rows = [np.frombuffer(encoded(frame, "mjpeg"), np.uint8) for frame in shown]
                longest = max(map(len, rows)) + 40
                lengths.append([len(row) for row in rows])
                images[camera] = np.stack([np.pad(row, (0, longest - len(row))) for row in rows])
            else:
                images[camera] = np.stack(shown)
        if compress:
            file["compress_len"] = np.array(lengths)
        file["action"] = np.linspace(1, 2, frames * 14).reshape(frames, 14)
    return path


@pytest.fixture
def ingest() -> Any:
    with FaultServer() as server:
        yield server


@pytest.fixture
def client(ingest: FaultServer) -> Any:
    with Client(base_url=ingest.url, api_key="rt_test") as made:
        yield made


@pytest.fixture
def configured(ingest: FaultServer, monkeypatch: pytest.MonkeyPatch) -> FaultServer:
    monkeypatch.setenv("ROBOTRACE_BASE_URL", ingest.url)
    monkeypatch.setenv("ROBOTRACE_API_KEY", "rt_test")
    return ingest


def waiting() -> list[dict[str, Any]]:
    return [manifest for entry in open_spool().sealed_episodes() if (manifest := entry.manifest()) is not None]


# --- scanning


def test_a_file_is_described_and_its_demos_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    summary = scan_file(robomimic(tmp_path / "low.hdf5"))
    assert [episode.name for episode in summary.episodes] == ["demo_2", "demo_10"]
    assert [episode.length for episode in summary.episodes] == [6, 4]
    assert (summary.layout, summary.fps, summary.fps_from) == ("robomimic", 25.0, "file")
    assert summary.episodes[0].cameras == ("obs/agentview_image", "obs/robot0_eye_in_hand_image")
    assert summary.episodes[0].streams["obs/robot0_eef_pos"] == ("float32", (3,))
    assert "obs/agentview_image" not in summary.episodes[0].streams
    assert "low.hdf5: HDF5 (robomimic), 2 episodes, 10 rows at 25 fps" in summary.report()


@pytest.mark.parametrize(
    "value", [30, np.float32(30), np.int16(30), np.array(30.0), np.array([30]), b"30", "30.0", np.bytes_(b"30")]
)
def test_a_rate_of_any_type_is_taken(tmp_path: Path, value: Any) -> None:
    assert as_number(value) == 30.0
    assert scan_file(aloha(tmp_path / "a.hdf5", frames=2, fps=value)).fps == 30.0
    assert scan_file(tmp_path / "a.hdf5", fps=np.float32(12.5)).fps == 12.5


def test_a_rate_that_nobody_tells_is_said_to_be_a_guess(tmp_path: Path) -> None:
    summary = scan_file(aloha(tmp_path / "a.hdf5", frames=2))
    assert (summary.fps, summary.fps_from) == (50.0, "default")
    episode = encode_episode(tmp_path / "a.hdf5", tmp_path / "out")
    assert episode.metadata["hdf5"]["clock"] == "counted at 50 fps, which the file does not say"


@pytest.mark.parametrize("fps", [0, -1, float("nan"), True, "fast"])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, fps: Any) -> None:
    with pytest.raises(ConfigurationError, match="fps must be a number above 0"):
        scan_file(aloha(tmp_path / "a.hdf5", frames=2), fps=fps)


def test_a_file_of_another_layout_is_refused_by_what_is_in_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(RobotraceError, match=r"x\.h5 is laid out neither as robomimic .* it has weights"):
        scan_file(tmp_path / "x.h5")
    with pytest.raises(ConfigurationError, match="is no file"):
        scan_file(tmp_path / "none.h5")


# --- what comes out is what went in


def test_robomimic_arrays_come_out_as_they_went_in(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "low.hdf5")
    episode = encode_episode(path, tmp_path / "out", episode_index=1)
    assert episode.sensors is not None
    assert episode.actions is not None
    sensors, actions = arrays(episode.sensors.path), arrays(episode.actions.path)
    stamps = np.arange(4) * 40_000_000
    with h5py.File(path) as file:
        demo = file["data/demo_10"]
        for name in (
            "states",
            "rewards",
            "dones",
            "obs/robot0_eef_pos",
            "obs/robot0_eye_in_hand_image",
            "obs/agentview_depth",
            "next_obs/robot0_eef_pos",
        ):
            np.testing.assert_array_equal(sensors[f"{name}/value"], demo[name][()], strict=True)
            np.testing.assert_array_equal(sensors[f"{name}/_t_ns"], stamps, strict=True)
        np.testing.assert_array_equal(actions["actions/value"], demo["actions"][()], strict=True)
    np.testing.assert_array_equal(actions["actions/_t_ns"], stamps, strict=True)
    np.testing.assert_array_equal(sensors["obs/agentview_image/_t_ns"], stamps, strict=True)
    assert "obs/agentview_image/value" not in sensors
    assert set(actions) == {"actions/value", "actions/_t_ns"}
    assert (episode.fps, episode.duration_s) == (25.0, 0.12)


def test_every_frame_is_in_the_video_at_its_time(tmp_path: Path) -> None:
    episode = encode_episode(robomimic(tmp_path / "low.hdf5"), tmp_path / "out", canonical_camera="agentview_image")
    assert episode.video is not None
    found = tracks(episode.video.path)
    assert list(found) == ["obs/agentview_image", "obs/robot0_eye_in_hand_image"]
    assert found["obs/agentview_image"] == [(40_000 * k, 20 + k) for k in range(6)]
    assert len(found["obs/robot0_eye_in_hand_image"]) == 6


def test_the_canonical_camera_is_the_first_track(tmp_path: Path) -> None:
    path = aloha(tmp_path / "a.hdf5")
    episode = encode_episode(path, tmp_path / "out", canonical_camera="cam_left_wrist")
    assert episode.video is not None
    assert list(tracks(episode.video.path)) == ["observations/images/cam_left_wrist", "observations/images/cam_high"]
    with pytest.raises(ConfigurationError, match="there is no camera 'top'; there is observations/images/cam_high"):
        encode_episode(path, tmp_path / "out", canonical_camera="top")


@pytest.mark.parametrize("compress", [True, False])
def test_alohas_pictures_and_joints_come_out_as_they_went_in(tmp_path: Path, compress: bool) -> None:
    path = aloha(tmp_path / "a.hdf5", compress=compress)
    episode = encode_episode(path, tmp_path / "out")
    assert episode.video is not None
    assert episode.sensors is not None
    found = tracks(episode.video.path)
    assert found["observations/images/cam_high"] == [(20_000 * k, k) for k in range(8)]
    assert found["observations/images/cam_left_wrist"] == [(20_000 * k, 100 + k) for k in range(8)]
    sensors = arrays(episode.sensors.path)
    with h5py.File(path) as file:
        for name in ("qpos", "qvel", "effort"):
            np.testing.assert_array_equal(
                sensors[f"observations/{name}/value"], file[f"observations/{name}"][()], strict=True
            )
    assert not any("compress_len" in key for key in sensors)
    assert "success" not in extract_outcome(episode.metadata)


def test_pictures_that_opencv_stored_get_their_colours_back(tmp_path: Path) -> None:
    red = np.zeros((3, 96, 128, 3), np.uint8)
    red[..., 2] = 200
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["observations/images/top"] = red
        file["action"] = np.zeros((3, 2))
    for color, brightest in (("bgr", 0), ("rgb", 2)):
        episode = encode_episode(tmp_path / "a.hdf5", tmp_path / color, image_color=color)  # type: ignore[arg-type]
        assert episode.video is not None
        frame = first_frame(episode.video.path)
        assert frame.reshape(-1, 3).mean(0).argmax() == brightest
    with pytest.raises(ConfigurationError, match="image_color is 'hsv'"):
        encode_episode(tmp_path / "a.hdf5", tmp_path / "x", image_color="hsv")  # type: ignore[arg-type]


def first_frame(path: Path) -> np.ndarray:
    import av

    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda k: picture(k)[:, :, 0], False),
        (lambda k: picture(k).transpose(2, 0, 1), False),
        (lambda k: (picture(k) / 255).astype(np.float32), True),
        (lambda k: picture(k).astype(np.float32), True),
        (lambda k: np.dstack([picture(k), np.full((96, 128), 7, np.uint8)]), True),
    ],
    ids=["grey", "channels-first", "float-unit", "float-bytes", "rgba"],
)
def test_stacks_of_every_kind_of_picture_become_video(tmp_path: Path, make: Any, kept: bool) -> None:
    stack = np.stack([make(k) for k in range(5)])
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["observations/images/top"] = stack
        file["action"] = np.zeros((5, 2))
    episode = encode_episode(tmp_path / "a.hdf5", tmp_path / "out", fps=10)
    assert episode.video is not None
    assert episode.sensors is not None
    assert tracks(episode.video.path) == {"observations/images/top": [(100_000 * k, k) for k in range(5)]}
    sensors = arrays(episode.sensors.path)
    assert ("observations/images/top/value" in sensors) is kept
    if kept:
        np.testing.assert_array_equal(sensors["observations/images/top/value"], stack, strict=True)


def test_depth_is_kept_to_the_bit_and_is_no_video(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).integers(0, 65535, (5, 96, 128), np.uint16)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["observations/depth/top"] = depth
        file["action"] = np.zeros((5, 2))
    episode = encode_episode(tmp_path / "a.hdf5", tmp_path / "out")
    assert episode.video is None
    assert episode.sensors is not None
    np.testing.assert_array_equal(arrays(episode.sensors.path)["observations/depth/top/value"], depth, strict=True)


def test_pictures_of_several_lengths_are_read_from_rows_of_bytes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        rows = file.create_dataset("observations/images/top", (4,), h5py.vlen_dtype(np.uint8))
        for k in range(4):
            rows[k] = np.frombuffer(encoded(picture(k)), np.uint8)
        file["action"] = np.zeros((4, 2))
        file["language"] = np.array([b"pick", b"place", b"x", b""], h5py.string_dtype())
    episode = encode_episode(tmp_path / "a.hdf5", tmp_path / "out", fps=10)
    assert episode.video is not None
    assert episode.sensors is not None
    assert [number for _, number in tracks(episode.video.path)["observations/images/top"]] == [0, 1, 2, 3]
    sensors = arrays(episode.sensors.path)
    assert sensors["language/value"].tobytes() == b"pickplacex"
    assert sensors["language/_offsets"].tolist() == [0, 4, 9, 10, 10]


def test_the_stamps_of_the_file_are_taken_where_there_are_any(tmp_path: Path) -> None:
    start = 1_700_000_000_000_000_000
    stamps = start + np.array([0, 21_000_001, 60_000_000, 61_000_000])
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["observations/images/top"] = np.stack([picture(k) for k in range(4)])
        file["observations/timestamp"] = stamps
        file["action"] = np.zeros((4, 2))
    episode = encode_episode(tmp_path / "a.hdf5", tmp_path / "out")
    assert episode.sensors is not None
    assert episode.actions is not None
    assert episode.video is not None
    expected = [0, 21_000_001, 60_000_000, 61_000_000]
    assert arrays(episode.actions.path)["action/_t_ns"].tolist() == expected
    sensors = arrays(episode.sensors.path)
    assert sensors["observations/images/top/_t_ns"].tolist() == expected
    assert sensors["observations/timestamp/value"].tolist() == stamps.tolist()
    assert tracks(episode.video.path)["observations/images/top"] == [(0, 0), (21_000, 1), (60_000, 2), (61_000, 3)]
    assert episode.recorded_ns == start
    assert episode.metadata["hdf5"]["clock"] == "observations/timestamp"


@pytest.mark.parametrize(
    ("values", "name", "unit", "step_ns"),
    [
        (np.arange(5) * 0.02, "timestamp", None, 20_000_000),
        (1_700_000_000 + np.arange(5) * 0.5, "time", None, 500_000_000),
        (1_700_000_000_000 + np.arange(5) * 20, "timestamps", None, 20_000_000),
        (np.arange(5) * 20_000, "timestamp", None, 20_000_000),
        (np.arange(5) * 20, "timestamp_ms", None, 20_000_000),
        (np.arange(5) * 7, "t", "us", 7_000),
        (np.arange(5, dtype=np.uint32)[:, None] * 33_000_000, "timestamp", None, 33_000_000),
    ],
)
def test_the_unit_of_stamps_is_found_out(values: Any, name: str, unit: str | None, step_ns: int) -> None:
    stamps = stamps_from(values, name, unit)
    assert stamps is not None
    assert np.abs(np.diff(stamps) - step_ns).max() < 1000


@pytest.mark.parametrize("values", [[3.0, 2.0, 1.0], [0.0, float("nan"), 1.0], [0, 0, 0], ["a", "b", "c"]])
def test_what_is_no_clock_is_not_taken_for_one(values: Any) -> None:
    assert stamps_from(np.array(values), "time", None) is None


# --- outcome and labels


def test_evals_find_the_outcome(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "low.hdf5")
    outcomes = [
        extract_outcome(encode_episode(path, tmp_path / "out", episode_index=index).metadata) for index in (0, 1)
    ]
    assert outcomes == [{"success": True, "reward_total": 1.0}, {"success": False, "reward_total": 0.0}]


def test_rewards_that_were_never_recorded_are_no_failure(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "low.hdf5", env_args=None)
    episode = encode_episode(path, tmp_path / "out", episode_index=1)
    assert extract_outcome(episode.metadata) == {"reward_total": 0.0}


def test_what_the_file_says_goes_into_the_episode(tmp_path: Path) -> None:
    upload_dataset(robomimic(tmp_path / "low.hdf5"), policy_version="human", name_template="lift {episode_index:03d}")
    first = next(manifest for manifest in waiting() if manifest["create"]["name"] == "lift 000")
    assert first["create"]["source"] == "sim"
    assert first["create"]["env_version"] == "Lift 1.4.1"
    about = first["create"]["metadata"]["hdf5"]
    assert about["env_args"] == _ENV_ARGS
    assert len(about["attributes"]["model_file_sha256"]) == 64
    assert about["attributes"]["num_samples"] == 6
    assert {artifact["kind"] for artifact in first["artifacts"]} == {"video", "sensors", "actions"}


# --- broken files


def test_a_truncated_file_is_one_clear_line(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "low.hdf5")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(RobotraceError, match=r"low\.hdf5 cannot be read: .*truncated file") as caught:
        scan_file(path)
    assert "\n" not in str(caught.value)


def broken(path: Path) -> Path:
    """Three demos, of which the second has a picture that is none."""
    robomimic(path, (3, 3, 3))
    with h5py.File(path, "a") as file:
        demo = file["data/demo_10/obs"]
        del demo["agentview_image"]
        rows = demo.create_dataset("agentview_image", (3,), h5py.vlen_dtype(np.uint8))
        for k in range(3):
            rows[k] = np.frombuffer(encoded(picture(k), "mjpeg")[: 100 if k == 2 else None], np.uint8)
    return path


def test_a_broken_demo_is_one_line_and_the_rest_goes_through(tmp_path: Path) -> None:
    told: list[Any] = []
    done = upload_dataset(broken(tmp_path / "low.hdf5"), on_progress=lambda *args: told.append(args[:2]))
    assert [episode.name for episode in done.episodes] == ["low demo_2", "low demo_11"]
    assert [failure.episode_index for failure in done.failures] == [1]
    assert done.failures[0].error.startswith("demo_10/obs/agentview_image cannot be read: a mjpeg picture of 100")
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(waiting()) == 2
    with pytest.raises(RobotraceError, match="demo_10"):
        upload_dataset(tmp_path / "low.hdf5", stop_on_error=True)


# --- upload


def test_a_second_import_doubles_nothing_and_an_interrupted_one_goes_on(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "low.hdf5", (3, 3, 3))

    def stop(done: int, total: int, episode: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload_dataset(path, on_progress=stop)
    assert len(waiting()) == 1
    done = upload_dataset(path)
    assert [episode.is_new for episode in done.episodes] == [False, True, True]
    assert len(waiting()) == 3
    again = upload_dataset(path)
    assert [episode.is_new for episode in again.episodes] == [False] * 3
    assert [episode.uuid for episode in again.episodes] == [episode.uuid for episode in done.episodes]
    assert len(waiting()) == 3
    upload_dataset(path, again=True)
    upload_dataset(path, policy_version="other")
    assert len(waiting()) == 9
    assert not list(open_spool().recording.iterdir())


def test_an_episode_is_delivered_when_the_call_returns(tmp_path: Path, configured: FaultServer) -> None:
    episode = upload_episode(aloha(tmp_path / "a.hdf5"), metadata={"operator": "eve"})
    (stored,) = configured.episodes.values()
    assert (episode.state, episode.id, episode.status) == ("delivered", stored.episode_id, "ready")
    assert stored.create["source"] == "real"
    assert stored.create["metadata"]["operator"] == "eve"
    assert set(stored.uploads) == {"video", "sensors", "actions"}
    assert stored.finalize is not None
    assert upload_episode(tmp_path / "a.hdf5").id == episode.id
    assert len(configured.episodes) == 1


def test_a_client_of_ones_own_sends_past_the_spool(tmp_path: Path, ingest: FaultServer, client: Client) -> None:
    path = aloha(tmp_path / "a.hdf5")
    episode = upload_episode(path, client=client, name="mine", output_dir=tmp_path / "out")
    assert episode.state == "delivered"
    assert not waiting()
    assert sorted(item.name for item in (tmp_path / "out").iterdir()) == ["actions.npz", "sensors.npz", "video.mp4"]
    assert upload_episode(path, client=client).is_new is False
    (stored,) = ingest.episodes.values()
    assert stored.create["name"] == "mine"


def test_what_a_clients_deployment_refuses_is_raised(tmp_path: Path, ingest: FaultServer, client: Client) -> None:
    ingest.fault = lambda method, path: Fault(400, {"error": "no more robots"})
    with pytest.raises(RobotraceError, match="no more robots"):
        upload_episode(aloha(tmp_path / "a.hdf5"), client=client)
    ingest.fault = lambda method, path: None
    assert upload_episode(tmp_path / "a.hdf5", client=client).is_new


def test_what_the_deployment_refuses_for_good_is_a_failure_of_that_episode(
    tmp_path: Path, configured: FaultServer
) -> None:
    configured.fault = lambda method, path: Fault(400, {"error": "no more robots"})
    done = upload_dataset(robomimic(tmp_path / "low.hdf5", (3,)))
    assert [episode.state for episode in done.episodes] == ["refused"]
    assert "no more robots" in done.failures[0].error
    with pytest.raises(RobotraceError, match="no more robots"):
        upload_episode(tmp_path / "low.hdf5")


def test_a_refused_key_leaves_the_episodes_in_the_spool_and_says_so(
    tmp_path: Path, configured: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    configured.fault = lambda method, path: Fault(401, {"error": "unknown key"})
    done = upload_dataset(robomimic(tmp_path / "low.hdf5", (3, 3)))
    assert [episode.state for episode in done.episodes] == ["waiting"] * 2
    assert any("unknown key" in str(episode.reason) for episode in done.episodes)
    assert "2 imported episode(s) stay in" in caplog.text
    configured.fault = lambda method, path: None
    assert [episode.state for episode in upload_dataset(tmp_path / "low.hdf5").episodes] == ["delivered"] * 2
    assert len(configured.episodes) == 2


def test_what_was_delivered_is_known_when_its_receipt_is_gone_and_what_was_deleted_is_not(
    tmp_path: Path, configured: FaultServer
) -> None:
    path = robomimic(tmp_path / "low.hdf5", (3, 3))
    first = upload_dataset(path, episode_indices=[0]).episodes[0]
    spool = open_spool()
    (spool.done / f"{first.uuid}.json").unlink()
    again = upload_dataset(path, episode_indices=[0]).episodes[0]
    assert (again.state, again.id, again.is_new) == ("delivered", first.id, False)
    configured.fault = lambda method, path: Fault(401, {"error": "unknown key"})
    upload_dataset(path, episode_indices=[1])
    spool.discard(spool.sealed_episodes()[0].folder)
    configured.fault = lambda method, path: None
    second = upload_dataset(path, episode_indices=[1]).episodes[0]
    assert (second.state, second.is_new) == ("delivered", True)
    assert len(configured.episodes) == 2


def test_a_full_spool_ends_the_import_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOTRACE_SPOOL_LIMIT_GB", "0.000001")
    path = robomimic(tmp_path / "low.hdf5", (3, 3))
    upload_dataset(path, episode_indices=[0])
    with pytest.raises(RobotraceError, match=r"there is no room for another episode: the spool .* holds"):
        upload_dataset(path)
    assert len(waiting()) == 1


def test_slips_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="source is 'dream'"):
        upload_dataset(tmp_path / "none.hdf5", source="dream")  # type: ignore[arg-type]
    path = aloha(tmp_path / "a.hdf5")
    with pytest.raises(ConfigurationError, match=r"no field \{robot\}; it takes file, demo, episode_index, task"):
        upload_dataset(path, name_template="{robot}")
    with pytest.raises(ConfigurationError, match="there is no episode 7; there is 0 to 0"):
        upload_dataset(path, episode_indices=[7])
    assert not waiting()


# --- memory


def test_memory_is_flat_over_ten_thousand_frames(tmp_path: Path) -> None:
    def peak(frames: int) -> int:
        path = tmp_path / f"{frames}.hdf5"
        with h5py.File(path, "w") as file:
            shape = (frames, 32, 32, 3)
            images = file.create_dataset("observations/images/top", shape, np.uint8, chunks=(50, 32, 32, 3))
            for begin in range(0, frames, 500):
                images[begin : begin + 500] = np.full((500, 32, 32, 3), begin % 251, np.uint8)
            file["action"] = np.zeros((frames, 14))
        code = "from robotrace.adapters.hdf5 import encode_episode; encode_episode(sys.argv[1], sys.argv[2])"
        return peak_bytes(code, path, tmp_path / "out")

    # Pictures and actions of the longer one are 16 MB more.
    assert peak(10_000) - peak(5_000) < 6_000_000


def test_number_in_reads_what_picture_writes() -> None:
    assert [number_in(picture(number)) for number in (0, 7, 255)] == [0, 7, 255]
