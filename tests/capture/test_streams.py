from __future__ import annotations

from collections.abc import Callable

import pytest

np = pytest.importorskip("numpy")

from robotrace.capture.streams import Stream  # noqa: E402


def recorded(stream: Stream) -> dict[str, np.ndarray]:
    return {
        column.key: np.frombuffer(column.data, column.descr).reshape(column.count, *column.shape)
        for rows in stream.take()
        for column in rows.columns()
        if not column.key.endswith("/_structure")
    }


def stream(**options: bool) -> Stream:
    return Stream("observation", "sensors", "all", **options)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "u1", "i2", "?", "c8", ">f4"])
def test_arrays_keep_dtype_shape_and_value(dtype: str) -> None:
    values = [np.arange(k, k + 6).reshape(2, 3).astype(dtype) for k in range(3)]
    made = stream()
    for value in values:
        made.append(value)
    (array,) = recorded(made).values()
    assert array.dtype == np.dtype(dtype).newbyteorder("<")
    np.testing.assert_array_equal(array, values)


def test_a_reused_buffer_is_copied_at_once() -> None:
    buffer = np.zeros(3)
    made = stream()
    for value in range(4):
        buffer[:] = value
        made.append(buffer)
    buffer[:] = -1
    np.testing.assert_array_equal(recorded(made)["observation/value"], [[k] * 3 for k in range(4)])


@pytest.mark.parametrize("view", [np.s_[::2], np.s_[::-1]])
def test_strided_views_are_mended(view: slice) -> None:
    base = np.arange(6.0)
    made = stream()
    made.append(base[view])
    np.testing.assert_array_equal(recorded(made)["observation/value"], [base[view]])


@pytest.mark.parametrize(
    ("values", "descr"),
    [([1, 2], "<i8"), ([1.5, 2.0], "<f8"), ([True, False], "|b1"), ([np.float32(1.5), np.float32(2)], "<f4")],
)
def test_scalars_keep_their_type(values: list[object], descr: str) -> None:
    made = stream()
    for value in values:
        made.append(value)
    (array,) = recorded(made).values()
    assert array.dtype.str == descr
    assert array.tolist() == values


def test_rewards_that_are_now_int_now_float_are_float() -> None:
    made = stream(as_float=True)
    for value in (1, 0.5, np.float64(0.25), 0):
        made.append(value)
    (array,) = recorded(made).values()
    assert array.dtype == np.float64
    assert array.tolist() == [1.0, 0.5, 0.25, 0.0]


def test_dicts_and_tuples_become_a_stream_a_leaf() -> None:
    made = stream()
    for k in range(2):
        made.append({"pose": np.array([k, k]), "grip": (k, {"force": np.float32(k / 2)})})
    found = recorded(made)
    assert found["observation.pose/value"].tolist() == [[0, 0], [1, 1]]
    assert found["observation.grip.0/value"].tolist() == [0, 1]
    assert found["observation.grip.1.force/value"].dtype == np.float32
    assert made.row_bytes == 16 + 8 + 4


@pytest.mark.parametrize("other", [np.zeros((3, 2), np.float32), np.zeros(2), np.zeros((2, 1)), np.float32(1), 7])
def test_a_value_of_another_dtype_or_shape_begins_a_segment(other: object) -> None:
    first = np.zeros(2, np.float32)
    made = stream()
    for value in (first, first, other, other, first):
        made.append(value)
    found = recorded(made)
    assert found["observation/value"].shape == (2, 2)
    assert found["observation#1/value"].dtype == np.asarray(other).dtype
    np.testing.assert_array_equal(found["observation#1/value"], [other, other])
    np.testing.assert_array_equal(found["observation#2/value"], [first])
    assert "from row 2" in made.segments()["observation#1"]
    assert made.faults() == {}


def test_segments_say_where_they_begin() -> None:
    made = stream()
    for value in (np.zeros(2), np.zeros(2), np.zeros((1, 1))):
        made.append(value)
    assert [column.first for rows in made.take() for column in rows.columns()] == [0, 2]


def test_a_stream_that_keeps_changing_ends_and_is_named() -> None:
    made = stream()
    for k in range(40):
        made.append(np.zeros((1,) * (k % 8 + 1)))
    assert len(recorded(made)) == 16
    assert "changed its dtype or shape 16 times" in made.faults()["observation/value"]


def test_a_first_axis_that_changes_its_length_makes_it_ragged() -> None:
    made = stream()
    for length in (3, 5, 0, 2):
        made.append(np.full((length, 2), length, np.float32))
    found = recorded(made)
    assert found["observation/value"].shape == (1, 3, 2)
    assert found["observation#1/value"].shape == (7, 2)
    assert found["observation#1/_offsets"].tolist() == [5, 0, 2]  # lengths, until it is sealed


def test_a_key_that_is_missing_says_which_rows_it_is_in() -> None:
    made = stream()
    rows = [{"a": np.zeros(1), "b": 0}, {"a": np.ones(1)}, {"b": 2, "a": np.ones(1)}, {"a": np.ones(1)}]
    for row in rows:
        made.append(row)
    found = recorded(made)
    assert found["observation.a/value"].shape == (4, 1)
    assert found["observation.b/value"].tolist() == [0, 2]
    assert found["observation.b/_rows"].tolist() == [0, 2]
    assert "missing in row 1" in made.faults()["observation.b/value"]


def test_a_key_that_comes_later_has_a_leaf_of_its_own() -> None:
    made = stream()
    for k in range(4):
        made.append({"a": k, **({"late": 10 * k} if k >= 2 else {})})
    found = recorded(made)
    assert found["observation.a/value"].tolist() == [0, 1, 2, 3]
    assert found["observation.late/value"].tolist() == [20, 30]
    assert found["observation.late/_rows"].tolist() == [2, 3]


def test_keys_without_end_do_not_fill_the_memory() -> None:
    made = stream()
    for k in range(600):
        made.append({"a": k, str(k): 1})
    assert len(recorded(made)) < 2 * 300
    assert "more than 256 new keys" in made.faults()["observation/*"]


def test_a_nest_that_fails_half_way_shifts_no_row() -> None:
    made = stream()
    good = {"a": np.zeros(2), "b": np.zeros(2), "c": 1}
    for row in (good, good, {"a": np.ones(2), "b": np.ones(3), "c": 2}, {"a": np.ones(2)}, good):
        made.append(row)
    found = recorded(made)
    assert found["observation.a/value"][:, 0].tolist() == [0, 0, 1, 1, 0]
    assert found["observation.c/value"].tolist() == [1, 1, 2, 1]
    assert found["observation.c/_rows"].tolist() == [0, 1, 2, 4]


def test_two_keys_that_read_alike_are_told_apart() -> None:
    made = stream()
    made.append({"a.b": 1, "a": {"b": 2}})
    assert {key: values.tolist() for key, values in recorded(made).items()} == {
        "observation.a.b/value": [1],
        "observation.a.b~2/value": [2],
    }


@pytest.mark.parametrize("value", [object(), [1, "a"], np.zeros(2, "i4,f4"), np.array([None]), 2**64, b"x"])
def test_what_no_array_can_hold_is_left_out_and_named(value: object) -> None:
    made = stream()
    made.append({"good": 1, "bad": value})
    made.append({"good": 2, "bad": value})
    assert list(recorded(made)) == ["observation.good/value"]
    assert "not recorded" in made.faults()["observation.bad/value"]


def test_an_int_beyond_64_bits_among_others_costs_its_own_row() -> None:
    made = stream()
    for value in (1, 2, 2**70, 3):
        made.append(value)
    found = recorded(made)
    assert found["observation/value"].tolist() == [1, 2, 3]
    assert found["observation/_rows"].tolist() == [0, 1, 3]
    assert "missing in row 2" in made.faults()["observation/value"]


def test_ints_that_only_unsigned_ones_hold_do_not_mix_with_negative_ones() -> None:
    made = stream()
    for value in (2**63, 2**64 - 1, 5, -1, 2**63):
        made.append(value)
    found = recorded(made)
    assert {key: values.tolist() for key, values in found.items()} == {
        "observation/value": [2**63, 2**64 - 1],
        "observation#1/value": [5, -1],
        "observation#2/value": [2**63],
    }
    assert found["observation/value"].dtype == np.uint64


def test_ints_among_floats_are_floats() -> None:
    made = stream()
    for value in (0, 0.5, 1, 2**60, 0.25):
        made.append(value)
    found = recorded(made)
    assert found["observation/value"].tolist() == [0]
    assert found["observation#1/value"].tolist() == [0.5, 1.0]
    assert found["observation#2/value"].tolist() == [2**60]  # no float to the bit


def test_masked_values_are_kept_and_named() -> None:
    made = stream()
    made.append(np.ma.masked_array([1.0, 2.0], [True, False]))
    assert recorded(made)["observation/value"].tolist() == [[1.0, 2.0]]
    assert "mask" in made.faults()["observation/value"]


class Foreign:
    """An array of another library."""

    def __init__(self, values: list[float]) -> None:
        self.values = np.array(values)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.values

    def __len__(self) -> int:
        return len(self.values)


@pytest.mark.parametrize(
    "make",
    [
        lambda values: Foreign(values),
        lambda values: memoryview(np.array(values)),
        lambda values: np.asfortranarray(np.array([values, values])).T[:, 0],
        list,
    ],
)
def test_other_arrays_are_copied_too(make: Callable[[list[float]], object]) -> None:
    made = stream()
    for k in range(3):
        made.append(make([float(k), 1.0]))
    np.testing.assert_array_equal(recorded(made)["observation/value"], [[k, 1] for k in range(3)])


def test_rows_kept_aside_come_before_the_next() -> None:
    made = stream()
    made.append(np.zeros(2, np.float32))
    flat = made.flat
    assert flat == (np.ndarray, np.dtype(np.float32), (2,))
    made.adopt([np.ones(2, np.float32).tobytes()])
    made.append(np.zeros(3, np.float32))
    assert [values.shape for values in recorded(made).values()][:1] == [(2, 2)]
    assert made.count == 3
