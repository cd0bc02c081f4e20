"""Runs in a series of truths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["longest_run", "segments"]


def longest_run(mask: NDArray[Any]) -> tuple[int, int]:
    """Where the longest run of true values begins, and its length; ``(0, 0)`` where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    if not len(edges):
        return 0, 0
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    longest = int(lengths.argmax())
    return int(starts[longest]), int(lengths[longest])


def segments(changed: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Starts and lengths of the stretches in which a series keeps its value.

    Args:
        changed: ``(rows - 1,)``: whether a row has another value than the one before it.
    """
    starts = np.concatenate(([0], np.flatnonzero(changed) + 1))
    return starts, np.diff(np.concatenate((starts, [len(changed) + 1])))
