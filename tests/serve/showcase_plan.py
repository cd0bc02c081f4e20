"""Which episodes of the arm the showcase has."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PICKS", "Pick"]


@dataclass(frozen=True)
class Pick:
    """One episode of the arm; ``fault`` is what happens in it."""

    fault: str | None
    policy: str
    robot: str
    env: str = "pick-place-1.4"
    source: str = "real"


PICKS = (
    Pick(None, "act-v6", "arm-1", "pick-place-1.3"),
    Pick("slipped", "act-v6", "arm-1", "pick-place-1.3"),
    Pick("out of reach", "act-v6", "arm-2", "pick-place-1.3"),
    Pick(None, "act-v7", "arm-2"),
    Pick("force lost", "act-v7", "arm-2"),
    Pick("no answer", "act-v7", "arm-1"),
    Pick("NaN", "act-v7", "arm-1"),
    Pick(None, "act-v7", "arm-1"),
    Pick(None, "diffusion-v2", "arm-sim", source="sim"),
    Pick("brownout", "diffusion-v2", "arm-2"),
    Pick(None, "diffusion-v2", "arm-2"),
    Pick("slipped", "diffusion-v2", "arm-sim", source="sim"),
    Pick(None, "act-v8-rc1", "arm-1"),
    Pick(None, "act-v8-rc1", "arm-sim", source="sim"),
    Pick("stall", "act-v8-rc1", "arm-2"),
    Pick(None, "act-v8-rc1", "arm-2"),
    Pick("NaN", "act-v8-rc1", "arm-2"),
    Pick(None, "act-v8-rc1", "arm-1"),
)
"""The oldest first; the first seven have one of each kind."""
