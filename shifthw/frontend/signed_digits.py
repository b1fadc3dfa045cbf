"""Integer weights as sums of the fewest signed powers of two: canonical signed digits.

In the canonical form no two neighbouring digits are non-zero. Every integer has one such form, and none
with fewer terms exists. An integer of 8 bits needs at most 4 terms.
"""

import numpy as np

from ..errors import UnsupportedModel
from ..ir.types import ShiftWeight
from ..ir.verify import MAX_TERMS


def signed_digits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signs in {-1, 0, 1} and exponents (0 where the sign is 0) of int[...] values, int8[terms, ...] each.

    sum_n sign[n] * 2**exponent[n] is the value; terms descend, and there are as many as the value that
    needs most of them has, at least one. |values| < 2**61.
    """
    magnitude = np.abs(values.astype(np.int64))
    carry = magnitude + 2 * magnitude
    plus, minus = (carry & ~magnitude) >> 1, (magnitude & ~carry) >> 1
    exponents = np.arange(int(carry.max(initial=1)).bit_length() - 1, -1, -1).reshape(-1, *[1] * values.ndim)
    digits = ((plus >> exponents) & 1) - ((minus >> exponents) & 1)
    used = digits != 0
    terms = max(1, int(used.sum(axis=0).max(initial=0)))
    order = np.argsort(~used, axis=0, kind="stable")[:terms]  # the non-zero digits first, still descending
    sign = np.take_along_axis(digits, order, axis=0) * np.sign(values)
    exponent = np.where(sign == 0, 0, np.take_along_axis(np.broadcast_to(exponents, digits.shape), order, axis=0))
    return sign.astype(np.int8), exponent.astype(np.int8)


def shift_weight(integers: np.ndarray, where: str) -> tuple[ShiftWeight, int]:
    """Exactly the weights int[out, in/groups, kh, kw], divided by the power of two 2**unit that all share, and unit.

    Raises UnsupportedModel, naming `where`, for a weight that needs more than 4 terms.
    """
    common = int(np.bitwise_or.reduce(integers, axis=None))
    unit = (common & -common).bit_length() - 1 if common else 0
    sign, exponent = signed_digits(integers >> unit)
    if len(sign) > MAX_TERMS:
        worst = integers.ravel()[np.count_nonzero(sign, axis=0).argmax()]
        raise UnsupportedModel(f"{where}: its weight {worst} needs {len(sign)} signed powers of two; must be at most "
                               f"{MAX_TERMS}, which every 8-bit signed integer is")
    return ShiftWeight(sign, exponent), unit
