"""Where arrays differ, and by how much, whatever their dtypes."""

import itertools

import pytest

np = pytest.importorskip("numpy")

from robotrace.bits import different_bits, distances  # noqa: E402

INTEGERS = [np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]


def edges(dtype):
    if dtype is np.bool_:
        return [False, True]
    limits = np.iinfo(dtype)
    return sorted({int(limits.min), int(limits.min) + 1, 0, 1, int(limits.max) - 1, int(limits.max)})


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations_with_replacement(INTEGERS, 2)))
def test_integers_are_subtracted_without_overflow(one, other):
    pairs = list(itertools.product(edges(one), edges(other)))
    a, b = np.array([x for x, _ in pairs], one), np.array([y for _, y in pairs], other)
    wanted = [float(abs(int(x) - int(y))) for x, y in pairs]
    # Two roundings to float64 where the distance is beyond its 53 bits; zero is exactly where they are equal.
    np.testing.assert_allclose(distances(a, b), wanted, rtol=1e-15)
    np.testing.assert_array_equal(distances(a, b) == 0, [x == y for x, y in pairs])
    np.testing.assert_array_equal(distances(b, a), distances(a, b))


def test_floats_of_any_width_are_subtracted_in_float64():
    assert distances(np.float16([60000]), np.float16([-60000])).tolist() == [120000]
    assert distances(np.float32([1.5]), np.int64([1])).tolist() == [0.5]
    found = distances(np.array([np.nan, np.inf, np.inf, -np.inf]), np.array([np.nan, np.inf, 1, np.inf]))
    np.testing.assert_array_equal(found, [np.nan, np.nan, np.inf, np.inf])


def test_bits_differ_where_values_may_not():
    values = np.array([[0.0, np.nan], [1.0, 2.0]])
    other = np.array([[-0.0, np.nan], [1.0, 3.0]])
    assert different_bits(values, other).tolist() == [[True, False], [False, True]]
    assert different_bits(values[:, 1], other[:, 1]).tolist() == [False, True]  # no row by row in memory
    assert different_bits(np.array(["ab", "c"]), np.array(["ab", "d"])).tolist() == [False, True]
    assert different_bits(np.complex128([1 + 2j]), np.complex128([1 + 3j])).tolist() == [True]
    assert different_bits(np.float64(0.0).reshape(()), np.float64(0.0).reshape(())).tolist() is False
    assert different_bits(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0, 3)
