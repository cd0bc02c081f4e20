"""What a bag holds, and what may be said about where it goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("av")

import numpy as np
from ros2_bags import START_NS, BagMaker, arrays, frames, quiet_image
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode
from rosbags.typesys import Stores, get_typestore

from robotrace.adapters.ros2 import TopicInfo, encode_bag, scan_bag
from robotrace.errors import ConfigurationError

MS = 1_000_000


@pytest.fixture(params=["mcap", "sqlite3"])
def bag(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with BagMaker(tmp_path / "pick_7", request.param) as made:
        for number in range(10):
            t = number * 100 * MS
            made.add("/cmd_vel", made.make("geometry_msgs/msg/Twist"), t)
            made.add("/camera", made.image(quiet_image(9), "rgb8", made.header(t)), t)
            if number < 3:
                made.add("/count", made.make("std_msgs/msg/Int64", data=number), t)
    return tmp_path / "pick_7"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_bag_is_described_and_not_touched(bag: Path) -> None:
    before = files_of(bag)
    summary = scan_bag(bag)
    assert files_of(bag) == before
    assert summary.topics == (
        TopicInfo("/camera", "sensor_msgs/msg/Image", 10, "video", "msgtype"),
        TopicInfo("/cmd_vel", "geometry_msgs/msg/Twist", 10, "actions", "msgtype"),
        TopicInfo("/count", "std_msgs/msg/Int64", 3, "sensors", "default"),
    )
    assert (summary.duration_s, summary.message_count, summary.ros_distro) == (pytest.approx(0.9), 23, None)
    assert (summary.start_ns, summary.end_ns) == (START_NS, START_NS + 900 * MS)
    assert summary.report().splitlines() == [
        f"{bag}: {summary.storage}, 0.90 s, 23 messages",
        "  video:",
        "    /camera  sensor_msgs/msg/Image, 10, by msgtype",
        "  sensors:",
        "    /count  std_msgs/msg/Int64, 3, by default",
        "  actions:",
        "    /cmd_vel  geometry_msgs/msg/Twist, 10, by msgtype",
    ]


def test_a_single_file_of_a_bag_is_one_too(bag: Path) -> None:
    (file,) = [path for path in bag.iterdir() if path.suffix in (".mcap", ".db3")]
    whole, single = scan_bag(bag), scan_bag(file)
    assert single.topics == whole.topics
    assert (single.start_ns, single.end_ns, single.storage) == (whole.start_ns, whole.end_ns, whole.storage)


def test_topics_go_where_one_says_and_a_slot_with_names_has_no_others(bag: Path, tmp_path: Path) -> None:
    episode = encode_bag(bag, tmp_path / "a", sensor_topics=["/cmd_vel"])
    assert episode.actions is None
    assert "/cmd_vel/linear" in arrays(tmp_path / "a")
    assert "/count/data" not in arrays(tmp_path / "a")
    assert episode.metadata["skipped_topics"] == [
        {"topic": "/count", "msgtype": "std_msgs/msg/Int64", "reason": "it was not asked for"}
    ]
    episode = encode_bag(bag, tmp_path / "b", video_topics=[], action_topics=["/count", "/cmd_vel"])
    assert episode.video is None
    assert arrays(tmp_path / "b", "actions")["/count/data"].tolist() == [0, 1, 2]
    assert [each["topic"] for each in episode.metadata["skipped_topics"]] == ["/camera"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"video_topics": ["/nowhere"]}, "video_topics names '/nowhere', which is not in the bag; it has /camera, "),
        ({"sensor_topics": ["/count"], "action_topics": ["/count"]}, "'/count' is in sensor_topics and in action_top"),
        ({"sensor_topics": "/count"}, "sensor_topics must be a list of topics, got '/count'"),
        ({"video_topics": ["/count"]}, "video_topics names '/count', and std_msgs/msg/Int64 is no image"),
        ({"canonical_video_topic": "/count"}, "'/count' is no topic of the video; those are: /camera"),
        ({"canonical_video_topic": "/camera", "video_topics": []}, "those are: none"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_written(
    arguments: dict[str, Any], why: str, bag: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        encode_bag(bag, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_files_of_an_earlier_bag_do_not_stay(bag: Path, tmp_path: Path) -> None:
    encode_bag(bag, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["actions.npz", "sensors.npz", "video.mp4"]
    encode_bag(bag, tmp_path / "out", video_topics=[], action_topics=[])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["sensors.npz"]


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_compressed_bags_are_read(storage: str, mode: CompressionMode, tmp_path: Path) -> None:
    maker = BagMaker(tmp_path / "bag", storage)
    maker._writer.set_compression(mode, CompressionFormat.ZSTD)
    with maker as made:
        for number in range(5):
            made.add("/count", made.make("std_msgs/msg/Int64", data=number), number)
    assert scan_bag(tmp_path / "bag").storage == storage
    encode_bag(tmp_path / "bag", tmp_path / "out")
    assert arrays(tmp_path / "out")["/count/data"].tolist() == [0, 1, 2, 3, 4]


def test_a_bag_of_ros_1_is_read_too(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    with Writer1(tmp_path / "old.bag") as writer:
        joints = writer.add_connection("/joint_states", "sensor_msgs/msg/JointState", typestore=store)
        camera = writer.add_connection("/camera", "sensor_msgs/msg/Image", typestore=store)
        for number in range(4):
            t = START_NS + number * 10 * MS
            stamp = types["builtin_interfaces/msg/Time"](sec=t // 10**9, nanosec=t % 10**9)
            header = types["std_msgs/msg/Header"](seq=number, stamp=stamp, frame_id="base")
            position = np.array([float(number), 0.5])
            message: Any = types["sensor_msgs/msg/JointState"](header, ["a", "b"], position, np.array([]), np.array([]))
            writer.write(joints, t + MS, store.serialize_ros1(message, message.__msgtype__))
            pixels = quiet_image(200)
            message = types["sensor_msgs/msg/Image"](header, 48, 64, "rgb8", 0, 192, pixels.reshape(-1))
            writer.write(camera, t + MS, store.serialize_ros1(message, message.__msgtype__))
    assert scan_bag(tmp_path / "old.bag").storage == "rosbag1"
    episode = encode_bag(tmp_path / "old.bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    np.testing.assert_array_equal(found["/joint_states/position"], [[n, 0.5] for n in range(4)])
    np.testing.assert_array_equal(found["/joint_states/_t_ns"], np.arange(4) * 10 * MS)
    np.testing.assert_array_equal(found["/joint_states/header.seq"], range(4))
    assert episode.metadata["ros2"]["topics"]["/joint_states"]["names"] == ["a", "b"]
    assert len(frames(tmp_path / "out")[0]) == 4


def test_without_its_packages_every_call_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'rosbags' else find(name, *rest)\n"
        "from robotrace.adapters import ros2\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] in ('rosbags', 'numpy', 'av', 'rclpy')]\n"
        "for call in (lambda: ros2.scan_bag('x'), lambda: ros2.encode_bag('x', 'y'), lambda: ros2.upload_bag('x'),\n"
        "             lambda: ros2.record(topics=['/x'])):\n"
        "    try:\n"
        "        call()\n"
        "    except ros2._bags.ConfigurationError as exc:\n"
        "        print(exc)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    line = "robotrace.adapters.ros2 needs rosbags; run: pip install 'robotrace-dev[ros2]'\n"
    assert (result.stdout, result.stderr) == (4 * line, "")
