"""Frames as users' renderers give them, made into (H, W, 3) uint8 RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_rgb"]

_NOT_UNIT = 2.0
"""A renderer's rounding goes a little beyond 1; what goes beyond this are floats from 0 to 255."""
_NEGATIVE = -0.5
"""Or a little below 0; what goes beyond this are values around 0, of which black would be the half."""


def as_rgb(frame: Any) -> NDArray[np.uint8]:
    """A frame as (H, W, 3) uint8 RGB; a view where nothing has to change (its strides may be negative).

    Takes (H, W), (H, W, 1), (H, W, 3), (H, W, 4), (1, H, W) and (3, H, W); uint8, bool, or float in [0, 1] (NaN is
    black); and whatever ``numpy.asarray`` takes, torch tensors on any device included. Alpha is left out.

    Raises:
        ValueError: It is no image of that kind.
    """
    if hasattr(frame, "detach"):
        frame = frame.detach().cpu()
        if str(frame.dtype) == "torch.bfloat16":  # numpy has none
            frame = frame.float()
    array = np.asarray(frame)
    if array.dtype.name == "bfloat16":  # JAX's, a type that numpy takes for raw bytes
        array = array.astype(np.float32)
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"a frame of shape {np.shape(frame)} is no image (H, W), (H, W, 1 | 3 | 4) or (3, H, W)")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "f":
        if float(np.max(array)) > _NOT_UNIT:
            raise ValueError(f"a float frame with values up to {float(np.max(array)):g} is no image; it takes [0, 1]")
        if float(np.min(array)) < _NEGATIVE:
            raise ValueError(f"a float frame with values from {float(np.min(array)):g} is no image; it takes [0, 1]")
        array = np.rint(np.clip(np.nan_to_num(array), 0.0, 1.0) * 255.0).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ValueError(f"a frame of dtype {array.dtype} is no image; it takes uint8, bool, or float in [0, 1]")
    if array.shape[2] == 1:
        return np.broadcast_to(array, (*array.shape[:2], 3))
    return array[:, :, :3]
