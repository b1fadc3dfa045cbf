"""Dot product of activations and power-of-two weights."""

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from shifthw.arch import bits_for

from .module_library import SharedComponent
from .shift_lane import ShiftLane, lane_product


class Dot(SharedComponent):
    """Shift lanes and a pipelined adder tree.

    o = sum over i < simd of lane(u[i], e[i], sign[i], zero[i]), the lane as in ShiftLane; exact.

    Free running, latency 1 + log2(simd) cycles, a set of operands per cycle.

    The tree adds three numbers at a time, for which a bit takes one LUT with two outputs and no more of the carry
    chain than for two. It has fewer levels than a tree of pairs; registers at its end make up for them.

    Parameters
    ----------
    activation_bits : int
        Bits of an operand (2..32).
    exponent_levels : int
        Shifts are 0..exponent_levels-1 (1..16).
    zero_weights : bool
        Whether weight 0 exists: gives exponent_bits as in ArrayConfig.
    simd : int
        Lanes, a power of two (2..128).

    Members
    -------
    u : In(simd * activation_bits)
    e : In(simd * exponent_bits)
    sign : In(simd)
    zero : In(simd)
    o : Out(output_bits)
    """

    def __init__(self, *, activation_bits: int, exponent_levels: int, zero_weights: bool, simd: int) -> None:
        self.activation_bits = activation_bits
        self.exponent_levels = exponent_levels
        self.zero_weights = zero_weights
        self.simd = simd
        self.exponent_bits = bits_for(exponent_levels + zero_weights)
        self.levels = simd.bit_length() - 1
        self.lane_bits = activation_bits + exponent_levels - 1
        self.output_bits = self.lane_bits + self.levels
        super().__init__({
            "u": In(simd * activation_bits),
            "e": In(simd * self.exponent_bits),
            "sign": In(simd),
            "zero": In(simd),
            "o": Out(self.output_bits),
        })

    @property
    def module_name(self) -> str:
        return f"dot_a{self.activation_bits}_l{self.exponent_levels}_e{self.exponent_bits}_i{self.simd}"

    @property
    def latency(self) -> int:
        """Cycles from the operands to `o`."""
        return 1 + self.levels

    def model(self, u: np.ndarray, e: np.ndarray, sign: np.ndarray, zero: np.ndarray) -> np.ndarray:
        """Dot products of integer arrays (int64) [..., simd]: [...]."""
        return lane_product(u, e, sign, zero, self.lane_bits).sum(axis=-1)

    def elaborate(self, platform):
        m = Module()
        terms = []
        for i in range(self.simd):
            m.submodules[f"lane{i}"] = lane = ShiftLane(
                activation_bits=self.activation_bits, exponent_levels=self.exponent_levels,
                exponent_bits=self.exponent_bits)
            m.d.comb += [
                lane.u.eq(self.u.word_select(i, self.activation_bits)),
                lane.e.eq(self.e.word_select(i, self.exponent_bits)),
                lane.sign.eq(self.sign[i]),
                lane.zero.eq(self.zero[i]),
            ]
            terms.append(lane.o)
        highest = [(1 << self.lane_bits) - 1] * self.simd
        for level in range(1, self.levels + 1):
            highest = [sum(highest[n:n + 3]) for n in range(0, len(highest), 3)]
            sums = [Signal(range(bound + 1), name=f"sum{level}_{n}", reset_less=True)
                    for n, bound in enumerate(highest)]
            m.d.sync += [s.eq(sum(terms[3 * n + 1:3 * n + 3], terms[3 * n])) for n, s in enumerate(sums)]
            terms = sums
        m.d.comb += self.o.eq(terms[0])
        return m
