"""The names, units and bounds of streams come from what somebody said, and from nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robotrace.serve.stream_facts import StreamFacts

JOINT_STATE = {"type": "sensor_msgs/msg/JointState", "names": ["hip", "knee"]}
TOPICS = {
    "/joint_states": JOINT_STATE,
    "/arm/imu": {"type": "sensor_msgs/msg/Imu"},
    "/odom": {"type": "nav_msgs/msg/Odometry"},
    "/battery": {"type": "sensor_msgs/msg/BatteryState"},
    "/own": {"type": "my_msgs/msg/Imu"},
}


def about(metadata: dict[str, Any], name: str, columns: int) -> dict[str, Any]:
    return StreamFacts(metadata).about(name, columns)


def test_of_a_stream_that_nobody_spoke_of_nothing_is_known() -> None:
    assert about({}, "observation", 4) == {}
    assert about({"streams": {"observation": {"unit": "m"}}}, "action", 4) == {}


def test_what_the_user_says_counts_most() -> None:
    metadata = {
        "streams": {
            "observation.state": {"names": ["a", "b"], "units": ["rad", None], "low": [-1, None], "high": 2.5},
            "mode": {"meanings": ["open", "close"]},
        },
        "lerobot": {"names": {"observation.state": ["x", "y"]}},
        "env": {"action_space": "Discrete(2)", "action_meanings": ["NOOP", "FIRE"]},
    }
    assert about(metadata, "observation.state", 2) == {
        "labels": ["a", "b"],
        "units": ["rad", None],
        "low": [-1.0, None],
        "high": [2.5, 2.5],
    }
    assert about(metadata, "observation.state#1", 2)["labels"] == ["a", "b"]  # it goes on with another dtype
    assert about(metadata, "mode", 1) == {"meanings": ["open", "close"]}
    assert about(metadata, "action", 1) == {"meanings": ["NOOP", "FIRE"]}


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        "rad",
        {"names": ["a"]},  # the stream has two columns
        {"names": "ab"},
        {"names": [1, 2]},
        {"names": []},
        {"units": ["m"]},
        {"units": [None, None]},
        {"unit": 3},
        {"low": "low", "high": [1]},
        {"low": True, "high": float("nan")},
        {"low": float("-inf"), "high": {"x": 1}},
        {"meanings": ["a", "b"]},  # of one integer a row only
    ],
)
def test_what_does_not_fit_is_as_if_it_was_not_said(said: Any) -> None:
    assert about({"streams": {"x": said}}, "x", 2) == {}


@pytest.mark.parametrize("broken", [3, [1], {"streams": 3, "lerobot": [], "ros2": {"topics": 1}, "env": "x"}])
def test_metadata_of_another_shape_are_no_metadata(broken: Any) -> None:
    assert about({"streams": broken, "action_bounds": {"low": "x", "high": None}}, "action", 2) == {}
    assert about({"action_bounds": {"low": [1, 2], "high": [1, 2, 3]}}, "action", 2) == {}


@pytest.mark.parametrize("names", [["a", "b"], {"motors": ["a", "b"]}, {"b": 1, "a": 0}])
def test_the_features_of_a_lerobot_dataset_are_named_in_three_ways(names: Any) -> None:
    assert about({"lerobot": {"names": {"action": names}}}, "action", 2) == {"labels": ["a", "b"]}


@pytest.mark.parametrize(
    ("name", "columns", "labels", "units"),
    [
        ("/joint_states/position", 2, ["hip", "knee"], None),  # radians or metres, it depends on the joint
        ("/joint_states/effort", 3, None, None),
        ("/joint_states/header.seq", 2, None, None),
        ("/arm/imu/linear_acceleration", 3, ["x", "y", "z"], ["m/s²"] * 3),
        ("/arm/imu/orientation", 4, ["x", "y", "z", "w"], None),
        ("/arm/imu/orientation_covariance", 9, None, None),
        ("/odom/twist.twist.angular", 3, ["x", "y", "z"], ["rad/s"] * 3),
        ("/battery/voltage", 1, None, ["V"]),
        ("/battery/cell_voltage", 1, None, None),
        ("/own/linear_acceleration", 3, None, None),
        ("/nowhere/position", 2, None, None),
    ],
)
def test_topics_are_named_and_have_units_as_their_definitions_say(
    name: str, columns: int, labels: list[str] | None, units: list[str] | None
) -> None:
    found = about({"ros2": {"topics": TOPICS}}, name, columns)
    assert (found.get("labels"), found.get("units")) == (labels, units)


def test_bounds_are_those_of_the_spaces_where_they_are_finite() -> None:
    metadata = {
        "env": {
            "observation_space": "Box([-4.8 -inf -0.41887903 -inf], [4.8 inf 0.41887903 inf], (4,), float32)",
            "action_space": "Dict('arm': Box(-1.0, 1.0, (2,), float32))",
        }
    }
    found = about(metadata, "observation", 4)
    assert found == {"low": [-4.8, None, -0.41887903, None], "high": [4.8, None, 0.41887903, None]}
    assert about(metadata, "action.arm", 2) == {"low": [-1, -1], "high": [1, 1]}
    assert about(metadata, "action", 2) == {}
    assert about(metadata, "observation", 5) == {}
    assert about({"action_bounds": {"low": -1, "high": [1, 2]}}, "action", 2)["high"] == [1, 2]


def test_an_imported_dataset_names_its_columns(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("huggingface_hub")
    from lerobot_datasets import write_dataset

    from robotrace.adapters.lerobot import encode_episode

    metadata = encode_episode(write_dataset(tmp_path / "picks", "v3.0"), 0, tmp_path / "out").metadata
    assert about(dict(metadata), "observation.state", 3) == {"labels": ["x", "y", "z"]}
