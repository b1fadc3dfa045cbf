"""The writer: where every result lands, beats, and loaded rows in between."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from shifthw.arch import ArrayConfig
from shifthw.rtl.writer import Writer

from .harness import check_members, pack, unpack

SEED = 16


class Bench:
    """Drives a writer and keeps the memory that its ports write: int64[row, channel lane, bank, image]."""

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        self.dut = Writer(config=config)
        check_members(self.dut)
        self.memory = np.full((config.feature_rows, config.simd, config.pixels, config.images), -1)
        self.beats: list[int] = []

    def run(self, stimulus) -> None:
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(stimulus)
        simulator.run()

    async def tick(self, ctx, count: int = 1) -> None:
        c = self.config
        for _ in range(count):
            await ctx.tick()
            enable = unpack(ctx.get(self.dut.write_enable), 1, c.simd * c.pixels).reshape(c.simd, c.pixels)
            images = unpack(ctx.get(self.dut.write_images), 1, c.images)
            address = unpack(ctx.get(self.dut.write_address), c.row_bits, c.pixels)
            data = unpack(ctx.get(self.dut.write_data), c.activation_bits, self.memory[0].size)
            data = data.reshape(c.simd, c.pixels, c.images)
            self.beats.append(int(enable.any()))
            for i, bank, b in np.ndindex(c.simd, c.pixels, c.images):
                if enable[i, bank] and images[b]:
                    self.memory[address[bank], i, bank, b] = data[i, bank, b]

    def token(self, ctx, target, *, row: int, slot: int, plane_rows: int, stride: tuple[int, int],
              lanes: list[tuple[int, int, int, int]]) -> None:
        for name, value in {"row": row, "slot": slot, "plane_rows": plane_rows, "stride_x": stride[1],
                            "beats_last": stride[0] * stride[1] - 1}.items():
            ctx.set(target[name], value)
        for p, (valid, index, yr, xr) in enumerate(lanes):
            for name, value in (("valid", valid), ("index", index), ("yr", yr), ("xr", xr)):
                ctx.set(target.lanes[p][name], value)


@pytest.mark.parametrize(("images", "pixels", "simd", "pe"), [(1, 4, 4, 4), (2, 8, 8, 2), (1, 2, 8, 8)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("pool", [False, True])
def test_tiles_land_in_their_planes(images: int, pixels: int, simd: int, pe: int, stride: tuple[int, int],
                                    pool: bool) -> None:
    config = ArrayConfig(images=images, pixels=pixels, simd=simd, pe=pe, feature_rows=256, max_stride=3, max_pool=True)
    bench, rng = Bench(config), np.random.default_rng(SEED)
    height, width, pitch = 5, 7, 9                      # iteration space wider than the map
    plane_pitch = -(-width // stride[1])
    plane_rows = -(-(-(-height // stride[0]) * plane_pitch) // pixels)
    lanes = simd if pool else pe
    planes = stride[0] * stride[1]
    want = np.full_like(bench.memory, -1)

    async def stimulus(ctx):
        dut = bench.dut
        done, token, vector = ((dut.pool_done, dut.pool_token, dut.pool) if pool
                               else (dut.conv_done, dut.conv_token, dut.conv))
        for tile in range(-(-height * pitch // pixels)):
            slot, row = (0 if pool else tile % config.slots), 16
            codes = rng.integers(0, 256, (images, pixels, lanes))
            places = []
            for p in range(pixels):
                y, x = divmod(tile * pixels + p, pitch)
                valid = y < height and x < width
                index = y // stride[0] * plane_pitch + x // stride[1]
                yr, xr = y % stride[0], x % stride[1]
                places.append((int(valid), index, yr, xr))
                if valid:
                    where = row + (yr * stride[1] + xr) * plane_rows + index // pixels
                    first = 0 if pool else slot * pe
                    want[where, first:first + lanes, index % pixels] = codes[:, p].T
            bench.token(ctx, token, row=row, slot=slot, plane_rows=plane_rows, stride=stride, lanes=places)
            ctx.set(vector, pack(codes, 8))
            ctx.set(done, 1)
            await bench.tick(ctx)
            ctx.set(done, 0)
            await bench.tick(ctx, planes - 1)
        await bench.tick(ctx, 3)

    bench.run(stimulus)
    assert np.array_equal(bench.memory, want)


def test_latency_to_the_first_beat() -> None:
    bench = Bench(ArrayConfig(pixels=2, simd=4, pe=2, feature_rows=16))

    async def stimulus(ctx):
        bench.token(ctx, bench.dut.conv_token, row=1, slot=0, plane_rows=0, stride=(1, 1),
                    lanes=[(1, 0, 0, 0), (1, 1, 0, 0)])
        ctx.set(bench.dut.conv_done, 1)
        await bench.tick(ctx)
        ctx.set(bench.dut.conv_done, 0)
        await bench.tick(ctx, 4)

    bench.run(stimulus)
    assert bench.beats.index(1) + 1 == bench.dut.latency


@pytest.mark.parametrize(("simd", "channels"), [(8, 3), (8, 8), (4, 1)])
def test_loaded_rows_fill_the_gaps_and_are_replicated(simd: int, channels: int) -> None:
    config = ArrayConfig(images=2, pixels=4, simd=simd, pe=2, feature_rows=64, input_channels=channels)
    bench, rng = Bench(config), np.random.default_rng(SEED)
    rows = [(int(row), int(image), rng.integers(0, 256, (4, channels)))
            for row, image in zip(rng.permutation(40), rng.integers(0, 2, 40), strict=True)]
    used = simd // channels * channels

    async def stimulus(ctx):
        dut = bench.dut
        for row, image, data in rows:
            ctx.set(dut.load_valid, 1)
            ctx.set(dut.load_row, row)
            ctx.set(dut.load_image, image)
            ctx.set(dut.load_data, pack(data, 8))
            taken = False
            while not taken:
                busy = rng.random() < 0.4
                ctx.set(dut.conv_done, int(busy))
                if busy:                                # a tile whose lanes are all outside writes nothing
                    bench.token(ctx, dut.conv_token, row=0, slot=0, plane_rows=0, stride=(1, 1), lanes=[(0,) * 4] * 4)
                taken = bool(ctx.get(dut.load_ready))
                await bench.tick(ctx)
        ctx.set(dut.load_valid, 0)
        await bench.tick(ctx, 3)

    bench.run(stimulus)
    for row, image, data in rows:
        for i in range(simd):
            want = data[:, i % channels] if i < used else np.zeros(4, int)
            assert bench.memory[row, i, :, image].tolist() == want.tolist()
            assert bench.memory[row, i, :, 1 - image].tolist() == [-1] * 4
