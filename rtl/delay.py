"""Delay line."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Delay(wiring.Component):
    """A word, some cycles later.

    o[t] = i[t - cycles]

    Free running, latency `cycles`. The registers have no reset, so that shift register LUTs can hold them:
    for the first `cycles` cycles after a reset the output is what was in flight before it.

    Parameters
    ----------
    width : int
        Bits of the word.
    cycles : int
        Length, 0 (a wire) or more.

    Members
    -------
    i : In(width)
    o : Out(width)
    """

    def __init__(self, *, width: int, cycles: int) -> None:
        self.width = width
        self.cycles = cycles
        super().__init__({"i": In(width), "o": Out(width)})

    @property
    def latency(self) -> int:
        """Cycles from `i` to `o`."""
        return self.cycles

    def model(self, values: Sequence[int]) -> list[int]:
        """The outputs of the cycles in which `values` are the inputs, starting from cleared registers."""
        return ([0] * self.cycles + list(values))[:len(values)]

    def elaborate(self, platform):
        m = Module()
        word = self.i
        for cycle in range(self.cycles):
            stage = Signal(self.width, name=f"stage{cycle}", reset_less=True)
            m.d.sync += stage.eq(word)
            word = stage
        m.d.comb += self.o.eq(word)
        return m
