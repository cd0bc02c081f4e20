"""Typed values and their wire form."""

import dataclasses
import json

import pytest

from robotrace.types import Battery, EpisodeOutcome, Imu, JointState, Pose3D, Twist, encode

WIRE = [
    (
        JointState([0.5], [1.0], [2.0], ["elbow"]),
        {
            "__type": "robotrace.JointState",
            "positions": [0.5],
            "velocities": [1.0],
            "efforts": [2.0],
            "names": ["elbow"],
        },
    ),
    (
        JointState([1]),
        {"__type": "robotrace.JointState", "positions": [1.0], "velocities": None, "efforts": None, "names": None},
    ),
    (
        Pose3D((1, 2, 3), (0, 0, 0, 1)),
        {"__type": "robotrace.Pose3D", "translation": [1.0, 2.0, 3.0], "rotation": [0.0, 0.0, 0.0, 1.0]},
    ),
    (
        Twist([1, 2, 3], [4, 5, 6]),
        {"__type": "robotrace.Twist", "linear": [1.0, 2.0, 3.0], "angular": [4.0, 5.0, 6.0]},
    ),
    (
        Imu([0, 0, 9.8], [0, 0, 0]),
        {
            "__type": "robotrace.Imu",
            "linear_acceleration": [0.0, 0.0, 9.8],
            "angular_velocity": [0.0, 0.0, 0.0],
            "orientation": None,
        },
    ),
    (
        Battery(50.0, 24.5, -2.0, False),
        {"__type": "robotrace.Battery", "percent": 50.0, "voltage_v": 24.5, "current_a": -2.0, "charging": False},
    ),
    (
        EpisodeOutcome(True, 1.5, 2, 3.5),
        {
            "__type": "robotrace.EpisodeOutcome",
            "success": True,
            "reward_total": 1.5,
            "collision_count": 2,
            "time_to_goal_s": 3.5,
        },
    ),
]


@pytest.mark.parametrize(("value", "wire"), WIRE)
def test_the_wire_form_has_the_type_and_every_field_in_order(value, wire):
    assert value.to_dict() == wire
    assert list(value.to_dict()) == list(wire)
    assert json.loads(json.dumps(encode(value))) == wire


@pytest.mark.parametrize(("value", "wire"), WIRE)
def test_encode_reaches_into_containers(value, wire):
    assert encode({"a": [value, (value,)], "b": 1}) == {"a": [wire, [wire]], "b": 1}


def test_encode_leaves_the_rest_as_it_is():
    other = object()
    assert encode(other) is other


@pytest.mark.parametrize(("value", "_"), WIRE)
def test_typed_values_are_frozen(value, _):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Pose3D([1, 2], [0, 0, 0, 1]), "Pose3D.translation must have 3 values, got 2"),
        (lambda: Pose3D([1, 2, 3], [0, 0, 1]), "Pose3D.rotation must have 4 values, got 3"),
        (lambda: Twist([1, 2, 3], [1]), "Twist.angular must have 3 values, got 1"),
        (lambda: Imu([1], [1, 2, 3]), "Imu.linear_acceleration must have 3 values"),
        (lambda: Imu([1, 2, 3], [1, 2, 3], [1, 2, 3]), "Imu.orientation must have 4 values"),
    ],
)
def test_a_vector_of_another_size_is_refused_by_name(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize(
    "make", [lambda: JointState(["a"]), lambda: JointState(5), lambda: JointState([1.0], velocities=[[1.0]])]
)
def test_a_vector_of_anything_but_numbers_is_refused_by_name(make):
    with pytest.raises(TypeError, match=r"JointState\.(positions|velocities) must be numbers"):
        make()


def test_numpy_vectors_are_vectors():
    np = pytest.importorskip("numpy")
    pose = Pose3D(np.zeros(3), np.array([0, 0, 0, 1], dtype=np.float32))
    assert json.loads(json.dumps(encode(pose)))["rotation"] == [0.0, 0.0, 0.0, 1.0]
    state = JointState(np.arange(2), names=np.array(["a", "b"]))
    assert state.to_dict()["names"] == ["a", "b"]
