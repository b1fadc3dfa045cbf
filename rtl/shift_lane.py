"""One lane of the array: an activation times a signed power of two."""

import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import bits_for


def lane_product(u: np.ndarray, e: np.ndarray | int, sign: np.ndarray | int, zero: np.ndarray | int,
                 output_bits: int) -> np.ndarray:
    """ShiftLane's equation on integer arrays (int64) of equal shape, or integers."""
    shifted = u << e
    return np.where(zero, 0, np.where(sign, (1 << output_bits) - 1 - shifted, shifted))


class WeightDecode(wiring.Component):
    """Splits a word of weight codes into the controls of the lanes.

    exponent[i] = code[i] mod 2**exponent_bits, sign[i] = code[i] >> exponent_bits,
    zero[i] = zero_weights and exponent[i] == exponent_levels

    Free running, latency 1 cycle, a word per cycle.

    Parameters
    ----------
    lanes : int
        Codes in a word.
    exponent_levels : int
        Weights shift by 0..exponent_levels-1 (1..16).
    zero_weights : bool
        Whether exponent == exponent_levels stands for weight 0. The sign of weight 0 has no effect.

    Members
    -------
    codes : In(lanes * (exponent_bits + 1))
    e : Out(lanes * exponent_bits)
    sign : Out(lanes)
    zero : Out(lanes)
    """

    def __init__(self, *, lanes: int, exponent_levels: int, zero_weights: bool) -> None:
        self.lanes = lanes
        self.exponent_levels = exponent_levels
        self.zero_weights = zero_weights
        self.exponent_bits = bits_for(exponent_levels + zero_weights)
        super().__init__({
            "codes": In(lanes * (self.exponent_bits + 1)),
            "e": Out(lanes * self.exponent_bits),
            "sign": Out(lanes),
            "zero": Out(lanes),
        })

    @property
    def latency(self) -> int:
        """Cycles from `codes` to the outputs."""
        return 1

    def model(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Exponents, signs and zero flags of integer codes, each of the codes' shape."""
        exponent = codes & ((1 << self.exponent_bits) - 1)
        zero = (exponent == self.exponent_levels) & self.zero_weights
        return exponent, codes >> self.exponent_bits, zero.astype(codes.dtype)

    def elaborate(self, platform):
        m = Module()
        codes = [self.codes.word_select(i, self.exponent_bits + 1) for i in range(self.lanes)]
        exponents = [code[:self.exponent_bits] for code in codes]
        # Registers of its own: an output port would bring a reset.
        e = Signal.like(self.e, reset_less=True)
        sign = Signal.like(self.sign, reset_less=True)
        m.d.sync += [e.eq(Cat(exponents)), sign.eq(Cat(code[self.exponent_bits] for code in codes))]
        m.d.comb += [self.e.eq(e), self.sign.eq(sign)]
        if self.zero_weights:
            zero = Signal.like(self.zero, reset_less=True)
            m.d.sync += zero.eq(Cat(exponent == self.exponent_levels for exponent in exponents))
            m.d.comb += self.zero.eq(zero)
        return m


class ShiftLane(wiring.Component):
    """An activation shifted and, for a negative weight, complemented.

    v = u << e;  o = 0 if zero else (2**output_bits - 1 - v if sign else v)

    Free running, latency 1 cycle, an operand per cycle. Exponents of exponent_levels and above
    are allowed only with `zero`.

    `zero` is the register's synchronous reset and costs no LUT. The shift is left to the synthesizer: a rotation
    and masks, which need a 6-input LUT per bit of the output, came out no smaller, and larger once small LUTs are
    paired.

    Parameters
    ----------
    activation_bits : int
        Bits of the operand (2..32).
    exponent_levels : int
        Shifts are 0..exponent_levels-1 (1..16).
    exponent_bits : int
        Bits of `e`, enough for exponent_levels-1.

    Members
    -------
    u : In(activation_bits)
    e : In(exponent_bits)
    sign : In(1)
    zero : In(1)
    o : Out(output_bits)
    """

    def __init__(self, *, activation_bits: int, exponent_levels: int, exponent_bits: int) -> None:
        self.activation_bits = activation_bits
        self.exponent_levels = exponent_levels
        self.exponent_bits = exponent_bits
        self.output_bits = activation_bits + exponent_levels - 1
        super().__init__({
            "u": In(activation_bits),
            "e": In(exponent_bits),
            "sign": In(1),
            "zero": In(1),
            "o": Out(self.output_bits),
        })

    @property
    def latency(self) -> int:
        """Cycles from the operands to `o`."""
        return 1

    def model(self, u: np.ndarray, e: np.ndarray, sign: np.ndarray, zero: np.ndarray) -> np.ndarray:
        """The lane on integer arrays (int64) of equal shape."""
        return lane_product(u, e, sign, zero, self.output_bits)

    def elaborate(self, platform):
        m = Module()
        shift = self.e[:(self.exponent_levels - 1).bit_length()]
        shifted = (self.u << shift)[:self.output_bits]
        o = Signal(self.output_bits, reset_less=True)
        with m.If(self.zero):
            m.d.sync += o.eq(0)
        with m.Else():
            m.d.sync += o.eq(shifted ^ self.sign.replicate(self.output_bits))
        m.d.comb += self.o.eq(o)
        return m
