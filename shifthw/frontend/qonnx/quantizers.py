"""QONNX's quantizers: their parameters, the grids of activations, the integers of constants."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from qonnx.custom_op.general.quant import max_int, min_int, resolve_rounding_mode

from ...errors import UnsupportedModel
from ...ir.graph import Rounding
from ...ir.types import IntType
from ..draft import Grid
from .reader import Step
from .values import Constant, Value

MAX_WEIGHT_BITS, MAX_ACTIVATION_BITS, MAX_CONSTANT_BITS = 8, 16, 32
ROUNDINGS = {"ROUND": Rounding.HALF_EVEN, "HALF_EVEN": Rounding.HALF_EVEN, "FLOOR": Rounding.FLOOR}
UNSIGNED_ROUNDINGS = ROUNDINGS | {"HALF_UP": Rounding.HALF_UP, "DOWN": Rounding.FLOOR, "ROUND_TO_ZERO": Rounding.FLOOR}
"""QONNX's names; toward zero and away from it are floor and half up where nothing is below zero."""


@dataclass(frozen=True, eq=False)
class Quantizer:
    """clamp(round(x / scale), lo, hi) * scale; a bipolar one gives -scale and scale."""

    where: str
    scale: np.ndarray
    bits: int
    signed: bool
    lo: int
    hi: int
    mode: str
    bipolar: bool

    def grid(self) -> Grid:
        """As the quantizer of an activation. Raises UnsupportedModel where that has no mapping."""
        if self.bipolar:
            raise UnsupportedModel(f"{self.where}: gives an activation of -1 and 1 without 0, which the engine's zero "
                                   f"padding and grids need; use a Quant of 2 or more bits")
        if self.bits > MAX_ACTIVATION_BITS:
            raise UnsupportedModel(f"{self.where}: makes activations of {self.bits} bits, must be at most "
                                   f"{MAX_ACTIVATION_BITS}")
        return Grid(IntType(max(self.bits, 2), self.signed), self.step(), self.lo, self.hi, self.rounding())

    def rounding(self) -> Rounding:
        known = ROUNDINGS if self.signed else UNSIGNED_ROUNDINGS
        if self.mode not in known:
            raise UnsupportedModel(f"{self.where}: has rounding_mode {self.mode!r:.40}, must be {', '.join(known)} "
                                   f"{'here' if self.signed else 'for unsigned activations'}")
        return known[self.mode]

    def step(self) -> float:
        """The one scale of an activation."""
        if np.any(self.scale != self.scale.flat[0]):
            raise UnsupportedModel(f"{self.where}: has {self.scale.size} scales for an activation, must have one; only "
                                   f"weights may have a scale per channel")
        return float(self.scale.flat[0])

    def constant(self, value: Constant) -> Constant:
        """The integers of a constant, rounded as QONNX does: in the type that the file stores."""
        if not np.isfinite(value.values).all():
            raise UnsupportedModel(f"{self.where}: its constant holds NaN or infinite numbers")
        try:
            scale = np.broadcast_to(self.scale, value.values.shape)
            round_steps = resolve_rounding_mode(self.mode)
        except ValueError as error:
            raise UnsupportedModel(f"{self.where}: has scales {list(self.scale.shape)} for a constant "
                                   f"{list(value.values.shape)}, or an unknown rounding_mode ({error})") from error
        steps = value.values / scale
        steps = np.where(steps >= 0, 1, -1) if self.bipolar else round_steps(np.clip(steps, self.lo, self.hi))
        integers = steps.astype(np.int64)
        real = scale.astype(np.float64)
        return Constant(integers * real, integers, real, self.bits)


def quantizer(step: Step, constants: Mapping[str, np.ndarray]) -> Quantizer:
    """The parameters of a Quant, IntQuant or BipolarQuant, or, but for its scales, of a Trunc.

    Raises UnsupportedModel, naming it, for parameters that are not constant or out of range.
    """
    scale = scale_input(step, constants, 1)
    if step.op == "BipolarQuant":
        return Quantizer(step.where, scale, 1, True, -1, 1, "ROUND", True)
    zero_input(step, constants, 2)
    return described(step, scale, bits_input(step, constants, 3))


def described(step: Step, scale: np.ndarray, bits: int) -> Quantizer:
    """The quantizer of `bits` bits that a step's attributes describe."""
    signed, narrow = bool(step.attributes.get("signed", 1)), bool(step.attributes.get("narrow", 0))
    lo, hi = min_int(signed, narrow, bits), max_int(signed, narrow, bits)
    mode = str(step.attributes.get("rounding_mode", "ROUND")).upper()
    return Quantizer(step.where, scale, bits, signed, lo, hi, mode, bits == 1 and signed)


def scale_input(step: Step, constants: Mapping[str, np.ndarray], index: int) -> np.ndarray:
    scale = _parameter(step, constants, index, "scale")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise UnsupportedModel(f"{step.where}: has scale {_worst(scale)}, must be finite and above 0")
    return scale


def zero_input(step: Step, constants: Mapping[str, np.ndarray], index: int) -> None:
    zero = _parameter(step, constants, index, "zero point")
    if np.any(zero != 0):
        worst = zero.ravel()[np.argmax(zero != 0)]
        raise UnsupportedModel(f"{step.where}: has zero point {worst:g}, must be 0; export with a symmetric quantizer")


def bits_input(step: Step, constants: Mapping[str, np.ndarray], index: int) -> int:
    bits = _parameter(step, constants, index, "bit width")
    width = float(bits.flat[0])
    if np.any(bits != width) or not width.is_integer() or not 1 <= width <= MAX_CONSTANT_BITS:
        raise UnsupportedModel(f"{step.where}: has bit width {width:g}, must be one whole number of 1.."
                               f"{MAX_CONSTANT_BITS}")
    return int(width)


def _parameter(step: Step, constants: Mapping[str, np.ndarray], index: int, what: str) -> np.ndarray:
    name = step.inputs[index] if index < len(step.inputs) else ""
    if name not in constants or not constants[name].size or constants[name].dtype.kind not in "fiu":
        raise UnsupportedModel(f"{step.where}: its {what} is not a constant; export with fixed parameters")
    return constants[name]


def _worst(scale: np.ndarray) -> str:
    return f"{scale.ravel()[np.argmin(np.where(np.isfinite(scale), scale, -np.inf))]:g}"


def weights(where: str, constant: Value) -> tuple[np.ndarray, np.ndarray]:
    """int64[out, ...] weights and the real value float64[out] of one unit, per output channel, the first dimension.

    Raises UnsupportedModel for what is not an integer of at most 8 bits times a scale per output channel.
    """
    if not isinstance(constant, Constant):
        raise UnsupportedModel(f"{where}: its weights are computed, must be constant")
    if constant.integers is None or constant.scale is None:
        raise UnsupportedModel(f"{where}: its weights are not quantized; put a Quant of 2..{MAX_WEIGHT_BITS} bits "
                               f"behind them")
    if constant.bits > MAX_WEIGHT_BITS:
        raise UnsupportedModel(f"{where}: has weights of {constant.bits} bits, must be at most {MAX_WEIGHT_BITS}")
    rows = constant.scale.reshape(len(constant.scale), -1)
    if np.any(rows != rows[:, :1]):
        raise UnsupportedModel(f"{where}: the scale of its weights changes inside an output channel, must be one per "
                               f"tensor or per output channel")
    used = constant.integers.reshape(len(rows), -1).any(axis=1)
    unit = rows[:, 0]
    return constant.integers, np.where(used, unit, unit[used].max(initial=0.0) or 1.0)


def annotated(where: str, values: np.ndarray, dtype: IntType) -> Constant:
    """A constant that QONNX's annotation says to hold integers."""
    if not np.isfinite(values).all() or np.any(values != np.rint(values)):
        raise UnsupportedModel(f"{where}: its weights are annotated as {dtype} but are not all integers; put a Quant "
                               f"behind them instead")
    integers = values.astype(np.int64)
    if integers.size and not dtype.lo <= integers.min() <= integers.max() <= dtype.hi:
        raise UnsupportedModel(f"{where}: its weights are annotated as {dtype} but hold {integers.min()}.."
                               f"{integers.max()}")
    return Constant(values.astype(np.float64), integers, np.ones(values.shape), dtype.bits)


def power_of_two(value: float) -> bool:
    return value > 0 and math.frexp(value)[0] == 0.5
