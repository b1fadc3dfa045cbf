"""Exact integer ranges of accumulators, from the actual weights and the input's type."""

import numpy as np

from .graph import AdderConv2d, BilinearUpsample2d, Multiply, ShiftConv2d, SumOp, SumPool2d, WindowSum
from .types import IntType, TensorType, bits_holding

MAX_ACCUMULATOR_BITS = 60
"""Widest accumulator that a graph may hold: room for the interpreter's exact 64-bit arithmetic."""


def accumulator_range(op: SumOp, *sources: TensorType) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest sum per output channel, int64[channels] each, over all inputs of the sources' types.

    Both are reached by a window that lies wholly inside the map; padding counts as an input of 0, which every
    input range contains. Raises ValueError where a sum needs more than MAX_ACCUMULATOR_BITS.
    """
    match op:
        case AdderConv2d():
            smallest, largest = _distance_range(op, sources[0])
        case Multiply():
            smallest, largest = _product_range(*sources)
        case _:
            smallest, largest = _weighted_range(op, sources[0])
    bits = bits_holding(min(smallest), max(largest)) if len(smallest) else 1
    if bits > MAX_ACCUMULATOR_BITS:
        raise ValueError(f"sums need {bits} bits; at most {MAX_ACCUMULATOR_BITS} are supported")
    return smallest.astype(np.int64), largest.astype(np.int64)


def _product_range(source: TensorType, other: TensorType) -> tuple[np.ndarray, np.ndarray]:
    """As accumulator_range: every channel has the same."""
    ends = [a * b for a in (source.dtype.lo, source.dtype.hi) for b in (other.dtype.lo, other.dtype.hi)]
    return np.full(source.channels, min(ends), dtype=object), np.full(source.channels, max(ends), dtype=object)


def _weighted_range(op: ShiftConv2d | SumPool2d | BilinearUpsample2d,
                    source: TensorType) -> tuple[np.ndarray, np.ndarray]:
    """As accumulator_range, in Python integers: no wrap-around."""
    if not isinstance(op, ShiftConv2d):
        positive = np.full(source.channels, _unit_weights(op), dtype=object)
        negative = np.zeros(source.channels, dtype=object)
    else:
        weight = op.weight.integer
        positive = np.maximum(weight, 0).sum(axis=(1, 2, 3)).astype(object)
        negative = np.minimum(weight, 0).sum(axis=(1, 2, 3)).astype(object)
    lo, hi = source.dtype.lo, source.dtype.hi
    return positive * lo + negative * hi, positive * hi + negative * lo


def _unit_weights(op: SumPool2d | BilinearUpsample2d) -> int:
    """Sum of the weights of an output, all positive."""
    return op.kernel[0] * op.kernel[1] if isinstance(op, SumPool2d) else 16


def _distance_range(op: AdderConv2d, source: TensorType) -> tuple[np.ndarray, np.ndarray]:
    """As accumulator_range: every weight's distance to the farthest and to the nearest input."""
    below, above = op.weight - source.dtype.lo, source.dtype.hi - op.weight
    farthest, nearest = np.maximum(below, above), np.maximum(0, np.maximum(-below, -above))
    return -farthest.sum(axis=(1, 2, 3)).astype(object), -nearest.sum(axis=(1, 2, 3)).astype(object)


def accumulator_type(op: SumOp, *sources: TensorType) -> IntType:
    """The narrowest signed type that holds every sum of every channel."""
    smallest, largest = accumulator_range(op, *sources)
    return IntType.holding(min(int(smallest.min()), 0), max(int(largest.max()), 0))


def largest_partial_sum(op: WindowSum, source: TensorType) -> int:
    """Bound of the magnitude of every partial sum in any order: sum |w| * max |x|, or sum max |w - x|."""
    if isinstance(op, AdderConv2d):
        return -int(accumulator_range(op, source)[0].min())
    magnitude = max(-source.dtype.lo, source.dtype.hi)
    if isinstance(op, SumPool2d):
        return op.kernel[0] * op.kernel[1] * magnitude
    return int(np.abs(op.weight.integer).sum(axis=(1, 2, 3)).max()) * magnitude
