"""The write half of the AXI4 master."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .axi import BURST_INCR, CACHE, RESP_OKAY, AxiWriteSignature
from .axi_bursts import BurstSplitter, command_layout


class AxiWriter(wiring.Component):
    """Writes transfers to memory.

    A command is accepted when all bursts of the one before it have been issued; beats are taken in
    order as their bursts are issued. Address and first beat of a burst are offered independently.

    Parameters
    ----------
    data_bits : int, 32, 64 or 128
    beats_bits : int, bits of a transfer's number of beats
    outstanding : int, bursts without a response at a time

    Members
    -------
    command : In(stream.Signature(command_layout(beats_bits)))
    i : In(stream.Signature(data_bits))
    abort : In(1), hold until `busy` is low: issues nothing more; bursts already issued are completed
        with beats that write nothing
    error : Out(1), pulse: a burst was answered with an error
    busy : Out(1), until the last response is in
    bus : Out(AxiWriteSignature(data_bits))
    """

    def __init__(self, *, data_bits: int, beats_bits: int, outstanding: int = 4) -> None:
        self.data_bits = data_bits
        self.beats_bits = beats_bits
        self.outstanding = outstanding
        super().__init__({
            "command": In(stream.Signature(command_layout(beats_bits))),
            "i": In(stream.Signature(data_bits)),
            "abort": In(1),
            "error": Out(1),
            "busy": Out(1),
            "bus": Out(AxiWriteSignature(data_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        m.submodules.splitter = splitter = BurstSplitter(data_bits=self.data_bits, beats_bits=self.beats_bits)
        pending = Signal(range(self.outstanding + 1))   # bursts issued and not answered
        filling = Signal()                              # the issued burst still takes beats
        left = Signal(4, reset_less=True)               # beats after the next one
        strobe = Signal(reset_less=True)
        issue, load, answered = Signal(), Signal(), Signal()
        m.d.comb += [
            splitter.abort.eq(self.abort),
            splitter.command.p.eq(self.command.p),
            splitter.command.valid.eq(self.command.valid),
            self.command.ready.eq(splitter.command.ready),
            self.busy.eq(splitter.active | (pending != 0)),
            splitter.burst.ready.eq((~bus.awvalid | bus.awready) & ~filling & (pending != self.outstanding)),
            issue.eq(splitter.burst.valid & splitter.burst.ready),
            load.eq(filling & (~bus.wvalid | bus.wready)),
            self.i.ready.eq(load),
            answered.eq(bus.bvalid & bus.bready),
            self.error.eq(answered & (bus.bresp != RESP_OKAY) & ~self.abort),
            bus.bready.eq(1),
            bus.awsize.eq((self.data_bits // 8).bit_length() - 1),
            bus.awburst.eq(BURST_INCR),
            bus.awcache.eq(CACHE),
            bus.wstrb.eq(strobe.replicate(self.data_bits // 8)),
        ]
        with m.If(bus.awready):
            m.d.sync += bus.awvalid.eq(0)
        with m.If(bus.wready):
            m.d.sync += bus.wvalid.eq(0)
        # Beats are registered so that an abort cannot change one that is already offered.
        with m.If(load & (self.i.valid | self.abort)):
            m.d.sync += [
                bus.wvalid.eq(1), bus.wdata.eq(self.i.p), bus.wlast.eq(left == 0), strobe.eq(~self.abort),
                left.eq(left - 1), filling.eq(left != 0),
            ]
        with m.If(issue):
            m.d.sync += [
                bus.awvalid.eq(1), bus.awaddr.eq(splitter.burst.p.address), bus.awlen.eq(splitter.burst.p.beats_last),
                left.eq(splitter.burst.p.beats_last), filling.eq(1),
            ]
        m.d.sync += pending.eq(pending + issue - answered)
        return m
