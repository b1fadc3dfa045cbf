"""Accumulators of one output channel, one per pixel lane."""

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from .module_library import SharedComponent


class Accumulator(SharedComponent):
    """Running sums that can also be added up over the pixel lanes.

    enable:            acc[p] = (start if first else acc[p]) + dot[p]   modulo 2**accumulator_bits
    enable and reduce: acc[0] = acc[0] + acc[1];  acc[p] = acc[p + 1]   (the last lane: undefined)
    else:              acc[p] = acc[p]

    With `reduce`, `first` must be 0 and every dot[p] must be 0. pixels - 1 such cycles leave the
    sum of all lanes in acc[0].

    Valid-only: `enable` marks the cycles in which dot, start, first and reduce are taken; latency 1 cycle.

    The dot product is one operand of the adder as it stands and the choice of the other takes five
    inputs, so that a bit costs one 6-input LUT (lane 0 with lane_sum: two).

    Parameters
    ----------
    pixels : int
        Lanes, 2..64.
    dot_bits : int
        Bits of an unsigned dot product; those from accumulator_bits up have no effect.
    accumulator_bits : int
        Bits of an accumulator.
    lane_sum : bool
        Whether there is `reduce`.

    Members
    -------
    dot : In(pixels * dot_bits)
    start : In(accumulator_bits)
    enable : In(1)
    first : In(1)
    reduce : In(1), if lane_sum
    acc : Out(pixels * accumulator_bits)
    """

    def __init__(self, *, pixels: int, dot_bits: int, accumulator_bits: int, lane_sum: bool) -> None:
        self.pixels = pixels
        self.dot_bits = dot_bits
        self.accumulator_bits = accumulator_bits
        self.lane_sum = lane_sum
        super().__init__({
            "dot": In(pixels * dot_bits),
            "start": In(accumulator_bits),
            "enable": In(1),
            "first": In(1),
            **({"reduce": In(1)} if lane_sum else {}),
            "acc": Out(pixels * accumulator_bits),
        })

    @property
    def module_name(self) -> str:
        reduce = "_sum" if self.lane_sum else ""
        return f"accumulator_p{self.pixels}_d{self.dot_bits}_a{self.accumulator_bits}{reduce}"

    @property
    def latency(self) -> int:
        """Cycles from `dot` to the `acc` that contains it."""
        return 1

    def model(self, acc: np.ndarray, dot: np.ndarray, start: int, *, first: bool = False, reduce: bool = False,
              enable: bool = True) -> np.ndarray:
        """The accumulators int64[..., pixels] (unsigned) of the next cycle; the undefined lane is 0."""
        if not enable:
            return acc
        if reduce:
            following = np.concatenate([acc[..., 1:], np.zeros_like(acc[..., :1])], axis=-1)
            following[..., 0] += acc[..., 0]
        else:
            following = (start if first else acc) + dot
        return following & ((1 << self.accumulator_bits) - 1)

    def elaborate(self, platform):
        m = Module()
        acc = [Signal(self.accumulator_bits, name=f"acc{p}", reset_less=True) for p in range(self.pixels)]
        for p in range(self.pixels):
            dot = self.dot.word_select(p, self.dot_bits)
            operand = Mux(self.first, self.start, acc[p])
            if self.lane_sum and p == 0:
                # Dot products are 0 in a reduce cycle, so an OR does for a choice.
                dot = dot | (acc[1] & self.reduce.replicate(self.accumulator_bits))
            elif self.lane_sum and p + 1 < self.pixels:
                operand = Mux(self.reduce, acc[p + 1], operand)
            with m.If(self.enable):
                m.d.sync += acc[p].eq(dot + operand)
            m.d.comb += self.acc.word_select(p, self.accumulator_bits).eq(acc[p])
        return m
