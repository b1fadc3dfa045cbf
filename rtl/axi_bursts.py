"""Splits a transfer into AXI bursts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .axi import BURST_BEATS


def command_layout(beats_bits: int) -> data.StructLayout:
    """A transfer of `beats` beats (at least 1) from byte `address`, a multiple of the data width.

    With `resume` it continues where the transfer before it ended, and `address` is ignored.
    """
    return data.StructLayout({"address": 32, "beats": beats_bits, "resume": 1})


class BurstSplitter(wiring.Component):
    """Transfers in, bursts out: all but the first begin at a multiple of 16 beats, and none goes beyond the next.

    So no burst is longer than 16 beats or crosses a 4 KiB boundary. One burst per cycle, the first
    in the cycle after the command; the next command is accepted after the last burst.

    Parameters
    ----------
    data_bits : int, 32, 64 or 128
    beats_bits : int, bits of a transfer's number of beats

    Members
    -------
    command : In(stream.Signature(command_layout(beats_bits)))
    burst : Out(stream.Signature({"address": 32, "beats_last": 4})); the number of beats minus one
    abort : In(1), drop the transfer; no burst is offered and no command accepted meanwhile
    active : Out(1), the transfer still has bursts to offer
    """

    def __init__(self, *, data_bits: int, beats_bits: int) -> None:
        self.data_bits = data_bits
        self.beats_bits = beats_bits
        super().__init__({
            "command": In(stream.Signature(command_layout(beats_bits))),
            "burst": Out(stream.Signature(data.StructLayout({"address": 32, "beats_last": 4}))),
            "abort": In(1),
            "active": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        low = (self.data_bits // 8).bit_length() - 1    # address bits below a beat
        block = Signal(32 - 4 - low, reset_less=True)   # the address, in blocks of 16 beats
        start = Signal(4, reset_less=True)              # first beat in the block
        end = Signal(4, reset_less=True)                # last beat of the transfer in its last block
        left = Signal(max(1, self.beats_bits - 3), reset_less=True)  # blocks after this one
        is_last, final = Signal(), Signal(4)
        command, burst = self.command.p, self.burst.p
        m.d.comb += [
            is_last.eq(left == 0),
            final.eq(Mux(is_last, end, BURST_BEATS - 1)),
            burst.address.eq(Cat(Cat(start, block) << low)),
            burst.beats_last.eq(final - start),
            self.burst.valid.eq(self.active & ~self.abort),
            self.command.ready.eq(~self.active & ~self.abort),
        ]
        with m.If(self.burst.valid & self.burst.ready):
            m.d.sync += [left.eq(left - 1), start.eq(final + 1), self.active.eq(~is_last)]
            with m.If(final == BURST_BEATS - 1):
                m.d.sync += block.eq(block + 1)
        with m.If(self.command.valid & self.command.ready):
            first = Signal(4)
            m.d.comb += first.eq(Mux(command.resume, start, command.address[low:low + 4]))
            m.d.sync += [Cat(end, left).eq(command.beats + (first - 1)), start.eq(first), self.active.eq(1)]
            with m.If(~command.resume):
                m.d.sync += block.eq(command.address[low + 4:])
        with m.If(self.abort):
            m.d.sync += self.active.eq(0)
        return m
