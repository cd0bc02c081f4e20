from __future__ import annotations

import pytest

from robotrace.capture.presets import VideoLoad, next_preset


def load(busy: float, *, preset: str = "superfast", frames: int = 1000, waits: int = 0) -> VideoLoad:
    """``busy``: the share of a core the encoder took."""
    return VideoLoad(preset, frames, waits, busy_s=busy * 10.0, open_s=10.0)


def test_the_first_video_is_superfast() -> None:
    assert next_preset(None, cores=2) == "superfast"


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (load(0.4), "superfast"),
        (load(0.4, waits=9), "superfast"),
        (load(0.4, waits=20), "ultrafast"),
        (load(0.1, waits=20), "ultrafast"),  # it waited for something, whatever its clock says
        (load(0.9), "ultrafast"),
        (load(0.1), "veryfast"),
        (load(0.35, preset="veryfast"), "veryfast"),
        (load(0.7, preset="veryfast"), "superfast"),
        (load(0.9, preset="ultrafast"), "ultrafast"),
        (load(0.5, preset="ultrafast"), "ultrafast"),
        (load(0.3, preset="ultrafast"), "superfast"),
        (load(0.1, preset="ultrafast"), "veryfast"),
        (load(0.9, frames=49), "superfast"),
        (load(0.0, preset="ultrafast", frames=3), "ultrafast"),
        (VideoLoad("veryfast", 100, 0, 0.0, 0.0), "veryfast"),
    ],
)
def test_the_next_one_follows_the_load_of_the_last(last: VideoLoad, expected: str) -> None:
    assert next_preset(last, cores=2) == expected


@pytest.mark.parametrize("share", [0.05, 0.2, 0.3, 0.45, 0.6, 0.9])
@pytest.mark.parametrize("first", ["ultrafast", "superfast", "veryfast"])
def test_under_a_steady_load_it_settles(share: float, first: str) -> None:
    # Mechanism: a dearer preset makes the encoder look busy, a cheaper one idle: each would undo the other.
    cost = {"ultrafast": 0.71, "superfast": 1.04, "veryfast": 1.65}
    chosen = [first]
    for _ in range(6):
        busy = share * cost[chosen[-1]] / cost["superfast"]
        chosen.append(next_preset(load(busy, preset=chosen[-1]), cores=4))
    assert len(set(chosen[2:])) == 1


def test_on_a_single_core_the_cheapest_is_taken() -> None:
    assert next_preset(None, cores=1) == next_preset(load(0.01), cores=1) == "ultrafast"
