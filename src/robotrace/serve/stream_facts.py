"""What an episode's metadata says of its streams: the names and units of columns, their bounds, what actions mean.

Nothing is guessed: a stream of which nobody said anything keeps the indices of its columns as their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotrace.explain.bounds import Bounds, action_bounds, parse_space
from robotrace.serve.values import finite

__all__ = ["StreamFacts"]

_BOUNDLESS = 3.4e38
"""What Gymnasium before 1.0 gives CartPole where it has no bound: the largest float32."""
_MAX_TEXT = 80
"""Letters of a name; more would not fit into a legend."""
_SEGMENT = re.compile(r"#\d+$")
"""A stream whose dtype or shape changed goes on as ``<name>#1``."""
_JOINTS = ("position", "velocity", "effort", "positions", "velocities", "accelerations", "displacements")

_Fields = dict[str, tuple[tuple[str, ...], str | None]]
"""The names of a field's columns and its unit."""
_XYZ, _XYZW = ("x", "y", "z"), ("x", "y", "z", "w")
_POSE: _Fields = {"position": (_XYZ, "m"), "orientation": (_XYZW, None)}
_TWIST: _Fields = {"linear": (_XYZ, "m/s"), "angular": (_XYZ, "rad/s")}
_WRENCH: _Fields = {"force": (_XYZ, "N"), "torque": (_XYZ, "N·m")}
_TRANSFORM: _Fields = {"translation": (_XYZ, "m"), "rotation": (_XYZW, None)}


def _below(prefix: str, fields: _Fields) -> _Fields:
    return {f"{prefix}.{field}": facts for field, facts in fields.items()}


_ROS_FIELDS: dict[str, _Fields] = {
    "geometry_msgs/msg/Pose": _POSE,
    "geometry_msgs/msg/PoseStamped": _below("pose", _POSE),
    "geometry_msgs/msg/PoseWithCovarianceStamped": _below("pose.pose", _POSE),
    "geometry_msgs/msg/Twist": _TWIST,
    "geometry_msgs/msg/TwistStamped": _below("twist", _TWIST),
    "geometry_msgs/msg/Wrench": _WRENCH,
    "geometry_msgs/msg/WrenchStamped": _below("wrench", _WRENCH),
    "geometry_msgs/msg/TransformStamped": _below("transform", _TRANSFORM),
    "nav_msgs/msg/Odometry": {**_below("pose.pose", _POSE), **_below("twist.twist", _TWIST)},
    "sensor_msgs/msg/Imu": {
        "orientation": (_XYZW, None),
        "angular_velocity": (_XYZ, "rad/s"),
        "linear_acceleration": (_XYZ, "m/s²"),
    },
    "sensor_msgs/msg/MagneticField": {"magnetic_field": (_XYZ, "T")},
    "sensor_msgs/msg/BatteryState": {
        "voltage": ((), "V"),
        "current": ((), "A"),
        "charge": ((), "Ah"),
        "capacity": ((), "Ah"),
        "temperature": ((), "°C"),
    },
    "sensor_msgs/msg/Temperature": {"temperature": ((), "°C")},
    "sensor_msgs/msg/FluidPressure": {"fluid_pressure": ((), "Pa")},
    "sensor_msgs/msg/Illuminance": {"illuminance": ((), "lx")},
    "sensor_msgs/msg/Range": {"range": ((), "m")},
    "sensor_msgs/msg/NavSatFix": {"latitude": ((), "°"), "longitude": ((), "°"), "altitude": ((), "m")},
}
"""As the definitions of these messages say it. A JointState's units depend on the joint: it is not here."""


class StreamFacts:
    """Looks up what is known of a stream.

    What the user said in ``metadata["streams"]`` counts most::

        {"observation": {"names": ["x", "x_dot"], "units": ["m", "m/s"]}, "reward": {"unit": "N"},
         "action": {"meanings": ["left", "right"], "low": 0, "high": 1}}

    Then what an import found (the feature names of a LeRobot dataset, joint names and message types of a ROS 2 bag),
    and what the recorder wrote of the environment: the bounds of its spaces and what its discrete actions mean.

    Args:
        metadata: Of the episode.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._said = _mapping(metadata.get("streams"))
        self._features = _mapping(_mapping(metadata.get("lerobot")).get("names"))
        self._topics = _mapping(_mapping(metadata.get("ros2")).get("topics"))
        env = _mapping(metadata.get("env"))
        meanings = _texts(env.get("action_meanings"))
        self._meanings = {"action": meanings} if meanings else {}
        self._bounds: dict[str, Bounds] = {}
        space = env.get("observation_space")
        if isinstance(space, str):
            self._bounds.update(_safely(parse_space, space, "observation"))
        self._bounds.update(_safely(action_bounds, metadata))

    def about(self, name: str, columns: int) -> dict[str, Any]:
        """What is known of a stream, as series.bin has it in its header.

        Args:
            name: Of the stream.
            columns: How many values a row has.

        Returns:
            ``labels``, ``units``, ``low`` and ``high`` (a value for each column, None where there is none) and
            ``meanings`` (of the integers from 0 on); only those that are known.
        """
        name = _SEGMENT.sub("", name)
        said = _mapping(self._said.get(name))
        ros_names, ros_unit = self._of_topic(name, columns)
        labels = (
            _exactly(columns, said.get("names"))
            or _exactly(columns, _flat(self._features.get(name)))
            or _exactly(columns, ros_names)
        )
        units = _units(columns, said) or _units(columns, {"unit": ros_unit})
        low, high = self._bounds_of(name, columns, said)
        meanings = (_texts(said.get("meanings")) or self._meanings.get(name)) if columns == 1 else None
        found = {"labels": labels, "units": units, "low": low, "high": high, "meanings": meanings}
        return {key: value for key, value in found.items() if value}

    def _of_topic(self, name: str, columns: int) -> tuple[Sequence[str] | None, str | None]:
        topic = max((known for known in self._topics if name.startswith(f"{known}/")), key=len, default=None)
        if topic is None:
            return None, None
        facts = _mapping(self._topics[topic])
        field = name[len(topic) + 1 :]
        names, unit = _ROS_FIELDS.get(str(facts.get("type")), {}).get(field, (None, None))
        if not names and field.rpartition(".")[2] in _JOINTS:
            names = tuple(_texts(facts.get("names")) or ())
        return names, unit if columns == len(names or "1") else None

    def _bounds_of(self, name: str, columns: int, said: Mapping[str, Any]) -> tuple[list[Any] | None, list[Any] | None]:
        low, high = (_numbers(columns, said.get(side)) for side in ("low", "high"))
        if low is not None or high is not None:
            return low, high
        bounds = self._bounds.get(name)
        if bounds is None or len(bounds[0]) != columns:
            return None, None
        return _finite(bounds[0]), _finite(bounds[1])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: Any) -> list[str] | None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    return [item[:_MAX_TEXT] for item in value] if value and all(isinstance(item, str) for item in value) else None


def _exactly(columns: int, names: Any) -> list[str] | None:
    found = _texts(names)
    return found if found is not None and len(found) == columns else None


def _flat(names: Any) -> Any:
    """LeRobot's names: a list, ``{"motors": [...]}``, or ``{"x": 0, "y": 1}``."""
    if not isinstance(names, Mapping):
        return names
    values = list(names.values())
    if len(values) == 1 and isinstance(values[0], list):
        return values[0]
    return sorted(names, key=lambda name: names[name]) if all(type(value) is int for value in values) else None


def _units(columns: int, said: Mapping[str, Any]) -> list[str | None] | None:
    unit = said.get("unit")
    given: Any = [unit] * columns if isinstance(unit, str) else said.get("units")
    if not isinstance(given, list) or len(given) != columns or not any(isinstance(item, str) for item in given):
        return None
    return [item[:_MAX_TEXT] if isinstance(item, str) and item else None for item in given]


def _numbers(columns: int, given: Any) -> list[Any] | None:
    values: Iterable[Any] = given if isinstance(given, list) else [given] * columns
    found = [finite(value) for value in values]
    return found if len(found) == columns and any(value is not None for value in found) else None


def _finite(bounds: NDArray[np.float64]) -> list[Any] | None:
    return _numbers(len(bounds), [value if abs(value) < _BOUNDLESS else None for value in bounds.tolist()])


def _safely(read: Any, *arguments: Any) -> dict[str, Bounds]:
    """Metadata is the user's: bounds of other shapes than ours are no bounds."""
    try:
        found: dict[str, Bounds] = read(*arguments)
        return found
    except (TypeError, ValueError, OverflowError):
        return {}
