"""What can be read out of a client's JSON."""

import pytest

from robotrace.serve.values import boolean, finite


@pytest.mark.parametrize(("value", "number"), [(1, 1.0), (-0.5, -0.5), (2**63, float(2**63))])
def test_a_number_is_a_number(value, number):
    assert finite(value) == number


@pytest.mark.parametrize("value", [True, False, "1", None, [], {}, float("nan"), float("-inf"), 10**400])
def test_anything_else_is_no_number(value):
    assert finite(value) is None


@pytest.mark.parametrize("value", [0, 1, "true", None, 1.0, [True]])
def test_only_a_bool_is_a_bool(value):
    assert boolean(value) is None
    assert (boolean(True), boolean(False)) == (True, False)
