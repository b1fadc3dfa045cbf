"""AxiLitePort: accesses, responses, address and data apart."""

import random

import pytest

from shifthw.rtl.axi import RESP_OKAY, RESP_SLVERR
from shifthw.rtl.axi_lite import AxiLitePort

from .axi_model import LiteMaster, run

OFFSETS = (0x000, 0x004, 0x010, 0xFFC)


@pytest.mark.parametrize("skew", [0, 1, 5])
def test_accesses(skew: int) -> None:
    dut, source = AxiLitePort(offsets=OFFSETS), random.Random(skew)
    master = LiteMaster(dut.bus, seed=skew, skew=skew)
    seen, expected = [], []

    async def registers(ctx):
        while True:
            address = ctx.get(dut.read_address) * 4
            ctx.set(dut.read_data, 0x1000_0000 + address if address in OFFSETS else 0)
            _, _, write, *access = await ctx.tick().sample(
                dut.write, dut.write_address, dut.write_data, dut.write_strobe)
            if write:
                seen.append(tuple(access))

    async def main(ctx):
        await ctx.tick()
        for offset in [*OFFSETS, 0x008, 0x014, 0x800, 0xFF8, *(source.choice(OFFSETS) for _ in range(20))]:
            known = offset in OFFSETS
            value, strobe, low = source.getrandbits(32), source.getrandbits(4), source.randrange(4)
            response = await master.write(ctx, offset + low, value, strobe)
            assert response == (RESP_OKAY if known else RESP_SLVERR)
            if known:
                expected.append((offset // 4, value, strobe))
            ctx.set(dut.bus.araddr, offset + low)
            await ctx.tick().repeat(2)
            value, response = await master.read_response(ctx, offset + low)
            assert (value, response) == ((0x1000_0000 + offset, RESP_OKAY) if known else (0, RESP_SLVERR))

    run(dut, bench=main, background=[registers])
    assert seen == expected


def test_responses_wait_for_the_master() -> None:
    dut = AxiLitePort(offsets=OFFSETS)
    bus = dut.bus

    async def main(ctx):
        for name, value in dict(awvalid=1, wvalid=1, arvalid=1, awaddr=0x008, araddr=0x000).items():
            ctx.set(getattr(bus, name), value)
        ctx.set(dut.read_data, 7)
        assert ctx.get(bus.awready) and ctx.get(bus.wready) and ctx.get(bus.arready)
        for _ in range(5):
            await ctx.tick()
            ctx.set(dut.read_data, 8)
            assert ctx.get(bus.bvalid) and ctx.get(bus.bresp) == RESP_SLVERR
            assert ctx.get(bus.rvalid) and ctx.get(bus.rdata) == 7 and ctx.get(bus.rresp) == RESP_OKAY
            assert not ctx.get(bus.awready) and not ctx.get(bus.wready) and not ctx.get(bus.arready)
        for name in ("awvalid", "wvalid", "arvalid"):
            ctx.set(getattr(bus, name), 0)
        ctx.set(bus.bready, 1)
        ctx.set(bus.rready, 1)
        await ctx.tick()
        assert not ctx.get(bus.bvalid) and not ctx.get(bus.rvalid)

    run(dut, bench=main)


@pytest.mark.parametrize("alone", ["aw", "w"])
def test_a_write_needs_address_and_data(alone: str) -> None:
    dut = AxiLitePort(offsets=OFFSETS)

    async def main(ctx):
        ctx.set(getattr(dut.bus, alone + "valid"), 1)
        for _ in range(3):
            assert not ctx.get(dut.bus.awready) and not ctx.get(dut.bus.wready) and not ctx.get(dut.write)
            await ctx.tick()

    run(dut, bench=main)
