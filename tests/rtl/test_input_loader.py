"""InputLoader: beats in wire format in, feature memory rows out."""

import random

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.rtl.input_loader import InputLoader

from .axi_model import run
from .harness import unpack

SHAPES = [
    dict(pixels=4, input_channels=3),                                   # 12 bytes: not whole beats
    dict(pixels=4, input_channels=3, images=2, axi_data_bits=32),
    dict(pixels=2, input_channels=1, images=3, axi_data_bits=128),      # less than one beat
    dict(pixels=8, input_channels=4, images=3, activation_bits=5),
    dict(pixels=4, input_channels=3, images=2, activation_bits=12),     # 16 bits on the wire
    dict(pixels=4, input_channels=5, activation_bits=16, axi_data_bits=128),
    dict(pixels=2, input_channels=3, activation_bits=20, axi_data_bits=32),
    dict(pixels=2, input_channels=8, simd=8, pe=4),
]


def wire(c: ArrayConfig, codes: np.ndarray, source: random.Random) -> list[int]:
    """Beats of one row; the bits above a code, and the padding, are arbitrary."""
    word = 0
    for n, code in enumerate(codes):
        upper = source.getrandbits(c.wire_bits - c.activation_bits) if c.wire_bits > c.activation_bits else 0
        word |= (int(code) | upper << c.activation_bits) << (n * c.wire_bits)
    used, beats = len(codes) * c.wire_bits, -(-len(codes) * c.wire_bits // c.axi_data_bits)
    if beats * c.axi_data_bits > used:
        word |= source.getrandbits(beats * c.axi_data_bits - used) << used
    return [word >> k * c.axi_data_bits & ((1 << c.axi_data_bits) - 1) for k in range(beats)]


class Bench:
    """Starts loads, answers commands with beats, takes rows."""

    def __init__(self, c: ArrayConfig, seed: int, stall: float = 0.0, hold: float = 0.0) -> None:
        self.config, self.dut = c, InputLoader(config=c)
        self.random, self.rng = random.Random(seed), np.random.default_rng(seed)
        self.stall, self.hold = stall, hold
        self.commands: list[tuple[int, int, int]] = []
        self.rows: list[tuple[int, int, list[int]]] = []

    async def begin(self, ctx, batches: int, address: int) -> None:
        for name, value in dict(batches=batches, address=address, run=1).items():
            ctx.set(getattr(self.dut, name), value)
        await ctx.tick()
        ctx.set(self.dut.run, 0)

    async def start(self, ctx, row: int, rows: int) -> None:
        dut = self.dut
        assert not ctx.get(dut.load_busy)
        for name, value in dict(load_row=row, load_rows_last=rows - 1, load_start=1).items():
            ctx.set(getattr(dut, name), value)
        await ctx.tick()
        for name, value in dict(load_row=0, load_rows_last=0, load_start=0).items():
            ctx.set(getattr(dut, name), value)

    async def load(self, ctx, row: int, rows: int) -> list[tuple[int, int, list[int]]]:
        """One batch; the rows that it must write."""
        c, dut = self.config, self.dut
        codes = self.rng.integers(0, 1 << c.activation_bits, (c.images, rows, c.pixels * c.input_channels))
        beats = [beat for image in codes for line in image for beat in wire(c, line, self.random)]
        await self.start(ctx, row, rows)
        self.commands.clear()
        waiting = None
        while ctx.get(dut.load_busy):
            if waiting is None and self.commands and beats and self.random.random() >= self.stall:
                waiting = beats[0]
                ctx.set(dut.i.p.data, waiting)
            ctx.set(dut.i.valid, waiting is not None)
            ctx.set(dut.command.ready, self.random.random() >= self.stall)
            ctx.set(dut.load_ready, self.random.random() >= self.hold)
            samples = await ctx.tick().sample(
                dut.i.ready, dut.command.valid, dut.command.ready, dut.command.payload,
                dut.load_valid, dut.load_ready, dut.write_row, dut.write_image, dut.write_data)
            _, _, ready, valid, taken, command, row_valid, row_taken, *written = samples
            if waiting is not None and ready:
                beats.pop(0)
                waiting = None
            if valid and taken:
                self.commands.append((command.address, command.beats, command.resume))
            if row_valid and row_taken:
                self.rows.append((*written[:2], unpack(written[2], c.activation_bits, codes.shape[-1]).tolist()))
        ctx.set(dut.i.valid, 0)
        assert not beats and not ctx.get(dut.command.valid)
        return [(row + r, b, codes[b, r].tolist()) for b in range(c.images) for r in range(rows)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("stall", "hold"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.9), (0.4, 0.4)])
def test_loads_batches(shape: dict[str, int], stall: float, hold: float) -> None:
    bench = Bench(ArrayConfig(feature_rows=40, **shape), 7, stall, hold)
    c, dut = bench.config, bench.dut

    async def main(ctx):
        expected = []
        for address in (0x1000, 0x2340):
            await bench.begin(ctx, 3, address)
            for n, (row, rows) in enumerate([(0, 1), (3, 7), (40 - 5, 5)]):
                expected += await bench.load(ctx, row, rows)
                resume = n > 0
                assert bench.commands == [(address, rows * c.images * dut.row_beats, resume)]
        assert bench.rows == expected

    run(dut, bench=main)


def test_all_rows() -> None:
    bench = Bench(ArrayConfig(feature_rows=64, pixels=4, input_channels=3), 8)

    async def main(ctx):
        await bench.begin(ctx, 1, 0)
        assert await bench.load(ctx, 0, 64) == bench.rows

    run(bench.dut, bench=main)


def test_starts_after_the_last_batch_do_nothing() -> None:
    bench = Bench(ArrayConfig(feature_rows=64, pixels=4, input_channels=3), 9)
    dut = bench.dut

    async def main(ctx):
        for _ in range(2):
            await bench.begin(ctx, 2, 0)
            for _ in range(2):
                await bench.load(ctx, 1, 2)
            for _ in range(3):
                await bench.start(ctx, 0, 2)
                for _ in range(5):
                    assert not ctx.get(dut.load_busy) and not ctx.get(dut.command.valid)
                    await ctx.tick()

    run(dut, bench=main)
    assert len(bench.rows) == 8


def test_a_batch_must_fit_a_transfer() -> None:
    with pytest.raises(ValueError, match=r"fewer than 2\*\*24 beats, not up to 33554432"):
        InputLoader(config=ArrayConfig(images=16, pixels=64, simd=128, input_channels=128, activation_bits=32,
                                       axi_data_bits=32, feature_rows=256))
