"""HostInterface between a stalling memory, a host and a sequencer played in Python."""

import random

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.isa import Section
from shifthw.registers import Control, ErrorCode, Register, Status
from shifthw.rtl.host_interface import HostInterface
from shifthw.rtl.program_loader import memory_shape

from .axi_model import AxiMemory, LiteMaster, run
from .harness import pack, unpack
from .program_image import end, image_bytes, records
from .test_output_storer import wire

PROGRAM, INPUT, OUTPUT = 0x0001_0FF0, 0x0002_0F40, 0x0003_0FA0
ROWS, STORED, BATCHES = 5, 3, 3
SHAPES = [
    dict(pixels=4, input_channels=3, images=2),
    dict(pixels=4, input_channels=3, images=3, axi_data_bits=32, activation_bits=12),
    dict(pixels=8, input_channels=4, output_pixels=8, axi_data_bits=128, activation_bits=5),
]


class Bench:
    """A host with a memory, and what the engine would do: loads, writes to the feature memory, stores."""

    def __init__(self, shape: dict[str, int], seed: int, stall: float) -> None:
        self.config = c = ArrayConfig(simd=4, pe=4, step_words=8, weight_words=16, scale_words=8, feature_rows=64,
                                      **shape)
        self.dut = HostInterface(config=c)
        self.memory = AxiMemory(self.dut.m_axi, c.axi_data_bits, seed=seed, stall=stall)
        self.host = LiteMaster(self.dut.s_axi, seed=seed, skew=2)
        self.random, self.rng = random.Random(seed), np.random.default_rng(seed)
        self.program, self.rows, self.expected_output = {}, [], b""
        self.stop_after = 1 << 30   # cycles that the sequencer runs before it finds an illegal instruction
        self._fill_memory()

    def _fill_memory(self) -> None:
        c, source = self.config, self.random
        columns = memory_shape(c, Section.WEIGHT)[1]
        words = [[source.getrandbits(c.axi_data_bits) for _ in range(columns)] for _ in range(12)]
        self.image = end(records(c.axi_data_bits, [(Section.WEIGHT, 3, words)]), c.axi_data_bits)
        self.expected_program = {(1 << Section.WEIGHT, 3 + k, n): column
                                 for k, word in enumerate(words) for n, column in enumerate(word)}
        self.memory.load(PROGRAM, image_bytes(self.image, c.axi_data_bits))
        row = c.pixels * c.input_channels
        codes = self.rng.integers(0, 1 << c.activation_bits, (BATCHES, c.images, ROWS, row))
        row_bytes = -(-row * c.wire_bits // c.axi_data_bits) * c.axi_data_bits // 8
        self.memory.load(INPUT, b"".join(pack(line, c.wire_bits).to_bytes(row_bytes, "little")
                                         for line in codes.reshape(-1, row)))
        self.expected_rows = [(r, b, codes[batch, b, r].tolist()) for batch in range(BATCHES)
                              for b in range(c.images) for r in range(ROWS)]

    def run(self, main) -> None:
        run(self.dut, bench=main, background=[
            self.memory.reads, self.memory.writes, self.programs, self.features, self.sequencer])

    async def programs(self, ctx):
        """The program memories."""
        names = ("enable", "address", "column", "data")
        async for _, _, *write in ctx.tick().sample(*(getattr(self.dut, f"program_{name}") for name in names)):
            if write[0]:
                self.program[tuple(write[:3])] = write[3]

    async def features(self, ctx):
        """The feature memory's write port: long times without a free cycle."""
        dut, c = self.dut, self.config
        while True:
            free = self.random.random() < 0.3
            for _ in range(self.random.randint(1, 6)):
                ctx.set(dut.load_ready, free)
                _, _, valid, row, image, word = await ctx.tick().sample(
                    dut.load_valid, dut.write_row, dut.write_image, dut.write_data)
                if valid and free:
                    codes = unpack(word, c.activation_bits, c.pixels * c.input_channels)
                    self.rows.append((row, image, codes.tolist()))

    async def sequencer(self, ctx):
        """Per batch: load, wait, store; back to the start on abort."""
        dut = self.dut
        while True:
            while not (await ctx.tick().sample(dut.run))[2]:
                pass
            self.rows.clear()
            self.expected_output = b""
            script = self._script(ctx)
            for cycle in range(1 << 30):
                for name in ("load_start", "store_valid", "batch_end", "done", "illegal"):
                    ctx.set(getattr(dut, name), 0)
                running = next(script, False)
                if cycle == self.stop_after:
                    ctx.set(dut.illegal, 1)
                ctx.set(dut.running, running)
                if not running:
                    break
                _, _, abort = await ctx.tick().sample(dut.abort)
                if abort or cycle == self.stop_after:
                    break
            for name in ("load_start", "store_valid", "batch_end", "done", "illegal", "running"):
                ctx.set(getattr(dut, name), 0)

    def _script(self, ctx):
        """One step per cycle."""
        dut, c = self.dut, self.config
        for _ in range(ctx.get(dut.batches)):
            ctx.set(dut.load_row, 0)
            ctx.set(dut.load_rows_last, ROWS - 1)
            ctx.set(dut.load_start, 1)
            yield True
            yield True
            while ctx.get(dut.load_busy):
                yield True
            for _ in range(STORED):
                while not ctx.get(dut.store_ready) or self.random.random() < 0.3:
                    yield True
                codes = self.rng.integers(0, 1 << c.activation_bits, (c.images, c.output_pixels * c.simd))
                self.expected_output += wire(c, codes)
                ctx.set(dut.store_data, pack(codes, c.activation_bits))
                ctx.set(dut.store_valid, 1)
                yield True
            ctx.set(dut.batch_end, 1)
            yield True
        ctx.set(dut.done, 1)
        yield True

    # -- the host --------------------------------------------------------------------------------
    async def write(self, ctx, register: Register, value: int) -> None:
        assert await self.host.write(ctx, register, value) == 0

    async def set_up(self, ctx) -> None:
        for register, value in {Register.PROGRAM_ADDRESS: PROGRAM, Register.PROGRAM_BEATS: len(self.image),
                                Register.INPUT_ADDRESS: INPUT, Register.OUTPUT_ADDRESS: OUTPUT,
                                Register.BATCHES: BATCHES, Register.IRQ_ENABLE: 1}.items():
            await self.write(ctx, register, value)

    async def command(self, ctx, control: Control) -> tuple[Status, ErrorCode]:
        """Status and error once the engine is idle again."""
        await self.write(ctx, Register.CONTROL, control)
        return await self.until_idle(ctx)

    async def until_idle(self, ctx) -> tuple[Status, ErrorCode]:
        while not (status := Status(await self.host.read(ctx, Register.STATUS))) & Status.IDLE:
            pass
        return status, ErrorCode(await self.host.read(ctx, Register.ERROR))

    async def check_run(self, ctx) -> None:
        """Loads the program, runs, checks everything."""
        good = Status.IDLE | Status.PROGRAM_LOADED
        await self.write(ctx, Register.STATUS, Status.DONE)
        assert await self.command(ctx, Control.LOAD_PROGRAM) == (good, ErrorCode.NONE)
        assert self.program == self.expected_program
        assert await self.command(ctx, Control.START) == (good | Status.DONE, ErrorCode.NONE)
        assert ctx.get(self.dut.irq) and self.memory.idle
        assert self.rows == self.expected_rows
        assert self.memory.dump(OUTPUT, len(self.expected_output)) == self.expected_output
        assert await self.host.read(ctx, Register.BATCHES_DONE) == BATCHES


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_load_and_run(shape: dict[str, int], stall: float) -> None:
    bench = Bench(shape, 1, stall)

    async def main(ctx):
        await bench.set_up(ctx)
        await bench.check_run(ctx)
        await bench.check_run(ctx)

    bench.run(main)


@pytest.mark.parametrize("seed", range(9))
def test_reset_at_any_time(seed: int) -> None:
    """In the middle of a program load, of a run, in bursts, while the memory holds its responses."""
    bench = Bench(SHAPES[seed % 3], seed, (0.0, 0.3, 0.8)[seed // 3])

    async def main(ctx):
        await bench.set_up(ctx)
        await bench.write(ctx, Register.CONTROL, Control.LOAD_PROGRAM)
        await ctx.tick().repeat(bench.random.randint(1, 3 * len(bench.image)))
        status, error = await bench.command(ctx, Control.RESET)
        assert status & Status.IDLE and error == ErrorCode.NONE and bench.memory.idle
        await bench.command(ctx, Control.LOAD_PROGRAM)
        for _ in range(3):
            await bench.write(ctx, Register.CONTROL, Control.START)
            await ctx.tick().repeat(bench.random.randint(1, 500))
            status, error = await bench.command(ctx, Control.RESET)
            assert (status, error) == (Status.IDLE | Status.PROGRAM_LOADED, ErrorCode.NONE)
            assert bench.memory.idle and not ctx.get(bench.dut.irq)
            written = [address for address in bench.memory.memory if address >= OUTPUT]
            assert all(address < OUTPUT + len(bench.expected_output) for address in written)
            for address in written:
                del bench.memory.memory[address]
        await bench.check_run(ctx)

    bench.run(main)


@pytest.mark.parametrize("place", ["program", "input", "output", "checksum", "illegal"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_errors(place: str, shape: dict[str, int]) -> None:
    """Every error stops the engine, raises the interrupt, and is over after a reset."""
    bench = Bench(shape, 2, 0.3)
    memory, width = bench.memory, bench.config.axi_data_bits // 8
    code = {"program": ErrorCode.BUS_READ, "input": ErrorCode.BUS_READ, "output": ErrorCode.BUS_WRITE,
            "checksum": ErrorCode.CHECKSUM, "illegal": ErrorCode.ILLEGAL_INSTRUCTION}[place]
    in_load = place in ("program", "checksum")

    async def main(ctx):
        await bench.set_up(ctx)
        if place == "program":
            memory.read_faults = {PROGRAM + 5 * width}
        elif place == "input":
            memory.read_faults = {INPUT + 14 * width}
        elif place == "output":
            memory.write_faults = {OUTPUT + (STORED * BATCHES - 1) * bench.config.images * width}
        elif place == "checksum":
            memory.memory[PROGRAM + 7 * width] ^= 1
        else:
            bench.stop_after = 100
        status, error = await bench.command(ctx, Control.LOAD_PROGRAM)
        if not in_load:
            assert (status, error) == (Status.IDLE | Status.PROGRAM_LOADED, ErrorCode.NONE)
            status, error = await bench.command(ctx, Control.START)
        loaded = Status(0) if in_load else Status.PROGRAM_LOADED
        assert (status, error) == (Status.IDLE | Status.ERROR | loaded, code)
        assert ctx.get(bench.dut.irq) and memory.idle

        if place == "checksum":
            memory.memory[PROGRAM + 7 * width] ^= 1
        memory.read_faults, memory.write_faults, bench.stop_after = set(), set(), 1 << 30
        assert await bench.command(ctx, Control.RESET) == (Status.IDLE | loaded, ErrorCode.NONE)
        await bench.check_run(ctx)

    bench.run(main)
