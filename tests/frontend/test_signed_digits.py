"""Canonical signed digits: every weight of 8 bits, its value, its terms and that there are no fewer."""

import numpy as np
import pytest

from shifthw.errors import UnsupportedModel
from shifthw.frontend.signed_digits import shift_weight, signed_digits

INT8 = np.arange(-128, 128)


def fewest_terms() -> dict[int, int]:
    """Terms that each integer needs, by trying all sums of up to 4 signed powers of two."""
    powers = [sign << exponent for exponent in range(9) for sign in (1, -1)]
    found, reached = {0: 0}, {0}
    for count in range(1, 5):
        reached = {value + power for value in reached for power in powers}
        found |= {value: count for value in reached if value not in found}
    return found


def test_every_int8_value_with_the_fewest_terms() -> None:
    sign, exponent = signed_digits(INT8)
    assert sign.dtype == exponent.dtype == np.int8
    assert sign.shape == (4, 256)
    assert np.array_equal((sign.astype(int) << exponent).sum(axis=0), INT8)
    assert exponent.min() == 0
    assert exponent.max() == 7
    assert not exponent[sign == 0].any()
    fewest = fewest_terms()
    assert np.array_equal(np.count_nonzero(sign, axis=0), [fewest[int(value)] for value in INT8])


def test_no_two_neighbouring_digits_and_terms_descend() -> None:
    values = np.arange(-(1 << 15), 1 << 15)
    sign, exponent = signed_digits(values)
    assert np.array_equal((sign.astype(np.int64) << exponent).sum(axis=0), values)
    following = sign[1:] != 0
    assert (sign[:-1][following] != 0).all()
    assert (exponent[:-1][following] >= exponent[1:][following] + 2).all()


@pytest.mark.parametrize(("value", "terms"), [(0, 1), (1, 1), (-128, 1), (127, 2), (85, 4), (-107, 4), (3, 2)])
def test_number_of_terms_is_that_of_the_worst_weight(value: int, terms: int) -> None:
    assert len(signed_digits(np.array([0, 1, value]))[0]) == terms


def test_a_shared_power_of_two_leaves_the_weights() -> None:
    integers = np.array([[-12, 0], [20, 4]]).reshape(2, 2, 1, 1)
    weight, unit = shift_weight(integers, "conv")
    assert unit == 2
    assert np.array_equal(weight.integer << unit, integers)
    nothing, unit = shift_weight(np.zeros((1, 2, 1, 1), np.int64), "conv")
    assert (unit, nothing.terms, int(nothing.integer.max())) == (0, 1, 0)


def test_too_many_terms_name_the_weight() -> None:
    with pytest.raises(UnsupportedModel, match=r"conv1: its weight 171 needs 5 signed powers of two"):
        shift_weight(np.array([255, 171, 1, -85]).reshape(2, 2, 1, 1), "conv1")
