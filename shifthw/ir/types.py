"""Types of the integer graph: integer ranges, activation tensors, power-of-two weights."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


def bits_holding(lo: int, hi: int) -> int:
    """Bits of the narrowest signed integer that holds every one of lo..hi."""
    return max(lo.bit_length() if lo >= 0 else (-lo - 1).bit_length(), hi.bit_length()) + 1


@dataclass(frozen=True, order=True)
class IntType:
    """A two's complement or unsigned integer of `bits` (1..64) bits."""

    bits: int
    signed: bool

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 64:
            raise ValueError(f"bits must be 1..64, not {self.bits}")

    @property
    def lo(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        """Largest value."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @classmethod
    def holding(cls, lo: int, hi: int) -> "IntType":
        """The narrowest signed type that holds every integer of lo..hi."""
        return cls(bits_holding(lo, hi), True)

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}"


@dataclass(frozen=True)
class TensorType:
    """One image's tensor: shape (channels, height, width), integer type, real value of one step.

    `scale` is metadata (real = integer * scale); no integer result depends on it.
    """

    shape: tuple[int, int, int]
    dtype: IntType
    scale: float = 1.0

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def height(self) -> int:
        return self.shape[1]

    @property
    def width(self) -> int:
        return self.shape[2]


@dataclass(frozen=True, eq=False)
class ShiftWeight:
    """Weights that are sums of n signed powers of two: w = sum_n sign[n] * 2**exponent[n].

    sign      int8[n, out, in/groups, kh, kw] in {-1, 0, +1}
    exponent  int8[n, out, in/groups, kh, kw], 0..15; 0 wherever sign is 0
    """

    sign: np.ndarray
    exponent: np.ndarray

    def __post_init__(self) -> None:
        if self.sign.ndim != 5 or self.sign.shape != self.exponent.shape:
            raise ValueError(f"sign and exponent must be equal 5-dimensional shapes, not {self.sign.shape} "
                             f"and {self.exponent.shape}")
        for array in (self.sign, self.exponent):
            array.setflags(write=False)

    @property
    def terms(self) -> int:
        """Number of power-of-two terms per weight."""
        return int(self.sign.shape[0])

    @cached_property
    def integer(self) -> np.ndarray:
        """The weights as int64[out, in/groups, kh, kw]."""
        return (self.sign.astype(np.int64) << self.exponent.astype(np.int64)).sum(axis=0)
