"""Which of libx264's presets the next video gets: decided between videos, never inside one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FIRST_PRESET", "VideoLoad", "next_preset"]

FIRST_PRESET = "superfast"

_COST_MS = {"ultrafast": 0.71, "superfast": 1.04, "veryfast": 1.65}
"""Of CPU, a frame of 480x640."""
_LEAST_FRAMES = 50
"""A shorter video says nothing about the load."""
_WAITS = 0.01
_BUSY = 0.75
_EASY = 0.5
_IDLE = 0.25


@dataclass(frozen=True)
class VideoLoad:
    """What the last video cost.

    Attributes:
        preset: It was encoded with.
        frames: Encoded.
        waits: How often the training thread found the ring full (and waited, or dropped the frame).
        busy_s: CPU time of the encoder while the video was open.
        open_s: How long it was open.
    """

    preset: str
    frames: int
    waits: int
    busy_s: float
    open_s: float


def next_preset(last: VideoLoad | None, cores: int) -> str:
    """The preset of the next video.

    Args:
        last: The last one's load; None before the first.
        cores: That this process may use. With one, the encoder's time is the training's.

    Returns:
        ``ultrafast`` after waits for more than 1 % of the frames or a busy encoder, ``veryfast`` (a third of the
        bytes of ultrafast) after an idle one, else ``superfast``.
    """
    if cores == 1:
        return "ultrafast"
    if last is None:
        return FIRST_PRESET
    if last.frames < _LEAST_FRAMES or last.open_s <= 0.0:
        return last.preset
    if last.waits > _WAITS * (last.frames + last.waits):
        return "ultrafast"
    # As a share of one core, had it been superfast: what the present preset saves or adds must not make it swing.
    share = last.busy_s / last.open_s * _COST_MS["superfast"] / _COST_MS[last.preset]
    if share > _BUSY:
        return "ultrafast"
    if share < _IDLE:
        return "veryfast"
    return "ultrafast" if last.preset == "ultrafast" and share > _EASY else "superfast"
