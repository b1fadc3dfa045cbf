"""ControlRegisters: the register map's semantics, run control, counters."""

import pytest

from shifthw.arch import ArrayConfig
from shifthw.registers import ID, VERSION, Control, ErrorCode, Register, Status
from shifthw.rtl.axi import RESP_OKAY, RESP_SLVERR
from shifthw.rtl.control_registers import DRAIN_CYCLES, ControlRegisters

from .axi_model import LiteMaster, run

M32 = (1 << 32) - 1


class Bench:
    """A master on the registers; counts the cycles with load, run and abort."""

    def __init__(self, **config: int) -> None:
        self.dut = ControlRegisters(config=ArrayConfig(**config))
        self.master = LiteMaster(self.dut.bus, seed=1, skew=2)
        self.counts = {"load": 0, "run": 0, "abort": 0}

    async def watch(self, ctx):
        async for _, _, *values in ctx.tick().sample(*(getattr(self.dut, name) for name in self.counts)):
            for name, value in zip(self.counts, values, strict=True):
                self.counts[name] += value

    def run(self, main) -> None:
        run(self.dut, bench=main, background=[self.watch])

    async def read(self, ctx, register: Register) -> int:
        return await self.master.read(ctx, register)

    async def write(self, ctx, register: Register, value: int, strobe: int = 0b1111) -> None:
        assert await self.master.write(ctx, register, value, strobe) == RESP_OKAY

    async def pulse(self, ctx, *names: str) -> None:
        for name in names:
            ctx.set(getattr(self.dut, name), 1)
        await ctx.tick()
        for name in names:
            ctx.set(getattr(self.dut, name), 0)

    async def status(self, ctx) -> Status:
        return Status(await self.read(ctx, Register.STATUS))

    async def load_program(self, ctx) -> None:
        await self.write(ctx, Register.PROGRAM_BEATS, 5)
        await self.write(ctx, Register.CONTROL, Control.LOAD_PROGRAM)
        await self.pulse(ctx, "loaded")

    async def start(self, ctx, batches: int = 2) -> None:
        await self.write(ctx, Register.BATCHES, batches)
        await self.write(ctx, Register.CONTROL, Control.START)

    async def until_idle(self, ctx) -> None:
        while not await self.status(ctx) & Status.IDLE:
            pass


def test_constants_and_reset_values() -> None:
    bench = Bench(pixels=4)
    values = {Register.ID: ID, Register.VERSION: VERSION, Register.CONFIG: ArrayConfig(pixels=4).digest,
              Register.STATUS: Status.IDLE}

    async def main(ctx):
        for register in Register:
            assert await bench.read(ctx, register) == values.get(register, 0), register.name

    bench.run(main)


@pytest.mark.parametrize(("data_bits", "low"), [(32, 2), (64, 3), (128, 4)])
def test_parameters_can_be_read_back(data_bits: int, low: int) -> None:
    bench = Bench(axi_data_bits=data_bits)
    aligned = M32 >> low << low
    masks = {Register.PROGRAM_ADDRESS: aligned, Register.INPUT_ADDRESS: aligned, Register.OUTPUT_ADDRESS: aligned,
             Register.PROGRAM_BEATS: (1 << 24) - 1, Register.BATCHES: M32, Register.IRQ_ENABLE: 1}

    async def main(ctx):
        for register, mask in masks.items():
            for value in (M32, 0, 0x1234_5678, 0xA5A5_A5A5):
                await bench.write(ctx, register, value)
                assert await bench.read(ctx, register) == value & mask
                if register != Register.IRQ_ENABLE:
                    assert ctx.get(getattr(bench.dut, register.name.lower())) == value & mask
        for register, mask in masks.items():
            await bench.write(ctx, register, 0)
            for byte in range(4):
                await bench.write(ctx, register, M32, strobe=1 << byte)
                assert await bench.read(ctx, register) == mask & ((1 << 8 * byte + 8) - 1)

    bench.run(main)


def test_unknown_and_read_only_registers() -> None:
    bench = Bench()
    unknown = [offset for offset in range(0, 0x80, 4) if offset not in list(Register)] + [0x100, 0x410, 0xFFC]
    read_only = [Register.ID, Register.VERSION, Register.CONFIG, Register.ERROR, Register.CYCLES,
                 Register.CYCLES_HIGH, Register.STALL_CYCLES, Register.STALL_CYCLES_HIGH, Register.BATCH_CYCLES,
                 Register.BATCHES_DONE]

    async def main(ctx):
        for offset in unknown:
            assert await bench.master.write(ctx, offset, M32) == RESP_SLVERR
            assert await bench.master.read_response(ctx, offset) == (0, RESP_SLVERR)
        for register in read_only:
            before = await bench.read(ctx, register)
            await bench.write(ctx, register, M32)
            assert await bench.read(ctx, register) == before
        assert bench.counts == {"load": 0, "run": 0, "abort": 0}

    bench.run(main)


def test_program_load() -> None:
    bench = Bench()

    async def main(ctx):
        await bench.write(ctx, Register.PROGRAM_BEATS, 5)
        await bench.write(ctx, Register.CONTROL, Control.LOAD_PROGRAM | Control.START)
        assert await bench.status(ctx) == Status(0) and ctx.get(bench.dut.loading)
        for register in (Register.PROGRAM_ADDRESS, Register.PROGRAM_BEATS, Register.INPUT_ADDRESS,
                         Register.OUTPUT_ADDRESS, Register.BATCHES):
            before = await bench.read(ctx, register)
            await bench.write(ctx, register, 0x1000)
            assert await bench.read(ctx, register) == before, "written while not idle"
        await bench.write(ctx, Register.CONTROL, Control.LOAD_PROGRAM | Control.START)
        await bench.pulse(ctx, "loaded")
        assert await bench.status(ctx) == Status.IDLE | Status.PROGRAM_LOADED
        await bench.write(ctx, Register.CONTROL, Control.LOAD_PROGRAM)
        assert await bench.status(ctx) == Status(0), "the old program counts until the new one begins"
        await bench.pulse(ctx, "checksum_error")
        await bench.until_idle(ctx)
        assert await bench.status(ctx) == Status.IDLE | Status.ERROR
        assert await bench.read(ctx, Register.ERROR) == ErrorCode.CHECKSUM
        assert bench.counts["load"] == 2 and bench.counts["run"] == 0

    bench.run(main)


def test_control_needs_its_byte() -> None:
    bench = Bench()

    async def main(ctx):
        await bench.write(ctx, Register.PROGRAM_BEATS, 5)
        await bench.write(ctx, Register.CONTROL, M32, strobe=0b1110)
        await bench.write(ctx, Register.CONTROL, 0xFFFF_FFF8)
        assert bench.counts == {"load": 0, "run": 0, "abort": 0}

    bench.run(main)


def test_an_empty_program_is_a_checksum_error() -> None:
    bench = Bench()

    async def main(ctx):
        await bench.write(ctx, Register.CONTROL, Control.LOAD_PROGRAM)
        await bench.until_idle(ctx)
        assert await bench.read(ctx, Register.ERROR) == ErrorCode.CHECKSUM and bench.counts["load"] == 0

    bench.run(main)


@pytest.mark.parametrize("loaded", [False, True])
def test_start_with_nothing_to_run(loaded: bool) -> None:
    bench = Bench()

    async def main(ctx):
        if loaded:
            await bench.load_program(ctx)
        await bench.start(ctx, 0 if loaded else 1)
        await bench.until_idle(ctx)
        assert await bench.read(ctx, Register.ERROR) == ErrorCode.ILLEGAL_INSTRUCTION
        assert bench.counts["run"] == 0
        assert bool(await bench.status(ctx) & Status.PROGRAM_LOADED) == loaded

    bench.run(main)


def test_run_to_done() -> None:
    bench = Bench()

    async def main(ctx):
        await bench.load_program(ctx)
        for _ in range(2):
            await bench.start(ctx)
            assert await bench.status(ctx) == Status.PROGRAM_LOADED
            await bench.write(ctx, Register.CONTROL, Control.START | Control.LOAD_PROGRAM)
            ctx.set(bench.dut.memory_busy, 1)
            await bench.pulse(ctx, "done")
            assert await bench.status(ctx) == Status.PROGRAM_LOADED, "not done before the memory is"
            ctx.set(bench.dut.memory_busy, 0)
            await bench.until_idle(ctx)
            assert await bench.status(ctx) == Status.IDLE | Status.PROGRAM_LOADED | Status.DONE
        assert bench.counts == {"load": 1, "run": 2, "abort": 0}
        await bench.write(ctx, Register.STATUS, M32 ^ Status.DONE)
        await bench.write(ctx, Register.STATUS, M32, strobe=0b1110)
        assert await bench.status(ctx) & Status.DONE
        await bench.write(ctx, Register.STATUS, Status.DONE)
        assert await bench.status(ctx) == Status.IDLE | Status.PROGRAM_LOADED

    bench.run(main)


def test_a_row_in_the_pipeline_belongs_to_the_run() -> None:
    bench = Bench()

    async def main(ctx):
        await bench.load_program(ctx)
        await bench.start(ctx)
        await bench.pulse(ctx, "done")
        await ctx.tick().repeat(DRAIN_CYCLES - 2)
        ctx.set(bench.dut.memory_busy, 1)
        await ctx.tick().repeat(DRAIN_CYCLES)
        assert await bench.status(ctx) == Status.PROGRAM_LOADED
        await bench.pulse(ctx, "write_error")
        ctx.set(bench.dut.memory_busy, 0)
        await bench.until_idle(ctx)
        assert await bench.read(ctx, Register.ERROR) == ErrorCode.BUS_WRITE
        assert bench.counts["abort"] == DRAIN_CYCLES

    bench.run(main)


@pytest.mark.parametrize(("pulses", "code"), [
    (["illegal"], ErrorCode.ILLEGAL_INSTRUCTION), (["read_error"], ErrorCode.BUS_READ),
    (["write_error"], ErrorCode.BUS_WRITE), (["read_error", "write_error", "illegal"], ErrorCode.BUS_READ),
])
def test_errors_stop_a_run(pulses: list[str], code: ErrorCode) -> None:
    bench = Bench()

    async def main(ctx):
        await bench.load_program(ctx)
        await bench.start(ctx)
        ctx.set(bench.dut.bus_busy, 1)
        await bench.pulse(ctx, *pulses)
        assert ctx.get(bench.dut.abort)
        await bench.pulse(ctx, "write_error", "read_error")
        await ctx.tick().repeat(2 * DRAIN_CYCLES)
        assert await bench.status(ctx) == Status.PROGRAM_LOADED | Status.ERROR, "the bus is not drained"
        ctx.set(bench.dut.bus_busy, 0)
        await bench.until_idle(ctx)
        await bench.start(ctx)
        await bench.write(ctx, Register.CONTROL, Control.LOAD_PROGRAM)
        assert await bench.status(ctx) == Status.IDLE | Status.PROGRAM_LOADED | Status.ERROR, "refused"
        assert await bench.read(ctx, Register.ERROR) == code
        await bench.write(ctx, Register.CONTROL, Control.RESET)
        await bench.until_idle(ctx)
        assert await bench.status(ctx) == Status.IDLE | Status.PROGRAM_LOADED
        assert await bench.read(ctx, Register.ERROR) == ErrorCode.NONE
        assert bench.counts["run"] == 1
        await bench.start(ctx)
        assert bench.counts["run"] == 2

    bench.run(main)


def test_reset() -> None:
    bench = Bench()

    async def main(ctx):
        await bench.load_program(ctx)
        await bench.start(ctx)
        await bench.write(ctx, Register.CONTROL, Control.RESET | Control.START | Control.LOAD_PROGRAM)
        await bench.until_idle(ctx)
        assert bench.counts == {"load": 1, "run": 1, "abort": DRAIN_CYCLES}
        assert await bench.status(ctx) == Status.IDLE | Status.PROGRAM_LOADED
        await bench.start(ctx)
        await bench.pulse(ctx, "done")
        await bench.until_idle(ctx)
        assert await bench.status(ctx) & Status.DONE
        await bench.write(ctx, Register.CONTROL, Control.RESET)
        await bench.until_idle(ctx)
        assert await bench.status(ctx) == Status.IDLE | Status.PROGRAM_LOADED
        assert bench.counts["abort"] == 2 * DRAIN_CYCLES
        await bench.write(ctx, Register.CONTROL, Control.LOAD_PROGRAM)
        await bench.write(ctx, Register.CONTROL, Control.RESET)
        await bench.until_idle(ctx)
        assert await bench.status(ctx) == Status.IDLE, "a program that was not read to its end"

    bench.run(main)


def test_interrupt() -> None:
    bench = Bench()

    async def main(ctx):
        irq = bench.dut.irq
        await bench.load_program(ctx)
        await bench.start(ctx)
        await bench.pulse(ctx, "done")
        await bench.until_idle(ctx)
        assert not ctx.get(irq)
        await bench.write(ctx, Register.IRQ_ENABLE, 1)
        assert ctx.get(irq)
        await bench.write(ctx, Register.STATUS, Status.DONE)
        assert not ctx.get(irq)
        await bench.start(ctx)
        await bench.pulse(ctx, "illegal")
        assert ctx.get(irq)
        await bench.write(ctx, Register.STATUS, M32)
        assert ctx.get(irq)
        await bench.write(ctx, Register.CONTROL, Control.RESET)
        assert not ctx.get(irq)

    bench.run(main)


def test_counters() -> None:
    bench = Bench()
    #       running stalled batch_end
    cycles = [(1, 0, 0)] * 3 + [(1, 1, 0)] * 4 + [(1, 0, 1)] + [(1, 0, 0)] * 9 + [(1, 1, 0)] * 2 + [(1, 0, 1)]
    cycles += [(0, 0, 0)] * 3 + [(0, 1, 0)] * 2
    unfinished = [(1, 0, 0)] * 7

    async def play(ctx, sequence):
        await bench.start(ctx)
        for values in sequence:
            for name, value in zip(("running", "stalled", "batch_end"), values, strict=True):
                ctx.set(getattr(bench.dut, name), value)
            await ctx.tick()
        for name in ("running", "stalled", "batch_end"):
            ctx.set(getattr(bench.dut, name), 0)
        await bench.pulse(ctx, "done")
        await bench.until_idle(ctx)
        return [await bench.read(ctx, register) for register in Register if register >= Register.CYCLES]

    async def main(ctx):
        await bench.load_program(ctx)
        for _ in range(2):
            assert await play(ctx, cycles) == [20, 0, 6, 0, 10, 2]
        assert await play(ctx, unfinished) == [7, 0, 0, 0, 0, 0]

    bench.run(main)
