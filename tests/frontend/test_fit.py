"""Multipliers, biases and shifts for real factors."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from shifthw.errors import UnsupportedModel
from shifthw.frontend.fit import MULTIPLIER_LIMIT, Factors, Fitted, fit, multiplierless
from shifthw.ir import Rounding


def factors(*ratios: list[float], offset: list[float] | None = None, rounding: Rounding = Rounding.HALF_UP,
            limit: int = MULTIPLIER_LIMIT) -> Factors:
    return Factors("act", tuple(np.array(ratio) for ratio in ratios),
                   np.array(offset or [0.0] * len(ratios[0])), rounding, limit)


def test_powers_of_two_throughout_need_no_multiplier() -> None:
    layers = [factors([2.0**-7, 2.0**-7]), factors([1.0]), factors([0.25], [0.25])]
    assert multiplierless(layers)
    fitted = fit(layers)
    assert [item.shift for item in fitted] == [7, 0, 2]
    assert all((m == 1).all() for item in fitted for m in item.multipliers)


@pytest.mark.parametrize("layer", [factors([0.5, 0.25]), factors([0.3]), factors([2.0]), factors([-0.5]),
                                   factors([0.5], [0.25]), factors([0.0])])
def test_anything_else_needs_multipliers(layer: Factors) -> None:
    assert not multiplierless([factors([0.5]), layer])


def test_exact_multipliers_take_the_floor_of_the_bias() -> None:
    (up,) = fit([factors([0.125], offset=[0.99])])
    assert (up.shift, up.bias.tolist()) == (3, [7])
    (whole,) = fit([factors([1.0], offset=[0.5])])
    assert (whole.shift, whole.bias.tolist()) == (0, [1])
    (floor,) = fit([factors([1.0], offset=[0.99], rounding=Rounding.FLOOR)])
    assert floor.bias.tolist() == [0]


def test_bias_of_exact_layers_gives_the_real_result() -> None:
    rng = np.random.default_rng(1)
    sums = np.arange(-600, 600)
    for offset in rng.normal(scale=3, size=200):
        for rounding, half in ((Rounding.HALF_UP, 0.5), (Rounding.FLOOR, 0.0)):
            for shift in (0, 1, 5):
                (item,) = fit([factors([2.0**-shift], offset=[offset], rounding=rounding)])
                integer_half = 1 << shift >> 1 if rounding is Rounding.HALF_UP else 0
                assert item.shift == shift
                assert np.array_equal((sums + item.bias[0] + integer_half) >> shift,
                                      np.floor(sums / 2.0**shift + offset + half))


def even_results(item: Fitted, sums: np.ndarray) -> list[list[int]]:
    """What a graph makes of sums that are the same in all channels."""
    return [[round(Fraction(int(x) * int(m) + int(b), 1 << item.shift)) for x in sums]
            for m, b in zip(item.multipliers[0], item.bias, strict=True)]


@pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0**-5, 3.0, 0.75, 100 / 128])
@pytest.mark.parametrize("offsets", [[0.0, 2.0], [0.5, -0.5], [0.25, 1.5], [0.3, -7.7], [0.0, 0.3], [0.5, 1e-9],
                                     [1 / 64, -1 / 64]])
def test_ties_to_the_even_number_give_the_real_result(ratio: float, offsets: list[float]) -> None:
    """Also where some channels can have ties, others nearly."""
    (item,) = fit([factors([ratio, ratio], offset=offsets, rounding=Rounding.HALF_EVEN)])
    sums = np.arange(-300, 300)
    assert even_results(item, sums) == [[round(Fraction(ratio) * int(x) + Fraction(offset)) for x in sums]
                                        for offset in offsets]


@pytest.mark.parametrize(("ratio", "offset", "expected"), [
    (2.0**-5, 0.5, (1, 5, 16)), (2.0**-5, 0.3, (2, 6, 19)), (2.0**-5, -0.3, (2, 6, -19)),
    (1.0, 3.0, (1, 0, 3)), (1.0, 0.5, (2, 1, 1)), (1.0, 0.3, (4, 2, 1))])
def test_even_numbers_without_multipliers(ratio: float, offset: float, expected: tuple[int, int, int]) -> None:
    layer = factors([ratio], offset=[offset], rounding=Rounding.HALF_EVEN)
    assert multiplierless([layer])
    (item,) = fit([layer])
    assert (item.multipliers[0][0], item.shift, item.bias[0]) == expected


def test_one_shift_where_all_layers_are_precise() -> None:
    fitted = fit([factors([0.003, 0.001]), factors([0.0007]), factors([0.01])])
    assert len({item.shift for item in fitted}) == 1
    assert max(int(m.max()) for item in fitted for m in item.multipliers) <= MULTIPLIER_LIMIT
    assert min(int(item.multipliers[0].max()) for item in fitted) >= 512
    assert fitted[0].multipliers[0].tolist() == [round(ratio * 2**fitted[0].shift) for ratio in (0.003, 0.001)]


def test_own_shift_where_precision_would_be_lost() -> None:
    fitted = fit([factors([0.5000001]), factors([0.0003]), factors([0.4])])
    assert fitted[0].shift == fitted[2].shift == 17
    assert fitted[1].shift > 20
    assert all(item.multipliers[0][0] >= 512 for item in fitted)


def test_exact_copies_join_any_shift_that_holds_them() -> None:
    fitted = fit([factors([2.0**-7]), factors([0.0004])])
    assert fitted[0].shift == fitted[1].shift
    assert fitted[0].multipliers[0].tolist() == [2 ** (fitted[0].shift - 7)]


def test_residual_of_large_ratio_costs_the_accumulator_no_bits() -> None:
    (item,) = fit([factors([0.002], [1.9])])
    assert item.shift == 24
    assert item.multipliers[0][0] == round(0.002 * 2**24)
    assert item.multipliers[1][0] == round(1.9 * 2**16) << 8


def test_residuals_of_a_network_share_their_power_of_two() -> None:
    first, second = fit([factors([0.02], [1.9]), factors([0.25], [1.0001])])
    for item in (first, second):
        assert item.multipliers[1][0] % 4 == 0
    assert second.multipliers[1][0] % 8 != 0


@pytest.mark.parametrize("gap", [3, 8, 9, 12])
@pytest.mark.parametrize("other", [-1, 0, 2, 5])
def test_sums_of_stored_activations_beside_residuals_leave_no_multiplier_without_bits(gap: int, other: int) -> None:
    layers = [factors([0.7 * 2.0**-gap], [0.71]), factors([0.9], [0.91 * 2.0**other]), factors([0.011])]
    for item, fitted in zip(layers, fit(layers), strict=True):
        for ratio, multiplier in zip(item.ratios, fitted.multipliers, strict=True):
            assert multiplier[0] / 2.0**fitted.shift == pytest.approx(ratio[0], rel=2.0**-11)


@pytest.mark.parametrize(("layer", "message"), [
    (factors([1e6]), "act: one step of its input is 1e[+]06 steps of its output"),
    (factors([float("inf")]), "calibrate the quantizer"),
    (factors([0.1], offset=[1e30]), "its bias is 1e[+]30 steps of the output, too large"),
    (factors([0.1], offset=[float("nan")]), "too large"),
])
def test_factors_beyond_every_shift(layer: Factors, message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        fit([layer])


@pytest.mark.parametrize("ratio", [0.9, 0.0123, 1.7e-5, 1.0000001, 99.3])
@pytest.mark.parametrize("largest", [128, 255, 1023])
def test_multiplier_of_a_product_leaves_room_for_its_second_operand(ratio: float, largest: int) -> None:
    product, other = fit([factors([ratio] * 3, offset=[0.0, -7.3, 9.1], limit=MULTIPLIER_LIMIT // largest),
                          factors([0.007])])
    (multiplier,) = set(product.multipliers[0].tolist())
    assert multiplier * largest <= MULTIPLIER_LIMIT < 3 * multiplier * largest
    assert multiplier / 2.0**product.shift == pytest.approx(ratio, rel=0.008)
    assert other.multipliers[0][0] >= 1 << 11


def test_powers_of_two_suit_wide_operands_of_products() -> None:
    layers = [factors([2.0**-9], limit=1), factors([0.25])]
    assert multiplierless(layers)
    assert [item.multipliers[0][0] for item in fit(layers)] == [1, 1]
    product, _ = fit([factors([2.0**-9], limit=1), factors([0.3])])
    assert (product.multipliers[0][0], product.shift) == (1, 9)
    even = factors([1.0], offset=[0.3], rounding=Rounding.HALF_EVEN, limit=4)
    assert multiplierless([even])
    assert not multiplierless([replace(even, limit=3)])     # 4 and a shift of 2


@pytest.mark.parametrize(("ratio", "limit"), [(0.3, 99), (0.3, 0), (0.25, 0), (0.0, 0)])
def test_operand_of_a_product_that_leaves_no_room(ratio: float, limit: int) -> None:
    with pytest.raises(UnsupportedModel, match=f"act: has room for a multiplier of {limit} beside the product's "):
        fit([factors([ratio], limit=limit)])


@pytest.mark.parametrize("seed", range(30))
def test_every_multiplier_fits_and_no_layer_is_left_without_a_shift(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers = [factors(*(list(rng.normal(size=4) * 2.0 ** rng.integers(-30, 16)) for _ in range(rng.integers(1, 3))))
              for _ in range(rng.integers(1, 30))]
    for item in fit(layers):
        assert 0 <= item.shift <= 47
        assert all(abs(m).max() <= MULTIPLIER_LIMIT << 8 * k for k, m in enumerate(item.multipliers))
