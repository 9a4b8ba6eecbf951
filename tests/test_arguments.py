"""Arguments out of range: what is legal comes back as a plain number, all else is named with the legal values."""

import math

import numpy as np
import pytest

from rldf_utils.arguments import integer, real


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integers_come_back(value):
    assert integer("n", value, 3, 3) == 3 and type(integer("n", value)) is int


@pytest.mark.parametrize("value", [-1, 11, 3.0, "3", None, True, math.nan, np.float64(3), [3]])
def test_what_is_no_integer_in_range_is_named(value):
    with pytest.raises(ValueError) as caught:
        integer("n", value, 0, 10)
    assert str(caught.value) == f"n = {value!r} is not legal; choose an integer, from 0 to 10"


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25), np.int64(1)])
def test_numbers_come_back(value):
    assert real("x", value, 0, 1) == value and type(real("x", value)) is float


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True, 1j, [0.5], 10**400])
def test_what_is_no_number_in_range_is_named(value):
    with pytest.raises(ValueError) as caught:
        real("x", value, 0, 1)
    assert str(caught.value) == f"x = {value!r} is not legal; choose a number from 0 to 1"


def test_open_ranges_are_said():
    with pytest.raises(ValueError, match="n = -1 is not legal; choose an integer, 0 or more"):
        integer("n", -1)
    with pytest.raises(ValueError, match="x = inf is not legal; choose a finite number"):
        real("x", math.inf)
