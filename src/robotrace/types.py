"""Typed values for an episode's metadata.

Metres, radians, seconds; quaternions are ``[x, y, z, w]`` (the order of ROS 2 and Eigen). On the wire each is a JSON
object with ``"__type": "robotrace.<Class>"`` and every field, unknown ones as null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Battery", "EpisodeOutcome", "Imu", "JointState", "Pose3D", "Twist", "encode"]


class _Typed:
    def to_dict(self) -> dict[str, Any]:
        """The wire form: ``__type`` and every field."""
        body: dict[str, Any] = {"__type": f"robotrace.{type(self).__name__}"}
        for item in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            body[item.name] = getattr(self, item.name)
        return body


def _numbers(owner: object, name: str, size: int | None = None) -> None:
    values = getattr(owner, name)
    if values is None:
        return
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError) as exc:
        raise TypeError(f"{type(owner).__name__}.{name} must be numbers, got {values!r}") from exc
    if size is not None and len(numbers) != size:
        raise ValueError(f"{type(owner).__name__}.{name} must have {size} values, got {len(numbers)}")
    object.__setattr__(owner, name, numbers)


@dataclass(frozen=True)
class JointState(_Typed):
    """Joint positions (rad or m), velocities (rad/s or m/s), efforts (Nm or N) and names, side by side."""

    positions: Sequence[float]
    velocities: Sequence[float] | None = None
    efforts: Sequence[float] | None = None
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("positions", "velocities", "efforts"):
            _numbers(self, name)
        if self.names is not None:
            object.__setattr__(self, "names", [str(name) for name in self.names])


@dataclass(frozen=True)
class Pose3D(_Typed):
    """A pose: translation in metres, rotation as a quaternion ``[x, y, z, w]``."""

    translation: Sequence[float]
    rotation: Sequence[float]

    def __post_init__(self) -> None:
        _numbers(self, "translation", 3)
        _numbers(self, "rotation", 4)


@dataclass(frozen=True)
class Twist(_Typed):
    """Linear (m/s) and angular (rad/s) velocity."""

    linear: Sequence[float]
    angular: Sequence[float]

    def __post_init__(self) -> None:
        _numbers(self, "linear", 3)
        _numbers(self, "angular", 3)


@dataclass(frozen=True)
class Imu(_Typed):
    """One IMU reading: acceleration (m/s²), angular velocity (rad/s), orientation ``[x, y, z, w]`` where known."""

    linear_acceleration: Sequence[float]
    angular_velocity: Sequence[float]
    orientation: Sequence[float] | None = None

    def __post_init__(self) -> None:
        _numbers(self, "linear_acceleration", 3)
        _numbers(self, "angular_velocity", 3)
        _numbers(self, "orientation", 4)


@dataclass(frozen=True)
class Battery(_Typed):
    """Charge in percent (0 to 100), voltage (V), current (A), and whether it is charging."""

    percent: float | None = None
    voltage_v: float | None = None
    current_a: float | None = None
    charging: bool | None = None


@dataclass(frozen=True)
class EpisodeOutcome(_Typed):
    """How an episode ended; what is not known stays None."""

    success: bool | None = None
    reward_total: float | None = None
    collision_count: int | None = None
    time_to_goal_s: float | None = None


def encode(value: Any) -> Any:
    """``value`` with every typed value in it, however deep, replaced by its wire form; the rest is left as it is."""
    if isinstance(value, _Typed):
        return {key: encode(item) for key, item in value.to_dict().items()}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value
