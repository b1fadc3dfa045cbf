"""Weight codes of an array with adder layers."""

import numpy as np
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import bits_for

from .shift_lane import WeightDecode


class AdderDecode(wiring.Component):
    """Splits a word of weight codes into the controls of lanes that compare and, with exponent levels, shift.

    k[i] = code[i] mod 2**activation_bits if adder else 2**activation_bits - 1
    e[i], sign[i], zero[i]: WeightDecode's of 1 (a shift by one) if adder else code[i]

    Without exponent levels k[i] is code[i] and there is nothing else.

    Free running, a word per cycle. Latency 1 cycle to k, which meets the operand, and 2 cycles to the others,
    which meet the minimum.

    Parameters
    ----------
    lanes : int
        Codes in a word.
    activation_bits : int
        Bits of a weight that is an operand (2..32).
    exponent_levels : int
        Weights shift by 0..exponent_levels-1 (2..16); 0: none does.
    zero_weights : bool
        As in WeightDecode.

    Members
    -------
    codes : In(lanes * code_bits)
    adder : In(1), if exponent_levels
    k : Out(lanes * activation_bits)
    e : Out(lanes * exponent_bits), if exponent_levels
    sign : Out(lanes), if exponent_levels
    zero : Out(lanes), if exponent_levels
    """

    def __init__(self, *, lanes: int, activation_bits: int, exponent_levels: int, zero_weights: bool) -> None:
        self.lanes = lanes
        self.activation_bits = activation_bits
        self.exponent_levels = exponent_levels
        self.zero_weights = zero_weights
        self.exponent_bits = bits_for(exponent_levels + zero_weights) if exponent_levels else 0
        self.code_bits = max(activation_bits, self.exponent_bits + 1)
        super().__init__({
            "codes": In(lanes * self.code_bits),
            **({"adder": In(1)} if exponent_levels else {}),
            "k": Out(lanes * activation_bits),
            **({"e": Out(lanes * self.exponent_bits), "sign": Out(lanes), "zero": Out(lanes)}
               if exponent_levels else {}),
        })

    @property
    def latency(self) -> int:
        """Cycles from `codes` to k; one more to the others."""
        return 1

    def model(self, codes: np.ndarray, adder: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """k, exponents, signs and zero flags of integer codes, each of the codes' shape."""
        top = (1 << self.activation_bits) - 1
        k = codes & top if adder or not self.exponent_levels else np.full_like(codes, top)
        if adder or not self.exponent_levels:
            return k, np.ones_like(codes), np.zeros_like(codes), np.zeros_like(codes)
        exponent = codes & ((1 << self.exponent_bits) - 1)
        zero = (exponent == self.exponent_levels) & self.zero_weights
        return k, exponent, codes >> self.exponent_bits & 1, zero.astype(codes.dtype)

    def elaborate(self, platform):
        m = Module()
        codes = [self.codes.word_select(i, self.code_bits) for i in range(self.lanes)]
        k = Signal.like(self.k, reset_less=True)
        m.d.comb += self.k.eq(k)
        weights = Cat(code[:self.activation_bits] for code in codes)
        if not self.exponent_levels:
            m.d.sync += k.eq(weights)
            return m
        m.submodules.shift = shift = WeightDecode(lanes=self.lanes, exponent_levels=self.exponent_levels,
                                                  zero_weights=self.zero_weights)
        bits = self.exponent_bits + 1
        shifts = Signal(self.lanes * bits, reset_less=True)
        # Constants, so that sets and resets of the registers do the choosing.
        with m.If(self.adder):
            m.d.sync += [k.eq(weights), shifts.eq(sum(1 << (i * bits) for i in range(self.lanes)))]
        with m.Else():
            m.d.sync += [k.eq((1 << len(k)) - 1), shifts.eq(Cat(code[:bits] for code in codes))]
        m.d.comb += [shift.codes.eq(shifts), self.e.eq(shift.e), self.sign.eq(shift.sign), self.zero.eq(shift.zero)]
        return m
