"""Networks between the pixel lanes and the banks of the feature memory."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from shifthw.arch import bits_for

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


class Select(SharedComponent):
    """Gives every output the word of any lane.

    o[b] = i[select[b]]

    Free running, latency as chosen, a set of words per cycle.

    Parameters
    ----------
    lanes : int
        Inputs and outputs, a power of two, 2..64.
    lane_bits : int
        Bits of a word.
    latency : int
        0 (combinational) or 1 cycle.

    Members
    -------
    i : In(lanes * lane_bits)
    select : In(lanes * select_bits)
    o : Out(lanes * lane_bits)
    """

    def __init__(self, *, lanes: int, lane_bits: int, latency: int = 0) -> None:
        self.lanes = lanes
        self.lane_bits = lane_bits
        self.latency = latency
        self.select_bits = bits_for(lanes)
        super().__init__({
            "i": In(lanes * lane_bits),
            "select": In(lanes * self.select_bits),
            "o": Out(lanes * lane_bits),
        })

    @property
    def module_name(self) -> str:
        return f"select_p{self.lanes}_w{self.lane_bits}_r{self.latency}"

    def model(self, words: np.ndarray, select: np.ndarray) -> np.ndarray:
        """The words [lanes, ...] chosen by select [lanes]."""
        return words[select]

    def elaborate(self, platform):
        m = Module()
        chosen = Cat(self.i.word_select(self.select.word_select(b, self.select_bits), self.lane_bits)
                     for b in range(self.lanes))
        if self.latency:
            register = Signal.like(self.o, reset_less=True)
            m.d.sync += register.eq(chosen)
            chosen = register
        m.d.comb += self.o.eq(chosen)
        return m
