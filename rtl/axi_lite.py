"""The AXI4-Lite slave port."""

from collections.abc import Iterable

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from shifthw.registers import ADDRESS_BITS

from .axi import RESP_OKAY, RESP_SLVERR, AxiLiteSignature


class AxiLitePort(wiring.Component):
    """Turns AXI4-Lite transfers into register accesses.

    A write takes effect in the cycle in which both its address and its data are accepted (`write`);
    a read samples `read_data` in the cycle in which its address is accepted. The response is valid in
    the next cycle; one write and one read can be on their way at a time. Offsets that are not in
    `offsets` answer SLVERR, write nothing and are read as 0; the low two address bits are ignored.

    Parameters
    ----------
    offsets : byte offsets of the registers

    Members
    -------
    bus : In(AxiLiteSignature())
    write : Out(1)
    write_address : Out(ADDRESS_BITS - 2), word address
    write_data : Out(32)
    write_strobe : Out(4)
    read_address : Out(ADDRESS_BITS - 2), word address
    read_data : In(32), must be 0 for offsets that are not in `offsets`
    """

    def __init__(self, *, offsets: Iterable[int]) -> None:
        self.offsets = tuple(offsets)
        super().__init__({
            "bus": In(AxiLiteSignature()),
            "write": Out(1), "write_address": Out(ADDRESS_BITS - 2), "write_data": Out(32), "write_strobe": Out(4),
            "read_address": Out(ADDRESS_BITS - 2), "read_data": In(32),
        })

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        words = [offset // 4 for offset in self.offsets]
        accept, read, known_write, known_read = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            accept.eq(bus.awvalid & bus.wvalid & ~bus.bvalid),
            bus.awready.eq(accept),
            bus.wready.eq(accept),
            self.write_address.eq(bus.awaddr[2:]),
            self.write_data.eq(bus.wdata),
            self.write_strobe.eq(bus.wstrb),
            known_write.eq(self.write_address.matches(*words)),
            self.write.eq(accept & known_write),
            bus.arready.eq(~bus.rvalid),
            read.eq(bus.arvalid & bus.arready),
            self.read_address.eq(bus.araddr[2:]),
            known_read.eq(self.read_address.matches(*words)),
        ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(accept):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(Mux(known_write, RESP_OKAY, RESP_SLVERR))]
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(read):
            m.d.sync += [
                bus.rvalid.eq(1), bus.rresp.eq(Mux(known_read, RESP_OKAY, RESP_SLVERR)), bus.rdata.eq(self.read_data),
            ]
        return m
