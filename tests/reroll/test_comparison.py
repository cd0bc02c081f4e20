"""Same or not, to the bit, and where not."""

from __future__ import annotations

from typing import Any

import pytest

np = pytest.importorskip("numpy")

from robotrace.capture.rows import Graph  # noqa: E402
from robotrace.reroll.comparison import first_mismatch, unrecorded  # noqa: E402

NAN = np.array([np.nan, 1.0])


@pytest.mark.parametrize(
    ("recorded", "here"),
    [
        (np.float32([1, 2]), np.float32([1, 2])),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (NAN, NAN.copy()),
        ("text", "text"),
        (None, None),
        ({"a": np.ones(2), "b": "x"}, {"b": "x", "a": np.ones(2)}),
        ((np.int64(1), "x"), (1, "x")),
        (Graph(np.ones((2, 3)), None, None), (np.ones((2, 3)), None, None)),
        (np.zeros((0, 3)), np.zeros((0, 3))),
    ],
)
def test_the_same(recorded: Any, here: Any) -> None:
    assert first_mismatch(recorded, here, "observation") is None


@pytest.mark.parametrize(
    ("recorded", "here", "name", "distance"),
    [
        (np.float64([1.0, 2.0]), np.float64([1.0, 2.5]), "o", 0.5),
        (np.float64(0.0), np.float64(-0.0), "o", 0.0),
        (np.float64([np.nan]), np.float64([1.0]), "o", None),
        (np.uint8([0]), np.uint8([255]), "o", 255.0),
        (np.float32([1]), np.float64([1]), "o", None),
        (np.ones(2), np.ones(3), "o", None),
        (np.ones(2), np.ones((2, 1)), "o", None),
        (np.int64(3), 3.0, "o", None),
        ("a", "b", "o", None),
        ("a", np.ones(1), "o", None),
        ("a", np.ones(3), "o", None),
        (None, 1, "o", None),
        ({"a": np.int64(1), "b": np.int64(2)}, {"a": 1, "b": 3}, "o.b", 1.0),
        ({"a": np.int64(1)}, {}, "o.a", None),
        ({"a": np.int64(1)}, 1, "o", None),
        ((np.int64(1),), (1, 2), "o", None),
        ((np.int64(1), np.int64(2)), (1, 3), "o.1", 1.0),
    ],
)
def test_not_the_same(recorded: Any, here: Any, name: str, distance: float | None) -> None:
    found = first_mismatch(recorded, here, "o")
    assert found is not None
    assert (found.name, found.distance) == (name, distance)
    assert found.recorded != found.here


def test_of_a_large_array_the_first_value_that_differs_is_named() -> None:
    recorded = np.zeros((4, 5, 3), np.uint8)
    here = recorded.copy()
    here[1, 2, 0], here[3, 0, 1] = 7, 200
    found = first_mismatch(recorded, here, "observation")
    assert found is not None
    assert (found.recorded, found.here) == ("[1, 2, 0] 0", "[1, 2, 0] 7 (2 of 60 values differ)")
    assert found.distance == 200.0


@pytest.mark.parametrize(
    ("recorded", "here", "same"),
    [
        (np.float64(1.0), 1, True),  # an int now and a float then: recorded in float64
        (np.float32([1.5]), np.float64([1.5]), True),  # a vector's array of the space's dtype
        (np.float32([1.5]), np.float64([1.50000001]), True),
        (np.float32([1.5]), np.float64([1.6]), False),
        (np.int64(1), 1.5, False),
        (np.float64(1.0), 2, False),
    ],
)
def test_what_went_through_another_dtype_is_compared_in_it(recorded: Any, here: Any, same: bool) -> None:
    assert (first_mismatch(recorded, here, "reward", cast=True) is None) is same


def test_what_nobody_recorded_is_named() -> None:
    recorded = {"pose": np.ones(1), "hand": {"open": np.ones(1)}}
    here = {"pose": np.ones(1), "camera": np.ones(1), "hand": {"open": np.ones(1), "touch": np.ones(1)}}
    assert list(unrecorded(recorded, here, "observation")) == ["observation.camera", "observation.hand.touch"]
