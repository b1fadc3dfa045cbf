"""Maximum over the taps of a window."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from .module_library import SharedComponent


class MaxPool(SharedComponent):
    """Running maxima of unsigned operands.

    enable: maximum[n] = u[n] if first else max(maximum[n], u[n]);  else: maximum[n] = maximum[n]

    Valid-only: `enable` marks the cycles in which u and first are taken; latency 1 cycle.

    Parameters
    ----------
    lanes : int
        Maxima side by side.
    activation_bits : int
        Bits of an operand.

    Members
    -------
    u : In(lanes * activation_bits)
    enable : In(1)
    first : In(1)
    maximum : Out(lanes * activation_bits)
    """

    def __init__(self, *, lanes: int, activation_bits: int) -> None:
        self.lanes = lanes
        self.activation_bits = activation_bits
        super().__init__({
            "u": In(lanes * activation_bits),
            "enable": In(1),
            "first": In(1),
            "maximum": Out(lanes * activation_bits),
        })

    @property
    def module_name(self) -> str:
        return f"max_pool_n{self.lanes}_a{self.activation_bits}"

    @property
    def latency(self) -> int:
        """Cycles from `u` to the `maximum` that contains it."""
        return 1

    def model(self, maximum: np.ndarray, u: np.ndarray, *, first: bool = False, enable: bool = True) -> np.ndarray:
        """The maxima of the next cycle, of the shape of `u`."""
        if not enable:
            return maximum
        return u if first else np.maximum(maximum, u)

    def elaborate(self, platform):
        m = Module()
        maxima = [Signal(self.activation_bits, name=f"maximum{n}", reset_less=True) for n in range(self.lanes)]
        with m.If(self.enable):
            for n, maximum in enumerate(maxima):
                u = self.u.word_select(n, self.activation_bits)
                m.d.sync += maximum.eq(Mux(self.first | (u > maximum), u, maximum))
        m.d.comb += self.maximum.eq(Cat(maxima))
        return m
