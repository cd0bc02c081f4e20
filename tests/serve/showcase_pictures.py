"""What the cameras of the showcase see: an arm over a table, drawn with NumPy alone."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["CUBE_M", "GOAL", "LINKS_M", "front_view", "joints_in_space", "top_view", "wrist_view"]

Image = NDArray[np.float32]
Colour = tuple[float, float, float]

LINKS_M = (0.30, 0.34, 0.30, 0.12)
"""Pedestal, upper arm, forearm, hand."""
CUBE_M = 0.06
FRONT = (360, 480)
TOP = (240, 240)
WRIST = (192, 192)
GOAL = (0.30, -0.32)
"""Middle of the tray, in metres on the table."""

_STEEL, _JOINT, _HAND, _CUBE, _TRAY = (205, 212, 220), (46, 58, 74), (86, 98, 114), (232, 126, 44), (64, 148, 132)


def joints_in_space(angles: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the joints of the arm are: ``(5, 3)`` metres, from the pedestal's foot to the tip.

    Args:
        angles: Of the seven joints, in rad; the rolls do not move the links.
    """
    yaw, shoulder, _, elbow, _, wrist, _ = (float(angle) for angle in angles)
    radius, height = [0.0, 0.0], [0.0, LINKS_M[0]]
    pitch = 0.0
    for length, turn in zip(LINKS_M[1:], (shoulder, elbow, wrist), strict=True):
        pitch += turn
        radius.append(radius[-1] + length * np.cos(pitch))
        height.append(height[-1] + length * np.sin(pitch))
    return np.stack([np.cos(yaw) * np.array(radius), np.sin(yaw) * np.array(radius), np.array(height)], axis=1)


def front_view(
    angles: NDArray[np.float64], cube: NDArray[np.float64], opening_m: float, *, alarm: bool = False
) -> NDArray[np.uint8]:
    """``(360, 480, 3) uint8`` of a camera that looks over the arm's shoulder."""
    image = _front_background().copy()
    points = joints_in_space(angles)
    for a, b in itertools.pairwise(points):  # the shadow on the table
        _capsule(image, _front(a * _by(1, 1, 0)), _front(b * _by(1, 1, 0)), 7, 5, (20, 24, 30), opacity=0.28, flat=True)
    if cube[2] < 0.2:
        _box(image, cube)
    (foot, *_), pixels = points, [_front(point) for point in points]
    base = _front(foot + _by(0, 0, 0.02))
    _capsule(image, base + _by(-22, 4), base + _by(22, 4), 12, 12, _JOINT)
    for (a, b), (wide, narrow) in zip(itertools.pairwise(pixels), ((19, 17), (16, 12), (12, 9), (7, 7)), strict=True):
        _capsule(image, a, b, wide, narrow, _STEEL if wide > 8 else _HAND)
    for point, size in zip(pixels[1:-1], (14, 11, 9), strict=True):
        _disc(image, point, size, _JOINT)
        _disc(image, point, size * 0.4, (230, 80, 52) if alarm else (120, 190, 255))
    if cube[2] >= 0.2:
        _box(image, cube)
    across = np.array([-np.sin(angles[0]), np.cos(angles[0]), 0.0]) * (opening_m / 2 + 0.008)
    for side in (-1, 1):
        finger = points[-1] + side * across
        _capsule(image, _front(finger + _by(0, 0, 0.015)), _front(finger - _by(0, 0, 0.05)), 3.5, 3, _JOINT)
    return _finish(image)


def top_view(angles: NDArray[np.float64], cube: NDArray[np.float64]) -> NDArray[np.uint8]:
    """``(240, 240, 3) uint8`` of a camera that hangs above the table."""
    image = _top_background().copy()
    half = CUBE_M / 2 * 200
    centre = _top(cube)
    _fill(image, [centre + _by(x, y) for x, y in ((-half, -half), (half, -half), (half, half), (-half, half))], _CUBE)
    pixels = [_top(point) for point in joints_in_space(angles)]
    _disc(image, pixels[0], 17, _JOINT)
    for (a, b), width in zip(itertools.pairwise(pixels[1:]), (10, 8, 5), strict=True):
        _capsule(image, a, b, width, width * 0.8, _STEEL if width > 5 else _HAND)
        _disc(image, a, width * 0.7, _JOINT)
    return _finish(image)


def wrist_view(angles: NDArray[np.float64], cube: NDArray[np.float64], opening_m: float) -> NDArray[np.uint8]:
    """``(192, 192, 3) uint8`` of the camera between the fingers, which looks down."""
    tip = joints_in_space(angles)[-1]
    height, width = WRIST
    rows, columns = _grid(height, width)
    scale = (0.25 + max(tip[2], 0.0) * 1.6) / width
    turn = angles[0] + 0.3 * angles[6]
    right, down = (columns - width / 2) * scale, (rows - height / 2) * scale
    x = tip[0] + np.cos(turn) * right - np.sin(turn) * down
    y = tip[1] + np.sin(turn) * right + np.cos(turn) * down
    image = _table(x, y, 0.8 * scale)
    for (cx, cy), half, colour in ((GOAL, 0.10, _TRAY), ((cube[0], cube[1]), CUBE_M / 2, _CUBE)):
        inside = np.clip(0.5 - (np.maximum(abs(x - cx), abs(y - cy)) - half) / scale, 0, 1)[..., None]
        image[:] = image * (1 - inside) + np.array(colour, np.float32) * inside
    gap = 12 + opening_m * 900
    for side in (-1, 1):
        foot = np.array([width / 2 + side * gap, height + 6.0])
        _capsule(image, foot, np.array([width / 2 + side * gap * 0.8, height * 0.62]), 13, 8, _HAND)
    return _finish(image)


def _by(*parts: float) -> NDArray[np.float64]:
    return np.array(parts, np.float64)


def _front(point: NDArray[np.float64]) -> NDArray[np.float64]:
    # A camera 1.3 m behind the arm and 0.62 m above the table.
    x, y, z = point
    depth = 1.3 + 0.8 * x
    return np.array([240 - 440 * y / depth, 150 - 440 * (z - 0.56) / depth])


def _top(point: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([120 + 200 * point[1], 30 + 200 * point[0]])


def _grid(height: int, width: int) -> tuple[Image, Image]:
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return rows, columns


def _table(x: Image, y: Image, soft: float) -> Image:
    """A table with a line each 10 cm."""
    image = np.empty((*x.shape, 3), np.float32)
    image[:] = (150, 158, 168)
    for axis in (x, y):
        line = np.clip(1.2 - abs((axis + 0.05) % 0.1 - 0.05) / max(soft, 0.0012), 0, 1)[..., None]
        image *= 1 - 0.16 * line
    return image


@functools.lru_cache(maxsize=1)
def _front_background() -> Image:
    height, width = FRONT
    rows, columns = _grid(height, width)
    image = np.empty((height, width, 3), np.float32)
    shade = (rows / height)[..., None]
    image[:] = np.array((58, 68, 82)) * (1 - shade) + np.array((96, 108, 122)) * shade
    table = ((0.95, -0.75), (0.95, 0.75), (-0.25, 0.75), (-0.25, -0.75))
    _fill(image, [_front(_by(*corner, 0)) for corner in table], (148, 156, 166))
    for step in np.arange(-0.7, 0.71, 0.1):
        _capsule(
            image, _front(np.array((-0.25, step, 0))), _front(np.array((0.95, step, 0))), 0.6, 0.8, (126, 134, 145)
        )
    for step in np.arange(-0.2, 0.91, 0.1):
        _capsule(
            image, _front(np.array((step, -0.75, 0))), _front(np.array((step, 0.75, 0))), 0.7, 0.7, (126, 134, 145)
        )
    x, y = GOAL
    tray = ((-0.1, -0.1), (0.1, -0.1), (0.1, 0.1), (-0.1, 0.1))
    _fill(image, [_front(_by(x + a, y + b, 0)) for a, b in tray], _TRAY)
    # Brighter in the middle: a lamp.
    lamp = np.exp(-(((columns - 240) / 260) ** 2) - ((rows - 190) / 200) ** 2)[..., None]
    return image * (0.82 + 0.26 * lamp)


@functools.lru_cache(maxsize=1)
def _top_background() -> Image:
    height, width = TOP
    rows, columns = _grid(height, width)
    image = _table((rows - 30) / 200, (columns - 120) / 200, 0.004)
    x, y = (30 + 200 * GOAL[0], 120 + 200 * GOAL[1])
    _fill(image, [np.array((y + a, x + b)) for a, b in ((-20, -20), (20, -20), (20, 20), (-20, 20))], _TRAY)
    return image


def _box(image: Image, cube: NDArray[np.float64]) -> None:
    half = CUBE_M / 2
    corner = {(a, b, c): _front(cube + half * _by(a, b, c)) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)}
    faces = (
        (((-1, -1, 1), (-1, 1, 1), (1, 1, 1), (1, -1, 1)), 1.08),
        (((-1, -1, -1), (-1, 1, -1), (-1, 1, 1), (-1, -1, 1)), 0.86),
    )
    for corners, light in faces:
        _fill(image, [corner[each] for each in corners], tuple(min(255.0, part * light) for part in _CUBE))  # type: ignore[arg-type]


def _fill(image: Image, corners: Sequence[NDArray[np.float64]], colour: Colour) -> None:
    """A convex polygon with soft edges."""
    points = np.array(corners)
    low = np.maximum(np.floor(points.min(0)).astype(int) - 1, 0)
    high = np.ceil(points.max(0)).astype(int) + 2
    part = image[low[1] : high[1], low[0] : high[0]]
    if part.size == 0:
        return
    rows, columns = _grid(*part.shape[:2])
    rows, columns = rows + low[1], columns + low[0]
    turning = _turn(points)
    inside = np.full(part.shape[:2], np.inf, np.float32)
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        edge = b - a
        distance = (edge[0] * (rows - a[1]) - edge[1] * (columns - a[0])) / max(float(np.hypot(*edge)), 1e-6)
        inside = np.minimum(inside, distance * turning)
    alpha = np.clip(inside + 0.5, 0, 1)[..., None]
    part[:] = part * (1 - alpha) + np.array(colour, np.float32) * alpha


def _turn(points: NDArray[np.float64]) -> float:
    a, b = points[1] - points[0], points[2] - points[1]
    return 1.0 if a[0] * b[1] - a[1] * b[0] > 0 else -1.0


def _capsule(
    image: Image,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    wide: float,
    narrow: float,
    colour: Colour,
    *,
    opacity: float = 1.0,
    flat: bool = False,
) -> None:
    """A line with round ends, lit from one side."""
    reach = max(wide, narrow) + 2
    low = np.maximum(np.floor(np.minimum(a, b) - reach).astype(int), 0)
    high = np.ceil(np.maximum(a, b) + reach).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    if part.size == 0:
        return
    rows, columns = _grid(*part.shape[:2])
    x, y = columns + (low[0] - a[0]), rows + (low[1] - a[1])
    along = b - a
    length = float(np.hypot(*along))
    share = np.clip((x * along[0] + y * along[1]) / max(length**2, 1e-9), 0, 1)
    radius = wide + (narrow - wide) * share
    alpha = np.clip(radius - np.hypot(x - share * along[0], y - share * along[1]) + 0.5, 0, 1)[..., None] * opacity
    paint = np.array(colour, np.float32)
    if not flat and length > 1:
        side = (x * along[1] - y * along[0]) / length / np.maximum(radius, 1)
        paint = paint * (1.0 + 0.22 * np.clip(side, -1, 1))[..., None]
    part[:] = part * (1 - alpha) + paint * alpha


def _disc(image: Image, middle: NDArray[np.float64], radius: float, colour: Colour) -> None:
    _capsule(image, middle, middle + _by(0.01, 0), radius, radius, colour, flat=True)


def _finish(image: Image) -> NDArray[np.uint8]:
    return np.clip(image, 0, 255).astype(np.uint8)
