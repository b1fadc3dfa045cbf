"""AxiReader on a memory with random stalls."""

import random

import pytest

from shifthw.rtl.axi_reader import AxiReader

from .axi_model import AxiMemory, receive, run, send

CORNERS = [(0, 1), (15, 2), (1, 15), (0, 16), (4096 - 3, 40), (5, 100)]


def memory_with(dut: AxiReader, size: int, seed: int, **options: object) -> tuple[AxiMemory, bytes]:
    memory = AxiMemory(dut.bus, dut.data_bits, seed=seed, **options)
    content = random.Random(seed).randbytes(size)
    memory.load(0, content)
    return memory, content


async def read(ctx, dut, address, beats, *, resume=False, rest=None, stall=0.0):
    """All beats of a transfer; checks `last`."""
    await send(ctx, dut.command, {"address": address, "beats": beats, "resume": resume})
    result = bytearray()
    for k in range(beats):
        beat = await receive(ctx, dut.o, rest, stall)
        assert beat.last == (k == beats - 1)
        result += beat.data.to_bytes(dut.data_bits // 8, "little")
    return bytes(result)


@pytest.mark.parametrize("data_bits", [32, 64, 128])
@pytest.mark.parametrize(("stall", "rest"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.7, 0.5)])
def test_reads_transfers(data_bits: int, stall: float, rest: float) -> None:
    dut, width = AxiReader(data_bits=data_bits), data_bits // 8
    memory, content = memory_with(dut, 5000 * width, seed=data_bits, stall=stall)
    source = random.Random(data_bits)

    async def bench(ctx):
        follows = 0
        for start, beats in CORNERS + [(source.randrange(4000), source.randint(1, 60)) for _ in range(4)]:
            for resume in (False, True):
                begin = follows if resume else start * width
                got = await read(ctx, dut, start * width, beats, resume=resume, rest=source, stall=rest)
                assert got == content[begin:begin + beats * width]
                follows = begin + beats * width
                assert not ctx.get(dut.busy) and not ctx.get(dut.error)

    run(dut, bench=bench, background=[memory.reads])
    assert memory.idle


@pytest.mark.parametrize("outstanding", [1, 3, 4])
def test_keeps_several_bursts_on_their_way(outstanding: int) -> None:
    dut = AxiReader(data_bits=64, outstanding=outstanding)
    memory, content = memory_with(dut, 8000, seed=3, stall=0.0)

    async def bench(ctx):
        assert await read(ctx, dut, 0, 1000) == content

    run(dut, bench=bench, background=[memory.reads])
    assert memory.most_reads == outstanding


def test_full_rate() -> None:
    dut = AxiReader(data_bits=64)
    memory, _ = memory_with(dut, 8000, seed=4, stall=0.0)
    cycles = []

    async def watch(ctx):
        ctx.set(dut.o.ready, 1)
        async for _, _, valid in ctx.tick().sample(dut.o.valid):
            cycles.append(valid)

    async def bench(ctx):
        await send(ctx, dut.command, {"address": 0, "beats": 1000, "resume": 0})
        await ctx.tick().until(~dut.busy)

    run(dut, bench=bench, background=[memory.reads, watch])
    assert sum(cycles) == 1000 and len(cycles) < 1010


def test_error_is_reported_once() -> None:
    dut = AxiReader(data_bits=32)
    memory, content = memory_with(dut, 400, seed=5)
    memory.read_faults = {200}
    errors = []

    async def watch(ctx):
        async for _, _, error in ctx.tick().sample(dut.error):
            errors.append(error)

    async def bench(ctx):
        assert await read(ctx, dut, 0, 100) == content

    run(dut, bench=bench, background=[memory.reads, watch])
    assert sum(errors) == 1


@pytest.mark.parametrize("seed", range(12))
def test_abort_drains_the_bus(seed: int) -> None:
    dut = AxiReader(data_bits=64)
    memory, content = memory_with(dut, 16000, seed=seed, stall=(0.0, 0.5, 0.9)[seed % 3])
    memory.read_faults = {address for address in range(0, 16000, 8) if seed % 2}
    source = random.Random(seed)

    async def bench(ctx):
        for _ in range(4):
            await send(ctx, dut.command, {"address": source.randrange(100) * 8, "beats": 1500, "resume": 0})
            for _ in range(source.randint(0, 60)):
                ctx.set(dut.o.ready, source.random() < 0.5)
                await ctx.tick()
            ctx.set(dut.abort, 1)
            ctx.set(dut.o.ready, 0)
            while ctx.get(dut.busy):
                assert not ctx.get(dut.o.valid) and not ctx.get(dut.error)
                await ctx.tick()
            await ctx.tick()   # the memory has seen the last transfer
            assert memory.idle and not ctx.get(dut.bus.arvalid)
            ctx.set(dut.abort, 0)
            assert await read(ctx, dut, 800, 20) == content[800:960]

    run(dut, bench=bench, background=[memory.reads])
