"""Signatures of the AXI4 ports, seen from the master: outputs are what a master drives.

Signal names are those of the AXI specification. There are no IDs, locks or QoS; every burst is INCR,
as wide as the data bus, and at most BURST_BEATS long, so AXI3 ports can serve it as well.
"""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from shifthw.registers import ADDRESS_BITS

BURST_BEATS = 16
"""Longest burst (the limit of AXI3)."""
BURST_INCR = 0b01
CACHE = 0b0011
"""Normal memory, not cached, bufferable."""
RESP_OKAY = 0b00
RESP_SLVERR = 0b10


class AxiReadSignature(wiring.Signature):
    """The read channels of an AXI4 master of `data_bits`."""

    def __init__(self, data_bits: int) -> None:
        super().__init__({
            "arvalid": Out(1), "arready": In(1), "araddr": Out(32), "arlen": Out(8), "arsize": Out(3),
            "arburst": Out(2), "arcache": Out(4), "arprot": Out(3),
            "rvalid": In(1), "rready": Out(1), "rdata": In(data_bits), "rresp": In(2), "rlast": In(1),
        })


class AxiWriteSignature(wiring.Signature):
    """The write channels of an AXI4 master of `data_bits`."""

    def __init__(self, data_bits: int) -> None:
        super().__init__({
            "awvalid": Out(1), "awready": In(1), "awaddr": Out(32), "awlen": Out(8), "awsize": Out(3),
            "awburst": Out(2), "awcache": Out(4), "awprot": Out(3),
            "wvalid": Out(1), "wready": In(1), "wdata": Out(data_bits), "wstrb": Out(data_bits // 8),
            "wlast": Out(1), "bvalid": In(1), "bready": Out(1), "bresp": In(2),
        })


class AxiSignature(wiring.Signature):
    """All channels of an AXI4 master of `data_bits`."""

    def __init__(self, data_bits: int) -> None:
        super().__init__({**AxiReadSignature(data_bits).members, **AxiWriteSignature(data_bits).members})


class AxiLiteSignature(wiring.Signature):
    """An AXI4-Lite master with 32 data bits and the register map's addresses."""

    def __init__(self) -> None:
        super().__init__({
            "awvalid": Out(1), "awready": In(1), "awaddr": Out(ADDRESS_BITS), "awprot": Out(3),
            "wvalid": Out(1), "wready": In(1), "wdata": Out(32), "wstrb": Out(4),
            "bvalid": In(1), "bready": Out(1), "bresp": In(2),
            "arvalid": Out(1), "arready": In(1), "araddr": Out(ADDRESS_BITS), "arprot": Out(3),
            "rvalid": In(1), "rready": Out(1), "rdata": In(32), "rresp": In(2),
        })
