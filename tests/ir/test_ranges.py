"""Accumulator ranges: reached by some image, never passed."""

import numpy as np
import pytest

from shifthw.ir import (
    AdderConv2d,
    BilinearUpsample2d,
    IntType,
    Multiply,
    ShiftConv2d,
    ShiftWeight,
    SumPool2d,
    TensorType,
    accumulator_range,
    accumulator_type,
)
from shifthw.ir.ranges import largest_partial_sum
from shifthw.ir.verify import MAX_ADDER_WEIGHT, MAX_FAN_IN


def conv(values: list[list[int]]) -> ShiftConv2d:
    """1x1 convolution with weights that are single powers of two."""
    weight = np.array(values)[None, :, :, None, None]
    exponent = np.log2(np.maximum(abs(weight), 1)).astype(np.int8)
    return ShiftConv2d(ShiftWeight(np.sign(weight).astype(np.int8), exponent))


@pytest.mark.parametrize(("dtype", "smallest", "largest"), [
    (IntType(8, False), [-1 * 255, 0, -3 * 255], [(128 + 2) * 255, 7 * 255, 0]),
    (IntType(8, True), [130 * -128 - 127, 7 * -128, -3 * 127], [130 * 127 + 128, 7 * 127, 3 * 128]),
])
def test_range_of_each_channel(dtype: IntType, smallest: list[int], largest: list[int]) -> None:
    op = conv([[128, -1, 2], [4, 2, 1], [-1, 0, -2]])
    source = TensorType((3, 2, 2), dtype)
    lo, hi = accumulator_range(op, source)
    assert (lo.tolist(), hi.tolist()) == (smallest, largest)
    weight = op.weight.integer[:, :, 0, 0]
    extremes = np.where(weight > 0, dtype.hi, dtype.lo)
    assert np.array_equal((weight * extremes).sum(axis=1), hi)


@pytest.mark.parametrize("dtype", [IntType(3, False), IntType(3, True)])
def test_range_of_distances_is_that_of_all_inputs(dtype: IntType) -> None:
    """Weights inside, at the ends of, and beyond the activations' range."""
    op = AdderConv2d(np.array([[0, 1], [dtype.lo, dtype.hi], [-9, 12], [dtype.hi + 1, -3]])[:, :, None, None])
    source = TensorType((2, 1, 1), dtype)
    inputs = np.arange(dtype.lo, dtype.hi + 1)
    distances = np.abs(op.weight[:, :, 0, 0, None] - inputs)
    lo, hi = accumulator_range(op, source)
    assert lo.tolist() == (-distances.max(axis=2).sum(axis=1)).tolist()
    assert hi.tolist() == (-distances.min(axis=2).sum(axis=1)).tolist()
    assert largest_partial_sum(op, source) == -lo.min()
    assert accumulator_type(op, source) == IntType.holding(int(lo.min()), 0)


def test_widest_distances_stay_below_53_bits() -> None:
    op = AdderConv2d(np.full((1, MAX_FAN_IN, 1, 1), -MAX_ADDER_WEIGHT))
    assert largest_partial_sum(op, TensorType((MAX_FAN_IN, 1, 1), IntType(32, False))) < 1 << 53


def test_type_is_the_narrowest() -> None:
    assert accumulator_type(conv([[128]]), TensorType((1, 1, 1), IntType(8, False))) == IntType(16, True)
    assert accumulator_type(conv([[1]]), TensorType((1, 1, 1), IntType(8, True))) == IntType(8, True)
    assert accumulator_type(conv([[-1]]), TensorType((1, 1, 1), IntType(8, True))) == IntType(9, True)
    assert accumulator_type(conv([[0]]), TensorType((1, 1, 1), IntType(8, True))) == IntType(1, True)


def test_sum_pool_and_bound_of_partial_sums() -> None:
    pool, source = SumPool2d((8, 8), (8, 8)), TensorType((2, 8, 8), IntType(8, True))
    lo, hi = accumulator_range(pool, source)
    assert (lo.tolist(), hi.tolist()) == ([-8192, -8192], [8128, 8128])
    assert largest_partial_sum(pool, source) == 8192
    assert largest_partial_sum(conv([[128, -1, 2]]), TensorType((3, 1, 1), IntType(8, False))) == 131 * 255


@pytest.mark.parametrize(("one", "other", "smallest", "largest"), [
    (IntType(8, False), IntType(8, False), 0, 255 * 255), (IntType(8, True), IntType(8, False), -128 * 255, 127 * 255),
    (IntType(8, False), IntType(4, True), -255 * 8, 255 * 7), (IntType(8, True), IntType(8, True), -128 * 127, 1 << 14),
])
def test_range_of_products(one: IntType, other: IntType, smallest: int, largest: int) -> None:
    sources = TensorType((3, 4, 5), one), TensorType((3, 1, 1), other)
    lo, hi = accumulator_range(Multiply(), *sources)
    assert (lo.tolist(), hi.tolist()) == ([smallest] * 3, [largest] * 3)
    assert accumulator_type(Multiply(), *sources) == IntType.holding(smallest, largest)


def test_range_of_an_enlargement_between_pixels() -> None:
    lo, hi = accumulator_range(BilinearUpsample2d(), TensorType((2, 4, 5), IntType(8, True)))
    assert (lo.tolist(), hi.tolist()) == ([16 * -128] * 2, [16 * 127] * 2)


def test_products_beyond_the_supported_width_are_refused() -> None:
    wide = TensorType((2, 1, 1), IntType(32, False))
    with pytest.raises(ValueError, match="sums need 65 bits"):
        accumulator_range(Multiply(), wide, wide)


def test_sums_beyond_the_supported_width_are_refused() -> None:
    weight = np.ones((4, 1, 1 << 13, 1, 1), np.int8)
    op = ShiftConv2d(ShiftWeight(weight, np.full(weight.shape, 15, np.int8)))
    with pytest.raises(ValueError, match="sums need 63 bits"):
        accumulator_range(op, TensorType((1 << 13, 1, 1), IntType(32, False)))
