"""Powers of two as DeepShift rounds them: thresholds, limits, zeros; and their extension to several terms."""

import itertools
import math

import numpy as np
import pytest
import torch

from shifthw.errors import UnsupportedModel
from shifthw.quantize import (
    integer_weight,
    nearest_terms,
    nearest_values,
    powers_of_two,
    ps_terms,
    q_terms,
    smallest_exponent,
    term_values,
)

F32 = np.float32


def q(values: list[float], bits: int = 5, terms: int = 1) -> list[float]:
    return term_values(*q_terms(torch.tensor(values, dtype=torch.float32), bits, terms)).tolist()


@pytest.mark.parametrize(("bits", "smallest_q", "smallest_ps"), [
    (2, -1, 0), (3, -3, -2), (4, -7, -6), (5, -15, -14), (8, -127, -126)])
def test_smallest_exponents(bits: int, smallest_q: int, smallest_ps: int) -> None:
    assert smallest_exponent("Q", bits) == smallest_q
    assert smallest_exponent("PS", bits) == smallest_ps


def test_q_rounds_the_logarithm() -> None:
    assert q([0.70710, 0.70711, -0.70710, -0.70711]) == [0.5, 1.0, -0.5, -1.0]
    assert q([0.35355, 0.35356, 0.3, 0.26]) == [0.25, 0.5, 0.25, 0.25]


def test_q_limits_and_zero() -> None:
    assert q([0.0, -0.0, 1e-30, -1e-30, 1.0, 1.4, 7.0, -1e30], bits=4) == [
        0.0, 0.0, 2.0**-7, -(2.0**-7), 1.0, 1.0, 1.0, -1.0]
    assert q([1e-30, 0.1], bits=2) == [0.5, 0.5]


def test_every_power_of_two_is_kept() -> None:
    for bits in range(2, 8):  # 8 bits: 2**-127 is no normal float32
        exponents = range(smallest_exponent("Q", bits), 1)
        values = [sign * 2.0**exponent for exponent in exponents for sign in (-1, 1)]
        assert q(values, bits) == values


def test_powers_of_two_are_exact() -> None:
    exponents = torch.arange(-127, 1, dtype=torch.float64)
    assert powers_of_two(exponents).tolist() == [math.ldexp(1.0, e) for e in range(-127, 1)]


def ps(shifts: list[float], signs: list[float], bits: int = 5) -> tuple[list[float], list[float]]:
    sign, exponent = ps_terms(torch.tensor(shifts), torch.tensor(signs), bits)
    return sign.tolist(), exponent.tolist()


def test_ps_rounds_half_to_even() -> None:
    assert ps([-0.5, -1.5, -2.5, -3.5, -2.49, -2.51], [1.0] * 6) == ([1.0] * 6, [0.0, -2.0, -2.0, -4.0, -2.0, -3.0])


def test_ps_sign_threshold_is_above_one_half() -> None:
    signs, exponents = ps([-3.0] * 8, [0.5, -0.5, 0.50001, -0.50001, 0.0, 1.0, -1.0, 40.0])
    assert signs == [0.0, 0.0, 1.0, -1.0, 0.0, 1.0, -1.0, 1.0]
    assert exponents == [0.0, 0.0, -3.0, -3.0, 0.0, -3.0, -3.0, -3.0]


def test_ps_clamps_the_shift() -> None:
    assert ps([5.0, -6.4, -6.6, -100.0, -math.inf], [1.0] * 5, bits=4)[1] == [0.0, -6.0, -6.0, -6.0, -6.0]


@pytest.mark.parametrize("terms", [2, 3, 4])
def test_more_terms_never_move_away(terms: int) -> None:
    values = torch.rand(4000, generator=torch.Generator().manual_seed(terms)) * 2 - 1
    fewer = term_values(*q_terms(values, 4, terms - 1))
    more = term_values(*q_terms(values, 4, terms))
    assert ((more - values).abs() <= (fewer - values).abs()).all()
    assert ((more - values).abs() < (fewer - values).abs()).any()


def test_second_term_takes_the_rest() -> None:
    assert q([0.75, 0.625, -0.75, 0.5, 0.0, 1.5], bits=4, terms=2) == [0.75, 0.625, -0.75, 0.5, 0.0, 1.5]
    below_half_of_the_smallest = 0.5 + 2.0**-8
    assert q([below_half_of_the_smallest], bits=4, terms=2) == [0.5]


def convolution(values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Signs and exponents [1, out, in, 1, 1] of powers of two [out, in]."""
    exponent = np.where(values == 0, 0, np.log2(np.where(values == 0, 1, np.abs(values))))
    return (torch.from_numpy(np.sign(values)[None, :, :, None, None]),
            torch.from_numpy(exponent[None, :, :, None, None]))


def test_integer_weight_starts_at_the_smallest_exponent_in_use() -> None:
    weight, unit = integer_weight(*convolution(np.array([[0.5, -0.125], [0.0, 0.25]])), "conv")
    assert unit == -3
    assert weight.integer[:, :, 0, 0].tolist() == [[4, -1], [0, 2]]
    assert weight.exponent[0, 1, 0, 0, 0] == 0


def test_integer_weight_of_zeros() -> None:
    weight, unit = integer_weight(*convolution(np.zeros((2, 3))), "conv")
    assert (unit, weight.terms, weight.integer.any()) == (0, 1, False)


def test_terms_that_are_all_zero_cost_nothing() -> None:
    signs, exponents = q_terms(torch.full((2, 2, 1, 1), 0.5), 4, 3)
    assert integer_weight(signs, exponents, "conv")[0].terms == 1


def test_sixteen_exponents_are_the_limit() -> None:
    weight, unit = integer_weight(*convolution(np.array([[1.0, 2.0**-15]])), "conv")
    assert (unit, weight.integer[0, :, 0, 0].tolist()) == (-15, [1 << 15, 1])
    with pytest.raises(UnsupportedModel, match=r"layer1.conv: its weights use exponents -16..0, must span"):
        integer_weight(*convolution(np.array([[1.0, 2.0**-16]])), "layer1.conv")


@pytest.mark.parametrize(("weight_bits", "terms"), [(2, 1), (3, 1), (3, 4), (4, 1), (4, 2), (4, 3), (5, 2)])
def test_nearest_is_the_nearest_sum_of_terms(weight_bits: int, terms: int) -> None:
    smallest = smallest_exponent("nearest", weight_bits)
    powers = [0.0, *(sign * 2.0**exponent for exponent in range(smallest, 1) for sign in (1, -1))]
    sums = np.unique([sum(chosen) for chosen in itertools.combinations_with_replacement(powers, terms)])
    weight = np.random.default_rng(terms).uniform(-1.2 * terms, 1.2 * terms, 3000)
    weight[:4] = 0.0, 2.0**smallest / 2, -1.0, terms
    found = nearest_values(torch.from_numpy(weight), weight_bits, terms).numpy()
    assert np.isin(found, sums).all()
    assert np.array_equal(np.abs(found - weight), np.abs(sums[None] - weight[:, None]).min(axis=1))


@pytest.mark.parametrize(("weight_bits", "terms"), [(2, 1), (3, 2), (4, 1), (4, 2), (4, 4), (5, 2)])
def test_terms_of_nearest_add_up_to_its_values(weight_bits: int, terms: int) -> None:
    weight = torch.from_numpy(np.random.default_rng(7).normal(0, 0.7, 2000)).float()
    signs, exponents = nearest_terms(weight, weight_bits, terms)
    assert signs.shape == (terms, 2000)
    assert set(signs.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert smallest_exponent("nearest", weight_bits) <= exponents.min() <= exponents.max() <= 0
    assert torch.equal(term_values(signs, exponents), nearest_values(weight, weight_bits, terms))


def test_nearest_uses_no_more_terms_than_it_must_and_breaks_ties_toward_zero() -> None:
    signs, exponents = nearest_terms(torch.tensor([0.5, -0.75, 0.4375, 0.0, 0.03125 / 2]), 4, 3)
    assert signs.abs().sum(dim=0).tolist() == [1, 2, 2, 0, 1]
    assert torch.equal(term_values(signs, exponents), torch.tensor([0.5, -0.75, 0.4375, 0.0, 2.0**-6]))
    assert nearest_values(torch.tensor([0.75, -0.75, 2.0**-7]), 4, 1).tolist() == [0.5, -0.5, 0.0]


def test_integer_weight_keeps_the_terms_in_use_wherever_they_are() -> None:
    signs, exponents = convolution(np.array([[0.5, -0.125], [0.0, 0.25]]))
    unused = torch.zeros_like(signs)
    for order in ((unused, signs), (signs, unused), (unused, signs, unused)):
        weight, unit = integer_weight(torch.cat(order), torch.cat([exponents] * len(order)), "conv")
        assert (weight.terms, unit) == (1, -3)
        np.testing.assert_array_equal(weight.integer[:, :, 0, 0], [[4, -1], [0, 2]])
