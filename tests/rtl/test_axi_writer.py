"""AxiWriter on a memory with random stalls."""

import random

import pytest

from shifthw.rtl.axi_writer import AxiWriter

from .axi_model import AxiMemory, run, send
from .test_axi_reader import CORNERS


async def write(ctx, dut, address, content, *, resume=False, rest=None, stall=0.0):
    width = dut.data_bits // 8
    await send(ctx, dut.command, {"address": address, "beats": len(content) // width, "resume": resume})
    for k in range(0, len(content), width):
        await send(ctx, dut.i, int.from_bytes(content[k:k + width], "little"), rest, stall)


@pytest.mark.parametrize("data_bits", [32, 64, 128])
@pytest.mark.parametrize(("stall", "rest", "order"), [
    (0.0, 0.0, "any"), (0.5, 0.0, "any"), (0.0, 0.6, "any"), (0.7, 0.5, "any"), (0.3, 0.3, "data"),
    (0.0, 0.0, "data"), (0.3, 0.3, "address"), (0.0, 0.0, "address"),
])
def test_writes_transfers(data_bits: int, stall: float, rest: float, order: str) -> None:
    dut, width = AxiWriter(data_bits=data_bits, beats_bits=9), data_bits // 8
    memory = AxiMemory(dut.bus, data_bits, seed=data_bits, stall=stall, order=order)
    source = random.Random(data_bits)
    image = bytearray(5000 * width)

    async def bench(ctx):
        follows = 0
        for start, beats in CORNERS + [(source.randrange(4000), source.randint(1, 60)) for _ in range(4)]:
            for resume in (False, True):
                begin = follows if resume else start * width
                content = source.randbytes(beats * width)
                await write(ctx, dut, start * width, content, resume=resume, rest=source, stall=rest)
                follows = begin + len(content)
                image[begin:follows] = content
                assert ctx.get(dut.busy)
        await ctx.tick().until(~dut.busy)
        assert memory.idle

    run(dut, bench=bench, background=[memory.writes])
    assert memory.dump(0, len(image)) == image


@pytest.mark.parametrize("outstanding", [1, 4])
def test_waits_for_responses(outstanding: int) -> None:
    dut = AxiWriter(data_bits=64, beats_bits=9, outstanding=outstanding)
    memory = AxiMemory(dut.bus, 64, seed=1, stall=0.9)

    async def bench(ctx):
        for k in range(20):
            await write(ctx, dut, k * 8, bytes(8))
        await ctx.tick().until(~dut.busy)

    run(dut, bench=bench, background=[memory.writes])
    assert memory.most_writes <= outstanding and len(memory.write_bursts) == 20


def test_error_is_reported_once() -> None:
    dut = AxiWriter(data_bits=64, beats_bits=9)
    memory = AxiMemory(dut.bus, 64, seed=2)
    memory.write_faults = {256}
    errors = []

    async def watch(ctx):
        async for _, _, error in ctx.tick().sample(dut.error):
            errors.append(error)

    async def bench(ctx):
        await write(ctx, dut, 0, bytes(800))
        await ctx.tick().until(~dut.busy)

    run(dut, bench=bench, background=[memory.writes, watch])
    assert sum(errors) == 1


@pytest.mark.parametrize("seed", range(12))
def test_abort_completes_bursts_without_writing(seed: int) -> None:
    dut = AxiWriter(data_bits=64, beats_bits=9)
    memory = AxiMemory(dut.bus, 64, seed=seed, stall=(0.0, 0.5, 0.9)[seed % 3], order=("any", "data")[seed % 2])
    source = random.Random(seed)

    async def bench(ctx):
        for _ in range(4):
            await send(ctx, dut.command, {"address": source.randrange(100) * 8, "beats": 200, "resume": 0})
            given = source.randint(0, 60)
            for _ in range(given):
                await send(ctx, dut.i, 0xFFFF_FFFF_FFFF_FFFF)
            ctx.set(dut.abort, 1)
            ctx.set(dut.i.valid, source.randrange(2))
            ctx.set(dut.i.payload, 0xDEAD)
            while ctx.get(dut.busy):
                await ctx.tick()
                assert not ctx.get(dut.error)
            await ctx.tick()   # the memory has seen the last transfer
            assert memory.idle and not ctx.get(dut.bus.awvalid) and not ctx.get(dut.bus.wvalid)
            written = list(memory.memory.values())
            assert len(written) == 8 * given and all(value == 0xFF for value in written)
            ctx.set(dut.abort, 0)
            ctx.set(dut.i.valid, 0)
            content = source.randbytes(160)
            await write(ctx, dut, 808, content)
            await ctx.tick().until(~dut.busy)
            assert memory.dump(808, 160) == content
            memory.memory.clear()

    run(dut, bench=bench, background=[memory.writes])
