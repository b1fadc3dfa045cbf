"""Integer multipliers and shifts for real requantize factors.

y = (sum_k ratio[k] * x_k + offset), in steps of the output, becomes (sum_k m[k] * x_k + b) >> s with
m = round(ratio * 2**s), b = round(offset * 2**s). Where all m are whole without rounding, b is
floor(offset * 2**s) instead, and y exactly what real arithmetic gives: the rest of the sum is whole.
With Rounding.HALF_EVEN, y is exact where all offset * 2**s are whole too; or where all m are even, and b is
offset * 2**s where that is an even number, else the odd number beside it: no sum of real numbers is then at a
tie, and no sum of integers.

The engine has one multiplexer input per shift in use, so a network gets as few different shifts as
keep every layer's multipliers precise. A second input (a residual) is a stored activation, whose step is
larger than an accumulator's by the precision of the weights: its multipliers are multiples of 2**head, one
head for the network, so that they do not push the first input's to a few bits. Where two stored activations
are added, a head costs the residual's multiplier bits instead: the head is the one that suits all layers.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UnsupportedModel
from ..ir.graph import Rounding
from ..ir.verify import MAX_SHIFT

MULTIPLIER_LIMIT = (1 << 17) - 1
"""Largest magnitude of a multiplier: 18 bits signed, one DSP operand."""
MAX_HEAD = 8
"""Largest head: the engine shifts the residual before it is multiplied, within the width of a DSP operand."""
PRECISE_BITS = 12
"""Significant bits of a layer's largest multiplier that are enough to share another layer's shift."""
LEAST_LIMIT = 100
"""Of a product's multiplier, which its second operand leaves room for: its ratio is then off by half a percent at most.
8-bit operands leave 514 and more, 10-bit ones 128."""
MAX_OFFSET = float(1 << 60)


@dataclass(frozen=True, eq=False)
class Factors:
    """One Requantize before it is made integer: float64[channels] per input and one offset per channel."""

    where: str
    ratios: tuple[np.ndarray, ...]
    offset: np.ndarray
    rounding: Rounding = Rounding.HALF_UP
    limit: int = MULTIPLIER_LIMIT
    """Largest magnitude of its multipliers."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """Integers of one Requantize: int64[channels] per input, int64[channels], shift."""

    multipliers: tuple[np.ndarray, ...]
    bias: np.ndarray
    shift: int


def fit(factors: Sequence[Factors]) -> list[Fitted]:
    """Integers for all requantizations of a network, in order.

    If every ratio is 2**-k, the same for all channels and inputs of a layer, all multipliers are 1 and
    the shifts k; where HALF_EVEN is exact at a larger shift only, 2 and k + 1 (4 and 2 for k = 0). Otherwise
    the fewest shifts that leave each layer PRECISE_BITS significant bits, or as many as the 18-bit multipliers
    allow it. Raises UnsupportedModel for factors that no shift can hold.
    """
    if multiplierless(factors):
        return [_at(item, _plain_shift(item) or 0) for item in factors]
    head = _head(factors)
    scaled = [_lower_residual(item, head) for item in factors]
    windows = [_window(item) for item in scaled]
    shifts = _fewest_points(windows)
    fitted = [_at(item, max(shift for shift in shifts if lo <= shift <= hi))
              for item, (lo, hi) in zip(scaled, windows, strict=True)]
    return [dataclasses.replace(item, multipliers=(
        item.multipliers[0], *(np.left_shift(m, head) for m in item.multipliers[1:]))) for item in fitted]


def _head(factors: Sequence[Factors]) -> int:
    """The largest head up to MAX_HEAD that leaves no residual's multiplier below the first input's; a larger one where
    that would take from some multiplier the bits that make it precise."""
    gaps = [math.log2(np.abs(item.ratios[1]).max() / np.abs(item.ratios[0]).max()) for item in factors
            if len(item.ratios) > 1 and np.abs(item.ratios[0]).max() > 0 < np.abs(item.ratios[1]).max()]
    smallest = max(0, min([MAX_HEAD, *(math.floor(gap) for gap in gaps)]))

    def fewest_bits(head: int) -> float:
        return min(PRECISE_BITS, MULTIPLIER_LIMIT.bit_length() - max((abs(gap - head) for gap in gaps), default=0.0))
    return max(range(smallest, MAX_HEAD + 1), key=fewest_bits)


def _lower_residual(item: Factors, head: int) -> Factors:
    """The factors with residuals divided by 2**head."""
    return dataclasses.replace(item, ratios=(item.ratios[0], *(ratio / 2.0**head for ratio in item.ratios[1:])))


def multiplierless(factors: Sequence[Factors]) -> bool:
    """Whether the network needs no multipliers but one power of two per layer."""
    return all(_plain_shift(item) is not None for item in factors)


def _at(item: Factors, shift: int) -> Fitted:
    step = 2.0**shift
    if not np.abs(item.offset * step).max(initial=0.0) < MAX_OFFSET:
        raise UnsupportedModel(f"{item.where}: its bias is {np.abs(item.offset).max():.3g} steps of the output, too "
                               f"large for the engine; check the batch norm's statistics and the quantizer's scale")
    multipliers = tuple(np.rint(ratio * step).astype(np.int64) for ratio in item.ratios)
    return Fitted(multipliers, _bias(item, shift).astype(np.int64), shift)


def _bias(item: Factors, shift: int) -> np.ndarray:
    offset = item.offset * 2.0**shift
    if item.rounding is Rounding.HALF_EVEN:
        if shift > 1 and _whole_ratios(item, shift - 1):
            return 2 * np.floor(offset / 2) + (offset % 2 != 0)
    elif _whole_ratios(item, shift) and (shift > 0 or item.rounding is Rounding.FLOOR):
        return np.floor(offset)
    return np.floor(offset + 0.5)


def _exact(item: Factors, shift: int) -> bool:
    """Whether the integers at this shift give what real arithmetic gives."""
    if item.rounding is Rounding.HALF_EVEN and not _whole(item.offset * 2.0**shift):
        return shift > 1 and _whole_ratios(item, shift - 1)
    return _whole_ratios(item, shift)


def _whole_ratios(item: Factors, shift: int) -> bool:
    return all(_whole(ratio * 2.0**shift) for ratio in item.ratios)


def _whole(values: np.ndarray) -> bool:
    return bool(np.array_equal(values, np.rint(values)))


def _plain_shift(item: Factors) -> int | None:
    """The smallest exact shift for which every ratio is the same power of two up to 1; None if there is none."""
    values = np.unique(np.concatenate(item.ratios))
    if len(values) != 1 or not values[0] > 0:
        return None
    mantissa, exponent = math.frexp(float(values[0]))
    if mantissa != 0.5 or exponent > 1:
        return None
    shifts = range(1 - exponent, min(MAX_SHIFT, item.limit.bit_length() - exponent) + 1)
    return next((shift for shift in shifts if _exact(item, shift)), None)


def _window(item: Factors) -> tuple[int, int]:
    """Smallest and largest shift that suit the layer."""
    largest = max(float(np.abs(ratio).max(initial=0.0)) for ratio in item.ratios)
    if not item.limit:
        raise _too_wide(item)
    if not math.isfinite(largest) or largest > item.limit:
        raise UnsupportedModel(f"{item.where}: one step of its input is {largest:.3g} steps of its output, must be at "
                               f"most {item.limit}; calibrate the quantizer")
    highest = min(MAX_SHIFT, math.floor(math.log2(item.limit / largest))) if largest else MAX_SHIFT
    if round(largest * 2.0**highest) > item.limit:
        highest -= 1
    exact = next((shift for shift in range(highest + 1) if _exact(item, shift)), None)
    if exact is not None:
        return exact, highest
    if item.limit < LEAST_LIMIT:
        raise _too_wide(item)
    main = min((ratio for ratio in (float(np.abs(ratio).max(initial=0.0)) for ratio in item.ratios) if ratio),
               default=largest)
    bits = math.floor(math.log2(main)) + 1 + highest
    return highest - max(0, min(highest, bits - PRECISE_BITS)), highest


def _too_wide(item: Factors) -> UnsupportedModel:
    return UnsupportedModel(f"{item.where}: has room for a multiplier of {item.limit} beside the product's second "
                            f"operand, must have it for {LEAST_LIMIT}; give that operand's quantizer 8 bits")


def _fewest_points(windows: Sequence[tuple[int, int]]) -> list[int]:
    """The fewest integers such that every window lo..hi holds one: greedy by the upper ends."""
    points: list[int] = []
    for lo, hi in sorted(windows, key=lambda window: window[1]):
        if not points or points[-1] < lo:
            points.append(hi)
    return points
