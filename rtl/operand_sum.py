"""Sum of the operands of an adder layer, shared by all outputs."""

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from .adder_tree import adder_tree
from .module_library import SharedComponent


class OperandSum(SharedComponent):
    """What twice the minima of a step have too much, in all outputs alike.

    o = sum over i < simd of u[i] if enable else 0

    Free running, a set of operands per cycle, latency 2 + log2(simd) cycles, that of a Dot with minima. `enable` is
    taken `enable_stage` cycles after the operands.

    Parameters
    ----------
    activation_bits : int
        Bits of an operand (2..32).
    simd : int
        Lanes, a power of two (2..128).

    Members
    -------
    u : In(simd * activation_bits)
    enable : In(1)
    o : Out(output_bits)
    """

    def __init__(self, *, activation_bits: int, simd: int) -> None:
        self.activation_bits = activation_bits
        self.simd = simd
        self.levels = simd.bit_length() - 1
        self.output_bits = activation_bits + self.levels
        super().__init__({
            "u": In(simd * activation_bits),
            "enable": In(1),
            "o": Out(self.output_bits),
        })

    @property
    def module_name(self) -> str:
        return f"operand_sum_a{self.activation_bits}_i{self.simd}"

    @property
    def latency(self) -> int:
        """Cycles from the operands to `o`."""
        return 2 + self.levels

    @property
    def enable_stage(self) -> int:
        """Cycles from the operands to the `enable` that applies to them."""
        return self.latency - 1

    def model(self, u: np.ndarray, enable: bool) -> np.ndarray:
        """Sums of integer arrays (int64) [..., simd]: [...]."""
        return u.sum(axis=-1) * enable

    def elaborate(self, platform):
        m = Module()
        operands = [self.u.word_select(i, self.activation_bits) for i in range(self.simd)]
        total = adder_tree(m, operands, (1 << self.activation_bits) - 1, self.latency - 1)
        o = Signal(self.output_bits, reset_less=True)
        with m.If(self.enable):
            m.d.sync += o.eq(total)
        with m.Else():
            m.d.sync += o.eq(0)
        m.d.comb += self.o.eq(o)
        return m
