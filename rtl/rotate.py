"""The rotation network between the banks of the feature memory and the pixel lanes."""

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from .module_library import SharedComponent


class Rotate(SharedComponent):
    """Rotates the words of the lanes.

    o[p] = i[(p + k) mod lanes]

    Free running, latency as chosen, a set of words per cycle.

    Parameters
    ----------
    lanes : int
        A power of two, 2..64.
    lane_bits : int
        Bits of a word.
    latency : int
        0 (combinational) or 1 cycle.

    Members
    -------
    i : In(lanes * lane_bits)
    k : In(select_bits)
    o : Out(lanes * lane_bits)
    """

    def __init__(self, *, lanes: int, lane_bits: int, latency: int = 0) -> None:
        self.lanes = lanes
        self.lane_bits = lane_bits
        self.latency = latency
        self.select_bits = lanes.bit_length() - 1
        super().__init__({"i": In(lanes * lane_bits), "k": In(self.select_bits), "o": Out(lanes * lane_bits)})

    @property
    def module_name(self) -> str:
        return f"rotate_p{self.lanes}_w{self.lane_bits}_r{self.latency}"

    def model(self, words: np.ndarray, k: int) -> np.ndarray:
        """The words [lanes, ...] rotated."""
        return np.roll(words, -k, axis=0)

    def elaborate(self, platform):
        m = Module()
        word = self.i
        for stage, bit in enumerate(self.k):
            word = Mux(bit, word.rotate_right(self.lane_bits << stage), word)
        if self.latency:
            register = Signal.like(self.o, reset_less=True)
            m.d.sync += register.eq(word)
            word = register
        m.d.comb += self.o.eq(word)
        return m
