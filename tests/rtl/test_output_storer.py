"""OutputStorer: rows in, beats in wire format out."""

import random

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.rtl.output_storer import OutputStorer

from .axi_model import run
from .harness import pack

SHAPES = [
    dict(simd=16),                                              # two beats
    dict(simd=2, pe=2, input_channels=2, images=3),             # padded to a beat
    dict(simd=4, pe=2, images=2, axi_data_bits=32),
    dict(simd=16, images=3, activation_bits=5, axi_data_bits=128),
    dict(simd=4, pe=4, images=2, activation_bits=12),           # 16 bits on the wire
    dict(simd=8, pe=4, activation_bits=20, axi_data_bits=32),
    dict(simd=4, pe=4, pixels=4, output_pixels=4, images=3),
    dict(simd=8, pe=4, pixels=8, output_pixels=8, activation_bits=7, images=2),
]


def wire(c: ArrayConfig, codes: np.ndarray) -> bytes:
    """A row [image][pixel lane * channel lane]: each image padded to whole beats."""
    per_image = max(codes.shape[1] * c.wire_bits, c.axi_data_bits) // 8
    images = [pack(image, c.wire_bits).to_bytes(per_image, "little") for image in codes]
    return b"".join(images)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("stall", "rest"), [(0.0, 0.0), (0.6, 0.0), (0.0, 0.8), (0.3, 0.3)])
def test_sends_rows(shape: dict[str, int], stall: float, rest: float) -> None:
    c = ArrayConfig(**shape)
    dut, source, rng = OutputStorer(config=c), random.Random(5), np.random.default_rng(5)
    per_image = c.output_pixels * c.simd
    rows = [rng.integers(0, 1 << c.activation_bits, (c.images, per_image)) for _ in range(6)]
    rows[0][:], rows[1][:] = 0, (1 << c.activation_bits) - 1
    commands, beats = [], bytearray()

    async def bus(ctx):
        while True:
            ctx.set(dut.command.ready, source.random() >= stall)
            ctx.set(dut.o.ready, source.random() >= stall)
            _, _, valid, ready, command, beat_valid, beat_ready, beat = await ctx.tick().sample(
                dut.command.valid, dut.command.ready, dut.command.payload, dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready:
                commands.append((command.address, command.beats, command.resume))
            if beat_valid and beat_ready:
                assert len(commands) * c.images * dut.image_beats * c.axi_data_bits // 8 > len(beats)
                beats.extend(beat.to_bytes(c.axi_data_bits // 8, "little"))

    async def bench(ctx):
        for address in (0x4000, 0x8880):
            ctx.set(dut.address, address)
            ctx.set(dut.run, 1)
            await ctx.tick()
            ctx.set(dut.run, 0)
            for row in rows:
                while source.random() < rest or not ctx.get(dut.store_ready):
                    await ctx.tick()
                ctx.set(dut.store_data, pack(row, c.activation_bits))
                ctx.set(dut.store_valid, 1)
                await ctx.tick()
                ctx.set(dut.store_valid, 0)
                ctx.set(dut.store_data, 0)
                assert ctx.get(dut.busy) and not ctx.get(dut.store_ready)
            await ctx.tick().until(~dut.busy)

    run(dut, bench=bench, background=[bus])
    count = c.images * dut.image_beats
    assert commands == [(address, count, n > 0) for address in (0x4000, 0x8880) for n in range(6)]
    assert bytes(beats) == b"".join(wire(c, row) for row in rows) * 2
