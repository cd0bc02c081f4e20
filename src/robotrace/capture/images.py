"""Image observations: which become video, which stay arrays, and which are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["Fate", "images_plan"]

Fate = Literal["video", "arrays", "drop"]

_CHANNELS = (1, 3, 4)
_STACK = 4
"""Channels last: four stacked frames far more often than RGBA, and as RGBA the newest frame would be lost."""
_LEAST_IMAGE_EDGE = 8
"""Of the shorter edge: a board of 3x3 bytes is no picture."""
_LEAST_CAMERA_EDGE = 96
"""What a policy sees of Atari is 84x84; a camera's view has 96 pixels or more on its longer edge."""


def images_plan(
    leaves: Mapping[str, tuple[DTypeLike, Sequence[int]]], option: Literal["auto", "video", "arrays", "drop"]
) -> dict[str, Fate]:
    """What becomes of each leaf of an observation.

    Args:
        leaves: The dtype and shape (of one row) of each leaf.
        option: ``auto``: a uint8 camera view becomes video; what is small, stacked, of four channels or float (depth,
            flow) stays an array. ``video``: each image that is one picture a row becomes video, a float one (its values
            in [0, 1]) if it has a camera's size. ``arrays``, ``drop``: of every image.

    Returns:
        One entry a leaf; whatever is no image is ``arrays``.
    """
    return {name: _fate(np.dtype(dtype), tuple(shape), option) for name, (dtype, shape) in leaves.items()}


def _fate(dtype: np.dtype[np.generic], shape: tuple[int, ...], option: str) -> Fate:
    if option == "arrays" or len(shape) not in (2, 3):
        return "arrays"
    picture = _picture_size(shape)
    height, width = picture or sorted(shape)[-2:]
    camera = max(height, width) >= _LEAST_CAMERA_EDGE and min(height, width) >= _LEAST_IMAGE_EDGE
    if dtype == np.uint8:
        image = min(height, width) >= _LEAST_IMAGE_EDGE
    else:
        image = dtype.kind == "f" and camera and option != "auto"
    if not image:
        return "arrays"
    if option == "drop":
        return "drop"
    if option == "auto" and len(shape) == 3 and shape[2] == _STACK:
        return "arrays"
    return "video" if picture is not None and (camera or option == "video") else "arrays"


def _picture_size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(height, width) of what :func:`robotrace.capture.frames.as_rgb` takes as one picture; None for a stack."""
    if len(shape) == 2:
        return shape[0], shape[1]
    if shape[2] in _CHANNELS:
        return shape[0], shape[1]
    return (shape[1], shape[2]) if shape[0] in (1, 3) else None
