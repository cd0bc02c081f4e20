"""Recorded arrays as the rows a policy sees: by index, and by time."""

import pytest

pytest.importorskip("numpy")

import numpy as np

from robotrace.eval_rows import align
from robotrace.evals import iter_baseline_steps, materialize_observations


def rows(sensors, actions=None):
    """``[{key: plain value}]`` of the observations that a policy would see."""
    actions = actions or {}
    keys = [key for key in actions if not key.endswith("_t_ns")]
    observed, _ = align(arrays(sensors), arrays(actions), keys, np)
    return [plain(observed[moment]) for moment in observed.moments()]


def arrays(values):
    return {key: np.asarray(value) for key, value in values.items()}


def plain(row):
    return {key: value.tolist() for key, value in row.items()}


# --- by index


def test_row_i_is_row_i_of_every_array_up_to_the_shortest():
    sensors = arrays({"a/value": [[1, 2], [3, 4], [5, 6]], "a/_t_ns": [0, 10, 20], "b/value": [0.5, 1.5]})
    expected = [{"a/value": [1, 2], "a/_t_ns": 0, "b/value": 0.5}, {"a/value": [3, 4], "a/_t_ns": 10, "b/value": 1.5}]
    made = materialize_observations(sensors)
    assert [plain(row) for row in made] == expected
    assert [plain(row) for row in materialize_observations(sensors, np=np)] == expected
    assert [plain(row) for row in iter_baseline_steps(sensors)] == expected
    assert all(isinstance(value, np.ndarray) for row in made for value in row.values())
    assert made[0]["a/value"].dtype == sensors["a/value"].dtype


@pytest.mark.parametrize("sensors", [None, {}, {"a/value": np.zeros((0, 3))}, {"a/value": np.float64(1.0)}])
def test_without_rows_there_are_no_observations(sensors):
    assert materialize_observations(sensors) == []
    assert list(iter_baseline_steps(sensors)) == []


RAGGED = {
    "text/value": np.frombuffer(b"upleft", np.uint8),
    "text/_offsets": [0, 2, 2, 6],
    "text/_t_ns": [0, 10, 20],
    "nested/value": [1, 2, 3, 4],
    "nested/_offsets": [0, 2, 2, 3],  # rows of items …
    "nested/_offsets_1": [0, 1, 3, 4],  # … and their items
    "a/value": [5, 6, 7],
    "a/_rows": [0, 1, 2],
}


def test_a_row_of_a_ragged_array_is_what_lies_between_two_offsets():
    rows = [plain(row) for row in materialize_observations(arrays(RAGGED))]
    assert rows == [
        {"text/value": [*b"up"], "text/_t_ns": 0, "nested/value": [1, 2, 3], "a/value": 5},
        {"text/value": [], "text/_t_ns": 10, "nested/value": [], "a/value": 6},
        {"text/value": [*b"left"], "text/_t_ns": 20, "nested/value": [4], "a/value": 7},
    ]


def test_a_ragged_array_is_aligned_by_the_clock_of_its_rows():
    sensors = arrays({**RAGGED, "text/_t_ns": [0, 10, 20]})
    actions = arrays({"action/value": [0, 0], "action/_t_ns": [15, 25]})
    observed, _ = align(sensors, actions, ["action/value"], np)
    assert [row["text/value"].tobytes() for row in observed] == [b"", b"left"]


def test_a_single_value_has_no_rows_and_is_left_out():
    assert [plain(row) for row in materialize_observations(arrays({"a/value": [1, 2], "fps": 30.0}))] == [
        {"a/value": 1},
        {"a/value": 2},
    ]


def test_writing_into_a_row_changes_neither_another_nor_the_recording():
    sensors = arrays({"a/value": [[1, 2], [3, 4]]})
    first, second = materialize_observations(sensors)
    first["a/value"][:] = 99
    assert second["a/value"].tolist() == [3, 4]
    assert sensors["a/value"].tolist() == [[1, 2], [3, 4]]


# --- by time


def test_each_stream_gives_its_latest_row_at_the_time_of_the_action():
    sensors = {
        "fast/value": [0, 1, 2, 3, 4],
        "fast/_t_ns": [0, 10, 20, 30, 40],
        "slow/value": [100, 200],
        "slow/_t_ns": [5, 31],
    }
    actions = {"action/value": [[0.0]] * 3, "action/_t_ns": [0, 15, 31]}
    assert rows(sensors, actions) == [
        {"fast/value": 0, "fast/_t_ns": 0},  # the slow stream has none yet
        {"fast/value": 1, "fast/_t_ns": 10, "slow/value": 100, "slow/_t_ns": 5},
        {"fast/value": 3, "fast/_t_ns": 30, "slow/value": 200, "slow/_t_ns": 31},
    ]


def test_no_value_comes_from_the_future():
    generator = np.random.default_rng(0)
    sensors = {}
    for name, count in {"a": 50, "b": 7, "c": 200}.items():
        sensors[f"{name}/_t_ns"] = np.sort(generator.integers(0, 1000, count))
        sensors[f"{name}/value"] = np.arange(count)
    moments = np.sort(generator.integers(0, 1000, 80))
    observed, _ = align(sensors, {"u/value": np.zeros(80), "u/_t_ns": moments}, ["u/value"], np)
    assert len(observed) == 80
    for moment, row in zip(moments, observed, strict=True):
        for name in "abc":
            earlier = sensors[f"{name}/_t_ns"] <= moment
            assert (f"{name}/value" in row) == earlier.any()
            if earlier.any():
                assert row[f"{name}/value"] == np.flatnonzero(earlier)[-1]


def test_clocks_that_agree_give_what_the_index_gives():
    clock = [0, 20, 40]
    sensors = {
        "observation/value": [[1], [2], [3], [4]],  # one more than there are actions, as a recorder makes it
        "observation/_t_ns": [*clock, 60],
        "reward/value": [0.5, 1.5, 2.5],
        "reward/_t_ns": clock,
    }
    made = rows(sensors, {"action/value": [0, 0, 0], "action/_t_ns": clock})
    assert made == [plain(row) for row in materialize_observations(arrays(sensors))]


def test_a_clock_that_stands_still_gives_what_the_index_gives():
    sensors = {"a/value": [1, 2, 3, 4], "a/_t_ns": [0] * 4}
    assert [row["a/value"] for row in rows(sensors, {"u/value": [0] * 3, "u/_t_ns": [0] * 3})] == [1, 2, 3]


def test_without_a_clock_of_the_actions_the_stream_with_most_rows_leads():
    sensors = {"a/value": [1, 2], "a/_t_ns": [0, 25], "b/value": [10, 20, 30], "b/_t_ns": [0, 20, 30]}
    for actions in ({}, {"action/value": [0, 0]}, {"action/value": [0], "action/_t_ns": [[0]]}):
        made = rows(sensors, actions)
        assert [(row["a/value"], row["b/value"]) for row in made] == [(1, 10), (1, 20), (2, 30)]


def test_a_stream_without_a_clock_goes_by_index_where_it_has_a_row_for_each_moment():
    sensors = {"a/value": [1, 2, 3], "a/_t_ns": [0, 10, 20], "long/value": [7, 8, 9, 10], "short/value": [5, 6]}
    assert [sorted(row) for row in rows(sensors)] == [["a/_t_ns", "a/value", "long/value"]] * 3
    assert [row["long/value"] for row in rows(sensors)] == [7, 8, 9]


def test_without_any_clock_of_a_sensor_the_index_leads():
    sensors = {"a/value": [1, 2, 3], "b/value": [4, 5]}
    expected = [{"a/value": 1, "b/value": 4}, {"a/value": 2, "b/value": 5}]
    assert rows(sensors) == expected
    assert rows(sensors, {"u/value": [0] * 9, "u/_t_ns": range(9)}) == expected


def test_a_moment_before_every_stream_is_not_shown():
    sensors = {"a/value": [1, 2], "a/_t_ns": [20, 30]}
    actions = {"action/value": [[1.0], [2.0], [3.0]], "action/_t_ns": [10, 20, 30]}
    observed, acted = align(arrays(sensors), arrays(actions), ["action/value"], np)
    assert observed.moments() == [1, 2]
    # The action beside it is the one of that moment.
    assert [plain(acted[moment]) for moment in observed.moments()] == [{"action/value": [2.0]}, {"action/value": [3.0]}]


def test_actions_of_different_rates_are_aligned_too():
    sensors = {"a/value": [1, 2, 3], "a/_t_ns": [0, 10, 20]}
    actions = {"arm/value": [1, 2, 3], "arm/_t_ns": [0, 10, 20], "grip/value": [7, 8], "grip/_t_ns": [5, 20]}
    _, acted = align(arrays(sensors), arrays(actions), ["arm/value", "grip/value"], np)
    assert [plain(row) for row in acted] == [
        {"arm/value": 1},
        {"arm/value": 2, "grip/value": 7},
        {"arm/value": 3, "grip/value": 8},
    ]


def test_actions_without_a_clock_go_by_index_as_far_as_they_go():
    sensors = {"a/value": [1, 2, 3], "a/_t_ns": [0, 10, 20]}
    _, acted = align(arrays(sensors), arrays({"u/value": [5, 6]}), ["u/value"], np)
    assert [plain(row) for row in acted] == [{"u/value": 5}, {"u/value": 6}, {}]


def test_a_clock_that_was_set_back_still_finds_the_latest_by_time():
    sensors = {"a/value": [1, 2, 3], "a/_t_ns": [0, 30, 10]}
    assert [row["a/value"] for row in rows(sensors, {"u/value": [0] * 3, "u/_t_ns": [5, 15, 40]})] == [1, 3, 2]


@pytest.mark.parametrize("clock", [[0.0, 1.0], ["a", "b"], [[0], [1]], [], 5])
def test_what_is_no_clock_is_none(clock):
    sensors = {"a/value": [1, 2], "a/_t_ns": clock, "b/value": [3, 4], "b/_t_ns": [0, 10]}
    assert [(row["a/value"], row["b/value"]) for row in rows(sensors)] == [(1, 3), (2, 4)]


def test_rows_beyond_their_clock_have_no_time_and_are_not_seen():
    sensors = {"a/value": [1, 2, 3], "a/_t_ns": [0, 10]}
    assert [row["a/value"] for row in rows(sensors, {"u/value": [0] * 3, "u/_t_ns": [0, 10, 99]})] == [1, 2, 2]


def test_a_row_of_an_aligned_stream_is_a_copy():
    sensors = arrays({"slow/value": [[1.0]], "slow/_t_ns": [0], "a/value": [1, 2], "a/_t_ns": [0, 10]})
    observed, _ = align(sensors, {}, [], np)
    observed[0]["slow/value"][:] = 99
    assert observed[1]["slow/value"].tolist() == [1.0]
    assert sensors["slow/value"].tolist() == [[1.0]]
