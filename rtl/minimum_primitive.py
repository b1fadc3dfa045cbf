"""Minima in LUT and carry primitives of Xilinx devices."""

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .carry_adder import carry_outs
from .lut import LutFunction, LutNet, place_lut


class PrimitiveMinima(wiring.Component):
    """As many MinimumLanes, of a LUT per bit.

    o[i] = min(u[i], k[i])

    Free running, latency 1 cycle, a set of pairs per cycle.

    A place of the carry chain compares two bits: its LUT says whether they are equal, which hands the carry on, and
    whether u's are less, which is the carry otherwise. The carry out then chooses, two bits in a LUT.

    Parameters
    ----------
    activation_bits : int
        Bits of a number (2..32).
    lanes : int
        Pairs.
    family : str
        Key of CARRY_BITS.

    Members
    -------
    u : In(lanes * activation_bits)
    k : In(lanes * activation_bits)
    o : Out(lanes * activation_bits)
    """

    def __init__(self, *, activation_bits: int, lanes: int, family: str) -> None:
        self.activation_bits = activation_bits
        self.lanes = lanes
        self.family = family
        super().__init__({
            "u": In(lanes * activation_bits),
            "k": In(lanes * activation_bits),
            "o": Out(lanes * activation_bits),
        })

    @property
    def latency(self) -> int:
        """Cycles from the operands to `o`."""
        return 1

    def model(self, u: np.ndarray, k: np.ndarray) -> np.ndarray:
        """The minima of integer arrays of equal shape."""
        return np.minimum(u, k)

    def elaborate(self, platform):
        m = Module()
        pairs = [[number.word_select(i, self.activation_bits) for number in (self.u, self.k)]
                 for i in range(self.lanes)]
        less = carry_outs(m, [self._comparison(m, i, *pair) for i, pair in enumerate(pairs)], self.family, "less")
        for i, (u, k) in enumerate(pairs):
            net = LutNet(m, f"choose{i}")
            net.add("less", less[i])
            for n in range(self.activation_bits):
                net.add(f"u{n}", u[n])
                net.add(f"k{n}", k[n])
            names = [f"o{n}" for n in range(self.activation_bits)]
            net.compute({name: ((f"u{n}", f"k{n}", "less"), lambda u, k, less: u if less else k)
                         for n, name in enumerate(names)})
            m.d.comb += self.o.word_select(i, self.activation_bits).eq(net.register(f"minimum{i}", names).bits(names))
        return m

    def _comparison(self, m, i, u, k):
        """Select and data of the places of lane i's carry chain, as lists of bits."""
        places = []
        for low in range(0, self.activation_bits, 2):
            wires = {f"{name}{n}": bit for n in range(low, min(low + 2, self.activation_bits))
                     for name, bit in (("u", u[n]), ("k", k[n]))}
            equal = LutFunction.of(list(wires), lambda *bits: int(bits[::2] == bits[1::2]))
            below = LutFunction.of(list(wires), lambda *bits: int(bits[::2][::-1] < bits[1::2][::-1]))
            places.append(place_lut(m, f"compare{i}_{low}", wires, equal, below))
        return [select for select, _ in places], [data for _, data in places]
