"""Every value, dtype and stamp comes out of a bag as it went in."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("av")

import numpy as np
from ros2_bags import START_NS, BagMaker, arrays

from robotrace.adapters.ros2 import encode_bag
from robotrace.eval_rows import align
from robotrace.serve.series import read_series

MS = 1_000_000
NUMBERS = {
    "bool": [True, False],
    "byte": [0, -1],  # rosbags takes ROS's octet for an int8
    "char": [0, 200],
    "int8": [-128, 127],
    "uint8": [0, 255],
    "int16": [-32768, 32767],
    "uint16": [0, 65535],
    "int32": [-(2**31), 2**31 - 1],
    "uint32": [0, 2**32 - 1],
    "int64": [-(2**63), 2**63 - 1],
    "uint64": [0, 2**64 - 1],
    "float32": [float(np.float32(0.1)), float("nan")],
    "float64": [0.1, float("inf")],
}
DTYPES = {"byte": "uint8", "char": "uint8"}
INNER = "int16 id\nfloat32[] weights\nstring label\nint8[2] pair"
EVERYTHING = "\n".join(
    [
        *(f"{kind} {kind}_one\n{kind}[2] {kind}_two\n{kind}[] {kind}_some" for kind in NUMBERS),
        "builtin_interfaces/Time when",
        "builtin_interfaces/Duration from",  # rosbags calls it from_, since Python has that word
        "geometry_msgs/Quaternion turn",
        "geometry_msgs/Point32[] corners",
        "my_msgs/Inner[] parts",
        "my_msgs/Inner one",
        "string text",
        "string[] words",
    ]
)
DEFINITIONS = {"my_msgs/msg/Inner": INNER, "my_msgs/msg/Everything": EVERYTHING}


def rows(found: dict[str, np.ndarray], key: str) -> list[Any]:
    """The rows of an array, or of a ragged one, however deep."""
    if key in found:
        return list(found[key])
    items: Any = list(found[f"{key}/value"])
    depth = 1
    while f"{key}/_offsets_{depth}" in found:
        depth += 1
    for level in reversed(range(depth)):
        offsets = found[f"{key}/_offsets" + (f"_{level}" if level else "")]
        items = [items[begin:end] for begin, end in itertools.pairwise(offsets)]
    return items


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_every_field_of_a_type_that_nobody_knows_keeps_its_value_and_dtype(storage: str, tmp_path: Path) -> None:
    count = 7
    generator = np.random.default_rng(3)
    sent = []
    with BagMaker(tmp_path / "bag", storage, DEFINITIONS) as bag:
        for number in range(count):
            fields: dict[str, Any] = {}
            for kind, values in NUMBERS.items():
                dtype = "int8" if kind == "byte" else DTYPES.get(kind, kind)
                fields[f"{kind}_one"] = values[number % 2]
                fields[f"{kind}_two"] = np.array(values, dtype)
                fields[f"{kind}_some"] = np.array([values[k % 2] for k in range(number % 3)], dtype)
            inner = [
                bag.make(
                    "my_msgs/msg/Inner",
                    id=10 * number + part,
                    weights=generator.random(part + number % 2).astype(np.float32),
                    label=f"part {part}",
                    pair=np.array([part, -part], np.int8),
                )
                for part in range(number % 4)
            ]
            message = bag.make(
                "my_msgs/msg/Everything",
                **fields,
                when=bag.time(number),
                from_=bag.make("builtin_interfaces/msg/Duration", sec=-1, nanosec=number),
                turn=bag.make("geometry_msgs/msg/Quaternion", x=1.0, y=2.0, z=3.0, w=float(number)),
                corners=[bag.make("geometry_msgs/msg/Point32", x=0.5, y=1.5, z=float(k)) for k in range(number % 3)],
                parts=inner,
                text="ä" * number,
                words=["wörd"] * (number % 2) + ["a", ""],
            )
            sent.append(message)
            bag.add("/all", message, number * MS)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    assert "incomplete" not in episode.metadata
    assert "skipped_topics" not in episode.metadata
    found = arrays(tmp_path / "out")
    for kind in NUMBERS:
        dtype = np.dtype(DTYPES.get(kind, kind))
        assert found[f"/all/{kind}_one"].dtype == dtype
        assert found[f"/all/{kind}_two"].dtype == dtype
        assert found[f"/all/{kind}_some/value"].dtype == dtype
        given = [NUMBERS[kind][number % 2] for number in range(count)]
        ones = np.array(given, "int8" if kind == "byte" else dtype).astype(dtype)
        np.testing.assert_array_equal(found[f"/all/{kind}_one"], ones)
        np.testing.assert_array_equal(found[f"/all/{kind}_two"], np.tile(ones[:2], (count, 1)))
        for number, row in enumerate(rows(found, f"/all/{kind}_some")):
            np.testing.assert_array_equal(row, ones[: number % 3])
    np.testing.assert_array_equal(found["/all/when"], START_NS + np.arange(count))
    np.testing.assert_array_equal(found["/all/from"], np.arange(count) - 1_000_000_000)
    assert found["/all/when"].dtype == found["/all/from"].dtype == np.int64
    np.testing.assert_array_equal(found["/all/turn"][:, 3], np.arange(count))
    assert found["/all/corners/value"].dtype == np.float32
    for row, message in zip(rows(found, "/all/corners"), sent, strict=True):
        assert [tuple(point) for point in row] == [(point.x, point.y, point.z) for point in message.corners]
    for field, read in (("id", int), ("label", str), ("pair", tuple)):
        for row, message in zip(rows(found, f"/all/parts.{field}"), sent, strict=True):
            assert list(map(read, row)) == [read(getattr(part, field)) for part in message.parts]  # type: ignore[operator]
    for row, message in zip(rows(found, "/all/parts.weights"), sent, strict=True):
        for weights, part in zip(row, message.parts, strict=True):
            np.testing.assert_array_equal(weights, part.weights)
    assert found["/all/text"].tolist() == [message.text for message in sent]
    assert [list(row) for row in rows(found, "/all/words")] == [message.words for message in sent]
    np.testing.assert_array_equal(found["/all/_t_ns"], np.arange(count) * MS)
    # A field that is empty in every message has no rows to keep, and is named.
    assert episode.metadata["ros2"]["topics"]["/all"]["empty"] == ["one.weights"]
    assert episode.duration_s == pytest.approx((count - 1) / 1000)


def test_the_messages_of_robots_are_vectors_by_their_names(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(5):
            t = number * 10 * MS
            vector = bag.vector(float(number), -1.0, 0.25)
            quaternion = bag.make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.6, w=0.8)
            point = bag.make("geometry_msgs/msg/Point", x=float(number), y=2.0, z=3.0)
            pose = bag.make("geometry_msgs/msg/Pose", position=point, orientation=quaternion)
            twist = bag.make("geometry_msgs/msg/Twist", linear=vector, angular=bag.vector(0.0, 0.0, 0.5))
            header = bag.header(t - MS)
            imu = {"orientation": quaternion, "angular_velocity": vector, "linear_acceleration": vector}
            bag.add("/imu", bag.make("sensor_msgs/msg/Imu", header=header, **imu), t)
            bag.add("/cmd_vel", twist, t)
            bag.add("/pose", bag.make("geometry_msgs/msg/PoseStamped", header=header, pose=pose), t)
            bag.add("/push", bag.make("geometry_msgs/msg/Wrench", force=vector, torque=vector), t)
            odometry = bag.make(
                "nav_msgs/msg/Odometry",
                header=header,
                child_frame_id="wheels",
                pose=bag.make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.arange(36.0)),
                twist=bag.make("geometry_msgs/msg/TwistWithCovariance", twist=twist),
            )
            bag.add("/odom", odometry, t)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    found, acted = arrays(tmp_path / "out"), arrays(tmp_path / "out", "actions")
    shapes = {key: array.shape for key, array in (found | acted).items() if not key.endswith("_t_ns")}
    assert shapes == {
        "/imu/orientation": (5, 4),
        "/imu/orientation_covariance": (5, 9),
        "/imu/angular_velocity": (5, 3),
        "/imu/angular_velocity_covariance": (5, 9),
        "/imu/linear_acceleration": (5, 3),
        "/imu/linear_acceleration_covariance": (5, 9),
        "/pose/pose.position": (5, 3),
        "/pose/pose.orientation": (5, 4),
        "/odom/pose.pose.position": (5, 3),
        "/odom/pose.pose.orientation": (5, 4),
        "/odom/pose.covariance": (5, 36),
        "/odom/twist.twist.linear": (5, 3),
        "/odom/twist.twist.angular": (5, 3),
        "/odom/twist.covariance": (5, 36),
        "/cmd_vel/linear": (5, 3),
        "/cmd_vel/angular": (5, 3),
        "/push/force": (5, 3),
        "/push/torque": (5, 3),
    }
    assert sorted(key for key in acted if not key.endswith("_t_ns")) == [
        "/cmd_vel/angular",
        "/cmd_vel/linear",
        "/push/force",
        "/push/torque",
    ]
    np.testing.assert_array_equal(found["/imu/angular_velocity"][:, 0], np.arange(5.0))
    np.testing.assert_array_equal(found["/odom/pose.covariance"], np.tile(np.arange(36.0), (5, 1)))
    assert episode.metadata["ros2"]["topics"]["/odom"]["constant"] == {
        "header.frame_id": "base",
        "child_frame_id": "wheels",
    }


def joint_state(bag: BagMaker, header: Any, names: list[str], position: list[float], velocity: list[float]) -> Any:
    return bag.make(
        "sensor_msgs/msg/JointState",
        header=header,
        name=names,
        position=np.array(position, float),
        velocity=np.array(velocity, float),
    )


def test_types_of_well_known_names_with_other_fields_are_what_their_bag_says(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        vector = "geometry_msgs/Vector3 v\n" + "=" * 80 + "\nMSG: geometry_msgs/Vector3\nfloat64 z\nfloat64 x"
        bag.topic("/odd", "my_msgs/msg/Odd", msgdef=vector, rihs01="RIHS01_0")
        bag.topic("/camera", "sensor_msgs/msg/Image", msgdef="int32 pixels", rihs01="RIHS01_1")
        for number in range(3):
            bag.add_bytes("/odd", "my_msgs/msg/Odd", b"\0\1\0\0" + np.array([number, 0.5]).tobytes(), number)
            bag.add_bytes("/camera", "sensor_msgs/msg/Image", b"\0\1\0\0" + bytes(4), number)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    assert (found["/odd/v.z"].tolist(), found["/odd/v.x"].tolist()) == ([0.0, 1.0, 2.0], [0.5] * 3)
    assert episode.metadata["incomplete"]["/camera"].startswith("3 messages could not be decoded: ")


def test_types_that_are_defined_in_idl_are_read_by_that(tmp_path: Path) -> None:
    text = "module my_msgs { module msg { struct Spot { long number; sequence<float> xs; }; }; };"
    with BagMaker(tmp_path / "bag") as bag:
        idl = "=" * 80 + "\nIDL: my_msgs/msg/Spot\n" + text
        bag.topic("/spot", "my_msgs/msg/Spot", msgdef=idl, rihs01="RIHS01_0")
        for number in range(3):
            data = np.array([number, 2], np.int32).tobytes() + np.array([0.5, number], np.float32).tobytes()
            bag.add_bytes("/spot", "my_msgs/msg/Spot", b"\0\1\0\0" + data, number)
    encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    assert (found["/spot/number"].dtype, found["/spot/number"].tolist()) == (np.int32, [0, 1, 2])
    np.testing.assert_array_equal(found["/spot/xs"], np.array([[0.5, 0], [0.5, 1], [0.5, 2]], np.float32))


def test_two_publishers_of_joint_states_are_two_streams_and_no_row_is_lost_or_made_up(tmp_path: Path) -> None:
    arm, gripper = ["shoulder", "elbow"], ["finger"]
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(6):
            t = number * 10 * MS
            if number % 3 == 2:
                message = joint_state(bag, bag.header(t), gripper, [number / 10], [])
            else:
                message = joint_state(bag, bag.header(t), arm, [number, -number], [0.5, 0.25])
            bag.add("/joint_states", message, t)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    np.testing.assert_array_equal(found["/joint_states/position"], [[0, 0], [1, -1], [3, -3], [4, -4]])
    np.testing.assert_array_equal(found["/joint_states/velocity"], [[0.5, 0.25]] * 4)
    np.testing.assert_array_equal(found["/joint_states/_t_ns"], np.array([0, 10, 30, 40]) * MS)
    np.testing.assert_array_equal(found["/joint_states#1/position"], [[0.2], [0.5]])
    np.testing.assert_array_equal(found["/joint_states#1/_t_ns"], np.array([20, 50]) * MS)
    assert not [key for key in found if "effort" in key or key == "/joint_states#1/velocity"]
    topics = episode.metadata["ros2"]["topics"]
    assert topics["/joint_states"]["names"] == arm
    assert topics["/joint_states"]["messages"] == 4
    assert topics["/joint_states#1"]["names"] == gripper
    assert topics["/joint_states#1"]["empty"] == ["velocity", "effort"]


def test_after_16_joint_sets_the_rest_is_ragged_with_its_names(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(20):
            names = [f"j{k}" for k in range(number + 1)]
            message = joint_state(bag, bag.header(number), names, [float(number)] * (number + 1), [])
            bag.add("/joint_states", message, number)
    encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    assert found["/joint_states#15/position"].shape == (1, 16)
    names, positions = rows(found, "/joint_states#16/name"), rows(found, "/joint_states#16/position")
    assert [len(row) for row in names] == [17, 18, 19, 20]
    assert list(names[0]) == [f"j{k}" for k in range(17)]
    assert [list(row) for row in positions] == [[float(n)] * (n + 1) for n in range(16, 20)]


def test_a_sequence_of_one_length_is_an_axis_and_one_of_several_is_ragged(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(4):
            scan = bag.make("sensor_msgs/msg/LaserScan", header=bag.header(number), ranges=np.full(360, number, "f4"))
            bag.add("/scan", scan, number)
            points = [
                bag.make("trajectory_msgs/msg/JointTrajectoryPoint", positions=np.array([number, k, 0.5]))
                for k in range(number + 1)
            ]
            plan = bag.make("trajectory_msgs/msg/JointTrajectory", joint_names=["a", "b", "c"], points=points)
            bag.add("/plan", plan, number)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    assert arrays(tmp_path / "out")["/scan/ranges"].shape == (4, 360)
    acted = arrays(tmp_path / "out", "actions")
    assert acted["/plan/points.positions/value"].shape == (10, 3)
    np.testing.assert_array_equal(acted["/plan/points.positions/_offsets"], [0, 1, 3, 6, 10])
    np.testing.assert_array_equal(acted["/plan/points.time_from_start/value"], np.zeros(10, np.int64))
    assert episode.metadata["ros2"]["topics"]["/plan"]["names"] == ["a", "b", "c"]


def test_long_texts_are_bytes_and_a_constant_long_one_is_no_metadata(tmp_path: Path) -> None:
    texts = ["x" * 10, "ü" * 100, "", "y"]
    with BagMaker(tmp_path / "bag") as bag:
        for number, text in enumerate(texts):
            bag.add("/log", bag.make("std_msgs/msg/String", data=text), number)
            bag.add("/robot_description", bag.make("std_msgs/msg/String", data="<robot/>" * 1000), number)
            bag.add("/mode", bag.make("std_msgs/msg/String", data="auto"), number)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    assert [bytes(row).decode() for row in rows(found, "/log/data")] == texts
    assert found["/robot_description/data"].shape == (4, 8000)
    topics = episode.metadata["ros2"]["topics"]
    assert topics["/mode"]["constant"] == {"data": "auto"}
    assert "constant" not in topics["/robot_description"]


def test_a_ragged_field_and_a_topic_of_the_same_name_are_both_there(tmp_path: Path) -> None:
    texts = ["x" * number for number in range(70, 73)]
    with BagMaker(tmp_path / "bag") as bag:
        for number, text in enumerate(texts):
            bag.add("/state", bag.make("std_msgs/msg/String", data=text), number)
            bag.add("/state/data", bag.make("std_msgs/msg/Int64", data=number), number + 50)
    encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    assert [bytes(row).decode() for row in rows(found, "/state/data#1")] == texts
    assert found["/state/data#1/_t_ns"].tolist() == [0, 1, 2]
    assert found["/state/data/data"].tolist() == [0, 1, 2]
    assert found["/state/data/_t_ns"].tolist() == [50, 51, 52]


def test_a_stream_goes_by_its_headers_and_the_time_of_receipt_is_beside_it(tmp_path: Path) -> None:
    stamps, received = [5, 16, 14, 31], [20, 30, 40, 50]
    with BagMaker(tmp_path / "bag") as bag:
        for stamp, receipt in zip(stamps, received, strict=True):
            bag.add("/temperature", bag.make("sensor_msgs/msg/Temperature", header=bag.header(stamp)), receipt)
            bag.add("/count", bag.make("std_msgs/msg/Int64", data=stamp), receipt)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    # The episode begins with the first stamp, which is before the first receipt; what goes back stays so.
    assert episode.metadata["ros2"]["start_ns"] == START_NS + 5
    np.testing.assert_array_equal(found["/temperature/_t_ns"], [0, 11, 9, 26])
    np.testing.assert_array_equal(found["/temperature/_receive/_t_ns"], [15, 25, 35, 45])
    np.testing.assert_array_equal(found["/count/_t_ns"], [15, 25, 35, 45])
    assert found["/count/data"].tolist() == stamps
    assert "/count/_receive/_t_ns" not in found
    topics = episode.metadata["ros2"]["topics"]
    assert (topics["/temperature"]["clock"], topics["/count"]["clock"]) == ("header", "receive")


def test_stamps_that_are_zero_or_on_another_clock_are_kept_beside_the_time_of_receipt(tmp_path: Path) -> None:
    hour = 3_600_000_000_000
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(3):
            kind = "sensor_msgs/msg/Temperature"
            bag.add("/unset", bag.make(kind, header=bag.header(None)), number * MS)
            bag.add("/simulated", bag.make(kind, header=bag.header(number - START_NS + 1)), number * MS)
            stamp = -hour if number == 0 else number * MS - 7
            bag.add("/map", bag.make(kind, header=bag.header(stamp)), number * MS)
            bag.add("/sometimes", bag.make(kind, header=bag.header(None if number == 1 else number * MS)), number * MS)
    episode = encode_bag(tmp_path / "bag", tmp_path / "out")
    found = arrays(tmp_path / "out")
    received = np.arange(3) * MS
    np.testing.assert_array_equal(found["/unset/_t_ns"], received)
    assert not [key for key in found if key.startswith("/unset/_receive") or key.startswith("/unset/_header")]
    np.testing.assert_array_equal(found["/simulated/_t_ns"], received)
    np.testing.assert_array_equal(found["/simulated/_header/_t_ns"], np.arange(3) + 1 - START_NS)
    np.testing.assert_array_equal(found["/map/_t_ns"], [0, MS - 7, 2 * MS - 7])
    np.testing.assert_array_equal(found["/map/_receive/_t_ns"], received)
    np.testing.assert_array_equal(found["/map/_header/_t_ns"], [-hour, MS - 7, 2 * MS - 7])
    np.testing.assert_array_equal(found["/sometimes/_t_ns"], received)
    topics = episode.metadata["ros2"]["topics"]
    assert {name: topics[name]["clock"] for name in topics} == {
        "/unset": "receive",
        "/simulated": "receive",
        "/map": "header",
        "/sometimes": "header",
    }
    assert topics["/map"]["by_receipt"] == topics["/sometimes"]["by_receipt"] == 1
    assert episode.duration_s == pytest.approx(0.002)


def test_what_is_kept_is_read_by_evals_and_by_the_portal(tmp_path: Path) -> None:
    with BagMaker(tmp_path / "bag") as bag:
        for number in range(20):
            t = number * 10 * MS
            bag.add("/joint_states", joint_state(bag, bag.header(t), ["a", "b"], [number, 0.0], []), t)
            if number % 2 == 0:
                bag.add("/cmd_vel", bag.make("geometry_msgs/msg/Twist", linear=bag.vector(number, 0.0, 0.0)), t)
            bag.add("/mode", bag.make("std_msgs/msg/String", data=f"m{number // 10}"), t)
    encode_bag(tmp_path / "bag", tmp_path / "out")
    sensors, actions = arrays(tmp_path / "out"), arrays(tmp_path / "out", "actions")
    observed, acted = align(sensors, actions, ["/cmd_vel/linear"], np)
    assert len(observed) == len(acted) == 10
    assert [row["/joint_states/position"][0] for row in observed] == list(range(0, 20, 2))
    assert [row["/cmd_vel/linear"][0] for row in acted] == list(range(0, 20, 2))
    assert [str(row["/mode/data"]) for row in observed] == ["m0"] * 5 + ["m1"] * 5
    answer = read_series([("sensors", tmp_path / "out" / "sensors.npz")])
    assert b'"/joint_states/position"' in answer
    assert b'"rows": [[0.0, "m0"], [100.0, "m1"]]' in answer
