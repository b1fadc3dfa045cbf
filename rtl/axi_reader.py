"""The read half of the AXI4 master."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from shifthw.registers import BEATS_BITS

from .axi import BURST_INCR, CACHE, RESP_OKAY, AxiReadSignature
from .axi_bursts import BurstSplitter, command_layout


class AxiReader(wiring.Component):
    """Reads transfers from memory and delivers their beats in order.

    A command is accepted when the transfer before it is over (`busy` is low). Beats are passed on in
    the cycle in which the bus delivers them; a consumer that is not ready holds the bus.

    Parameters
    ----------
    data_bits : int, 32, 64 or 128
    outstanding : int, bursts on their way at a time

    Members
    -------
    command : In(stream.Signature(command_layout(BEATS_BITS)))
    o : Out(stream.Signature({"data": data_bits, "last": 1})); `last` marks a transfer's last beat
    abort : In(1), hold until `busy` is low: issues nothing more and discards what is still to come
    error : Out(1), pulse: the beat of this cycle was answered with an error
    busy : Out(1)
    bus : Out(AxiReadSignature(data_bits))
    """

    def __init__(self, *, data_bits: int, outstanding: int = 4) -> None:
        self.data_bits = data_bits
        self.outstanding = outstanding
        super().__init__({
            "command": In(stream.Signature(command_layout(BEATS_BITS))),
            "o": Out(stream.Signature(data.StructLayout({"data": data_bits, "last": 1}))),
            "abort": In(1),
            "error": Out(1),
            "busy": Out(1),
            "bus": Out(AxiReadSignature(data_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        m.submodules.splitter = splitter = BurstSplitter(data_bits=self.data_bits, beats_bits=BEATS_BITS)
        pending = Signal(range(self.outstanding + 1))   # bursts issued and not complete
        issue, taken = Signal(), Signal()
        m.d.comb += [
            splitter.abort.eq(self.abort),
            splitter.command.p.eq(self.command.p),
            splitter.command.valid.eq(self.command.valid & ~self.busy),
            self.command.ready.eq(splitter.command.ready & ~self.busy),
            self.busy.eq(splitter.active | (pending != 0)),
            splitter.burst.ready.eq((~bus.arvalid | bus.arready) & (pending != self.outstanding)),
            issue.eq(splitter.burst.valid & splitter.burst.ready),
            taken.eq(bus.rvalid & bus.rready),
            bus.rready.eq(self.o.ready | self.abort),
            self.o.valid.eq(bus.rvalid & ~self.abort),
            self.o.p.data.eq(bus.rdata),
            self.o.p.last.eq(bus.rlast & ~splitter.active & (pending == 1)),
            self.error.eq(taken & (bus.rresp != RESP_OKAY) & ~self.abort),
            bus.arsize.eq((self.data_bits // 8).bit_length() - 1),
            bus.arburst.eq(BURST_INCR),
            bus.arcache.eq(CACHE),
        ]
        # The address is registered so that an abort cannot withdraw one that is already offered.
        with m.If(bus.arready):
            m.d.sync += bus.arvalid.eq(0)
        with m.If(issue):
            m.d.sync += [
                bus.arvalid.eq(1), bus.araddr.eq(splitter.burst.p.address), bus.arlen.eq(splitter.burst.p.beats_last),
            ]
        m.d.sync += pending.eq(pending + issue - (taken & bus.rlast))
        return m
