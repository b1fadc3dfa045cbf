"""One lane's comparison in an array with adder layers."""

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class MinimumLane(wiring.Component):
    """The smaller of two unsigned numbers: 2 min(u, k) = u + k - |u - k|.

    o = min(u, k)

    Free running, latency 1 cycle, a pair per cycle.

    Parameters
    ----------
    activation_bits : int
        Bits of each (2..32).

    Members
    -------
    u : In(activation_bits)
    k : In(activation_bits)
    o : Out(activation_bits)
    """

    def __init__(self, *, activation_bits: int) -> None:
        self.activation_bits = activation_bits
        super().__init__({
            "u": In(activation_bits),
            "k": In(activation_bits),
            "o": Out(activation_bits),
        })

    @property
    def latency(self) -> int:
        """Cycles from the operands to `o`."""
        return 1

    def model(self, u: np.ndarray, k: np.ndarray) -> np.ndarray:
        """The lane on integer arrays of equal shape."""
        return np.minimum(u, k)

    def elaborate(self, platform):
        m = Module()
        o = Signal(self.activation_bits, reset_less=True)
        m.d.sync += o.eq(Mux(self.u < self.k, self.u, self.k))
        m.d.comb += self.o.eq(o)
        return m
