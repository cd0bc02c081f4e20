"""Which episodes of the arm the showcase has."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PICKS", "Pick"]


@dataclass(frozen=True)
class Pick:
    """One episode of the arm.

    ``fault`` is what happens in it. With ``place_of`` the number of another one, it is the same up to there: seed,
    cube and noise.
    """

    fault: str | None
    policy: str
    robot: str
    env: str = "pick-place-1.4"
    source: str = "real"
    place_of: int | None = None


PICKS = (
    Pick(None, "act-v6", "arm-1", "pick-place-1.3"),
    Pick("slipped", "act-v6", "arm-1", "pick-place-1.3"),
    Pick(None, "act-v6", "arm-2", "pick-place-1.3"),
    Pick("NaN", "act-v6", "arm-2", "pick-place-1.3", place_of=2),
    Pick("out of reach", "act-v7", "arm-2"),
    Pick("force lost", "act-v7", "arm-2"),
    Pick("no answer", "act-v7", "arm-1"),
    Pick(None, "act-v7", "arm-1"),
    Pick(None, "diffusion-v2", "arm-sim", source="sim"),
    Pick("brownout", "diffusion-v2", "arm-2"),
    Pick(None, "diffusion-v2", "arm-2"),
    Pick("slipped", "diffusion-v2", "arm-sim", source="sim"),
    Pick(None, "act-v8-rc1", "arm-1"),
    Pick(None, "act-v8-rc1", "arm-sim", source="sim"),
    Pick("stall", "act-v8-rc1", "arm-2"),
    Pick(None, "act-v8-rc1", "arm-2"),
    Pick("NaN", "act-v8-rc1", "arm-2", place_of=15),
    Pick(None, "act-v8-rc1", "arm-1"),
)
"""The oldest first; the first four have what the pages' tests need."""
