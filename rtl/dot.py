"""Dot product of activations and power-of-two weights."""

import numpy as np
from amaranth.hdl import Cat, Const, Module
from amaranth.lib.wiring import In, Out

from shifthw.arch import bits_for

from .adder_tree import adder_tree
from .minimum_lane import MinimumLane
from .module_library import SharedComponent
from .shift_lane import ShiftLane, lane_product


class Dot(SharedComponent):
    """Shift lanes and a pipelined adder tree.

    o = sum over i < simd of lane(v[i], e[i], sign[i], zero[i]), the lane as in ShiftLane; exact.
    v[i] = min(u[i], k[i]) if adder else u[i]

    Without exponent levels (then with adder) nothing shifts: o = sum of 2 min(u[i], k[i]).

    Free running, a set of operands per cycle, latency 1 + log2(simd) cycles, with adder one more: then e, sign and
    zero are taken one cycle after u and k.

    Parameters
    ----------
    activation_bits : int
        Bits of an operand (2..32).
    exponent_levels : int
        Shifts are 0..exponent_levels-1 (1..16; with adder also 0).
    zero_weights : bool
        Whether weight 0 exists: gives exponent_bits as in ArrayConfig.
    simd : int
        Lanes, a power of two (2..128).
    adder : bool
        Whether there are minima.

    Members
    -------
    u : In(simd * activation_bits)
    k : In(simd * activation_bits), if adder
    e : In(simd * exponent_bits), if exponent_levels
    sign : In(simd), if exponent_levels
    zero : In(simd), if exponent_levels
    o : Out(output_bits)
    """

    def __init__(
        self, *, activation_bits: int, exponent_levels: int, zero_weights: bool, simd: int, adder: bool = False
    ) -> None:
        self.activation_bits = activation_bits
        self.exponent_levels = exponent_levels
        self.zero_weights = zero_weights
        self.simd = simd
        self.adder = adder
        self.exponent_bits = bits_for(exponent_levels + zero_weights) if exponent_levels else 0
        self.levels = simd.bit_length() - 1
        self.lane_bits = activation_bits + max(exponent_levels - 1, int(adder))
        self.output_bits = self.lane_bits + self.levels
        super().__init__({
            "u": In(simd * activation_bits),
            **({"k": In(simd * activation_bits)} if adder else {}),
            **({"e": In(simd * self.exponent_bits), "sign": In(simd), "zero": In(simd)} if exponent_levels else {}),
            "o": Out(self.output_bits),
        })

    @property
    def module_name(self) -> str:
        name = f"dot_a{self.activation_bits}_l{self.exponent_levels}_e{self.exponent_bits}_i{self.simd}"
        return f"{name}_adder" if self.adder else name

    @property
    def latency(self) -> int:
        """Cycles from the operands to `o`."""
        return self.adder + 1 + self.levels

    @property
    def addend_bits(self) -> int:
        """Bits of a lane in the tree, which nothing doubles where nothing shifts."""
        return self.lane_bits if self.exponent_levels else self.activation_bits

    def model(self, u: np.ndarray, e: np.ndarray | int = 1, sign: np.ndarray | int = 0, zero: np.ndarray | int = 0,
              k: np.ndarray | None = None) -> np.ndarray:
        """Dot products of integer arrays (int64) [..., simd]: [...]."""
        v = u if k is None else np.minimum(u, k)
        return lane_product(v, e, sign, zero, self.lane_bits).sum(axis=-1)

    def elaborate(self, platform):
        m = Module()
        lanes = [self._lane(m, i, self.u.word_select(i, self.activation_bits)) for i in range(self.simd)]
        stages = int(self.adder) + (self.exponent_levels > 0)
        total = adder_tree(m, lanes, (1 << self.addend_bits) - 1, self.latency - stages)
        m.d.comb += self.o.eq(total if self.exponent_levels else Cat(Const(0, 1), total))
        return m

    def _lane(self, m, i, u):
        """Lane i's result, addend_bits wide."""
        if self.adder:
            m.submodules[f"minimum{i}"] = minimum = MinimumLane(activation_bits=self.activation_bits)
            m.d.comb += [minimum.u.eq(u), minimum.k.eq(self.k.word_select(i, self.activation_bits))]
            u = minimum.o
        if not self.exponent_levels:
            return u
        m.submodules[f"lane{i}"] = lane = ShiftLane(
            activation_bits=self.activation_bits, exponent_levels=self.exponent_levels,
            exponent_bits=self.exponent_bits)
        m.d.comb += [
            lane.u.eq(u),
            lane.e.eq(self.e.word_select(i, self.exponent_bits)),
            lane.sign.eq(self.sign[i]),
            lane.zero.eq(self.zero[i]),
        ]
        return lane.o
