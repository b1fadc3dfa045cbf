"""What the steps of a QONNX model make, beside sums."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..draft import Sum

Padding = tuple[int, int, int, int]
"""Zeros at the (top, left, bottom, right) of a map."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant of the model; where a quantizer made it, value = integer * scale.

    values    float[...]
    integers  int64[...] and scale float64[...], of the same shape; None where it is not quantized
    bits      of the integers
    """

    values: np.ndarray
    integers: np.ndarray | None = None
    scale: np.ndarray | None = None
    bits: int = 0

    def moved(self, change: Callable[[np.ndarray], np.ndarray]) -> "Constant":
        """With its elements elsewhere: transposed or reshaped."""
        integers, scale = (None if array is None else change(array) for array in (self.integers, self.scale))
        return replace(self, values=change(self.values), integers=integers, scale=scale)

    def scaled(self, factor: np.ndarray) -> "Constant":
        """Times a constant that does not change its shape."""
        scale = None if self.scale is None else self.scale * factor
        return replace(self, values=np.multiply(self.values, factor, dtype=np.float64), scale=scale)


@dataclass(frozen=True, eq=False)
class RawInput:
    """The network's input before its quantizer: clamp(x * factor[c] + offset[c], lo, hi), maybe flattened."""

    factor: np.ndarray
    offset: np.ndarray
    lo: float = -math.inf
    hi: float = math.inf
    flat: bool = False

    @property
    def is_clamped(self) -> bool:
        return self.lo > -math.inf or self.hi < math.inf

    def clamped(self, lo: float, hi: float) -> "RawInput":
        """This value limited to lo..hi."""
        return replace(self, lo=min(max(self.lo, lo), hi), hi=max(min(self.hi, hi), lo))


@dataclass(frozen=True)
class Activation:
    """Integers of the node `name`, one step of which is worth `scale` here, with zeros around each map."""

    name: str
    scale: float
    padding: Padding = (0, 0, 0, 0)


Value = RawInput | Activation | Sum | Constant
