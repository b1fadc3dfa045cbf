"""The cocotb bench: drives an engine as a host would, over AXI4-Lite and a shared memory.

Runs inside the simulator, which is started with `+job=FOLDER` (see job.py); the verdict is in the result file.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer
from cocotb.types import LogicArray
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiSlave

from shifthw import registers
from shifthw.registers import Control, Register, Status

from .job import format_fields, parse_fields

PERIOD = 2
"""Simulator time steps of a clock cycle."""
POLL_CYCLES = 256


class BusError(RuntimeError):
    """The engine reached outside its buffers."""


class Memory:
    """The host's memory: what the job placed there can be read, only the output buffer can be written."""

    def __init__(self, regions: dict[int, bytes], output_address: int, output_bytes: int) -> None:
        self._regions = regions
        self._output_address = output_address
        self.output = bytearray(output_bytes)
        self.fault: str | None = None

    async def read(self, address: int, length: int) -> bytes:
        """`length` bytes; BusError outside the readable buffers."""
        for start, data in self._regions.items():
            if start <= address and address + length <= start + len(data):
                return data[address - start:address - start + length]
        raise self._outside("reads", address)

    async def write(self, address: int, data: bytes) -> None:
        """Stores `data`; BusError outside the output buffer."""
        offset = address - self._output_address
        if offset < 0 or offset + len(data) > len(self.output):
            raise self._outside("writes", address)
        self.output[offset:offset + len(data)] = data

    def _outside(self, what: str, address: int) -> BusError:
        self.fault = f"AXI: the engine {what} outside its buffers, address {address:#x}"
        return BusError(self.fault)


class TiedPort:
    """Stands for a one-bit port that the engine does not have, because it uses the value 0 only."""

    def __len__(self) -> int:
        return 1

    @property
    def value(self) -> LogicArray:
        """Always 0."""
        return LogicArray("0")

    @value.setter
    def value(self, value: object) -> None:
        """Nothing to drive."""

    def setimmediatevalue(self, value: object) -> None:
        """Nothing to drive."""


class WithTransactionIds:
    """The engine with the ID ports that cocotbext-axi asks for; a master with one ID need not have them."""

    IDS = ("m_axi_awid", "m_axi_bid", "m_axi_arid", "m_axi_rid")

    def __init__(self, dut: Any) -> None:
        self._dut = dut

    def __dir__(self) -> list[str]:
        return sorted({*dir(self._dut), *self.IDS})

    def __getattr__(self, name: str) -> Any:
        if name in self.IDS and not hasattr(self._dut, name):
            return TiedPort()
        return getattr(self._dut, name)


def pauses(seed: int) -> Iterator[bool]:
    """Whether a channel rests, cycle by cycle: stretches of free running, of thin traffic, and of long rests."""
    source = random.Random(seed)
    while True:
        density = source.choice((0.0, 0.1, 0.5, 0.9))
        for _ in range(source.randrange(1, 200)):
            yield source.random() < density


class Host:
    """AXI4-Lite master and memory on the two ports of an engine."""

    def __init__(self, dut: Any, folder: Path) -> None:
        self.dut, self.folder = dut, folder
        self.job = parse_fields((folder / "job.txt").read_text())
        self.memory = Memory(
            {self.job["program_address"]: (folder / "program.bin").read_bytes(),
             self.job["input_address"]: (folder / "input.bin").read_bytes()},
            self.job["output_address"], self.job["output_bytes"])
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        self.port = AxiSlave(AxiBus.from_prefix(WithTransactionIds(dut), "m_axi"), dut.clk, dut.rst, self.memory)
        self.clocks = 0
        if self.job["stalls"]:
            self._pause_channels()

    def _pause_channels(self) -> None:
        write, read = self.port.write_if, self.port.read_if
        lite_write, lite_read = self.registers.write_if, self.registers.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel,
                    lite_write.aw_channel, lite_write.w_channel, lite_write.b_channel,
                    lite_read.ar_channel, lite_read.r_channel)
        for number, channel in enumerate(channels):
            channel.set_pause_generator(pauses(self.job["seed"] * 16 + number))

    async def reset(self) -> None:
        """Eight cycles of reset."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 8)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def run(self) -> dict[str, int]:
        """Loads the program, runs all batches; the counters afterwards."""
        await self.reset()
        await self._expect(Register.ID, registers.ID)
        await self._expect(Register.CONFIG, self.job["config"])
        for name in ("PROGRAM_ADDRESS", "PROGRAM_BEATS", "INPUT_ADDRESS", "OUTPUT_ADDRESS", "BATCHES"):
            await self.registers.write_dword(Register[name], self.job[name.lower()])
        await self.registers.write_dword(Register.CONTROL, Control.LOAD_PROGRAM)
        await self._wait_for(Status.PROGRAM_LOADED)
        await self.registers.write_dword(Register.CONTROL, Control.START)
        await self._wait_for(Status.DONE)
        names = ("ERROR", "CYCLES", "STALL_CYCLES", "BATCH_CYCLES", "BATCHES_DONE")
        counters = {name.lower(): int(await self.registers.read_dword(Register[name])) for name in names}
        return counters | {"clocks": self._clocks()}

    async def _expect(self, register: Register, value: int) -> None:
        found = await self.registers.read_dword(register)
        if found != value:
            raise BusError(f"register {register.name} must be {value:#x}, not {found:#x}")

    async def _wait_for(self, bit: Status) -> None:
        shown = 0
        while True:
            status = await self.registers.read_dword(Register.STATUS)
            done = await self.registers.read_dword(Register.BATCHES_DONE)
            if done != shown:
                (self.folder / "progress.txt").write_text(str(done))
                shown = done
            if status & (bit | Status.ERROR) or self.memory.fault:
                return
            if self._clocks() > self.job["max_cycles"]:
                raise BusError(f"the engine is not done after {self.job['max_cycles']} clock cycles")
            await Timer(POLL_CYCLES * PERIOD, "step")

    def _clocks(self) -> int:
        return int(cocotb.utils.get_sim_time("step")) // PERIOD


@cocotb.test()
async def run_job(dut: Any) -> None:
    """One job, from reset to result.txt."""
    folder = Path(str(cocotb.plusargs["job"]))
    result = folder / "result.txt"
    Clock(dut.clk, PERIOD, "step", impl="gpi").start()
    host = Host(dut, folder)
    try:
        counters = await host.run()
    except BusError as error:
        result.write_text(f"failure {error}\n")
        return
    if host.memory.fault:
        result.write_text(f"failure {host.memory.fault}\n")
        return
    (folder / "output.bin").write_bytes(host.memory.output)
    result.write_text(format_fields(counters))
