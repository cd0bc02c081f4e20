from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

from robotrace.capture.streams import Stream  # noqa: E402


def recorded(stream: Stream) -> dict[str, object]:
    return {
        column.key: np.frombuffer(column.data, column.descr).reshape(column.count, *column.shape)
        for column in (rows.column() for rows in stream.take())
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


@pytest.mark.parametrize("other", [np.zeros(3, np.float32), np.zeros(2), np.zeros((2, 1)), "text", None])
def test_a_value_that_changes_its_kind_ends_the_stream_and_is_named(other: object) -> None:
    first = np.zeros(2, np.float32)
    made = stream()
    made.append(first)
    made.append(other)
    made.append(first)  # at the wrong place if it were taken
    assert recorded(made)["observation/value"].shape == (1, 2)
    assert "changed from" in made.faults()["observation/value"]


@pytest.mark.parametrize("value", ["text", None, object(), [1, "a"]])
def test_what_is_no_array_is_left_out_and_named(value: object) -> None:
    made = stream()
    made.append({"good": 1, "bad": value})
    made.append({"good": 2, "bad": value})
    assert list(recorded(made)) == ["observation.good/value"]
    assert "not recorded" in made.faults()["observation.bad/value"]
