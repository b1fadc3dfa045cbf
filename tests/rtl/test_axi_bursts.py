"""BurstSplitter against its rule."""

import random

import pytest

from shifthw.rtl.axi_bursts import BurstSplitter

from .axi_model import receive, run, send


def bursts(address: int, beats: int, width: int) -> list[tuple[int, int]]:
    """(address, beats) of the bursts of a transfer."""
    result = []
    while beats:
        count = min(beats, 16 - address // width % 16)
        result.append((address, count))
        address, beats = address + count * width, beats - count
    return result


CORNERS = [(0, 1), (15, 1), (15, 2), (1, 15), (1, 16), (0, 16), (0, 17), (7, 41), (4096 - 3, 6)]


@pytest.mark.parametrize("data_bits", [32, 64, 128])
@pytest.mark.parametrize("beats_bits", [2, 3, 7, 24])
def test_bursts_end_at_multiples_of_16_beats(data_bits: int, beats_bits: int) -> None:
    width = data_bits // 8
    source = random.Random(data_bits + beats_bits)
    most = min((1 << beats_bits) - 1, 100)
    transfers = [(start * width, min(beats, most), False) for start, beats in CORNERS]
    transfers += [(source.randrange(1 << 20) * width, source.randint(1, most), source.random() < 0.5)
                  for _ in range(20)]
    dut = BurstSplitter(data_bits=data_bits, beats_bits=beats_bits)

    async def bench(ctx):
        follows = 0
        for address, beats, resume in transfers:
            begin = follows if resume else address
            await send(ctx, dut.command, {"address": address, "beats": beats, "resume": resume})
            for expected in bursts(begin, beats, width):
                assert ctx.get(dut.active)
                burst = await receive(ctx, dut.burst, source, 0.3)
                assert (burst.address, burst.beats_last + 1) == expected
            assert not ctx.get(dut.active)
            follows = begin + beats * width

    run(dut, bench=bench)


def test_abort_drops_the_transfer() -> None:
    dut = BurstSplitter(data_bits=64, beats_bits=24)

    async def bench(ctx):
        await send(ctx, dut.command, {"address": 0, "beats": (1 << 24) - 1, "resume": 0})
        await receive(ctx, dut.burst)
        ctx.set(dut.abort, 1)
        ctx.set(dut.command.valid, 1)
        assert not ctx.get(dut.burst.valid) and not ctx.get(dut.command.ready)
        await ctx.tick()
        assert not ctx.get(dut.active) and not ctx.get(dut.command.ready)
        ctx.set(dut.abort, 0)
        await send(ctx, dut.command, {"address": 0x1008, "beats": 1, "resume": 0})
        burst = await receive(ctx, dut.burst)
        assert (burst.address, burst.beats_last) == (0x1008, 0)

    run(dut, bench=bench)
