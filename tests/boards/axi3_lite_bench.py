"""Runs inside the simulator: axi3_lite between an AXI master with 12-bit IDs and an AXI4-Lite memory."""

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, gather
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteSlave, AxiMaster, AxiResp

from shifthw.sim.bench import pauses

BASE = 0x43C0_0000
BROKEN_WORD = 0xFFC
"""Where the memory answers with an error."""
LIMIT = {"timeout_time": 200_000, "timeout_unit": "step"}


class Memory:
    """4 KiB, and how often it was written and read."""

    def __init__(self) -> None:
        self.data = bytearray(4096)
        self.writes = self.reads = 0

    async def write(self, address: int, data: bytes) -> None:
        self.writes += 1
        self._check(address)
        self.data[address:address + len(data)] = data

    async def read(self, address: int, length: int) -> bytes:
        self.reads += 1
        self._check(address)
        return bytes(self.data[address:address + length])

    def _check(self, address: int) -> None:
        if address >= BROKEN_WORD:
            raise ValueError("the broken word")


class Bench:
    """Both peers around the adapter, out of reset."""

    def __init__(self, dut: Any) -> None:
        self.dut, self.memory = dut, Memory()
        self.master = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst, max_burst_len=16)
        self.slave = AxiLiteSlave(AxiLiteBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, self.memory)

    async def start(self, seed: int | None) -> None:
        """Clock and reset; with a seed, all ten channels rest now and then."""
        Clock(self.dut.clk, 2, "step", impl="gpi").start()
        sides = (self.master.write_if, self.slave.write_if), (self.master.read_if, self.slave.read_if)
        writes = [channel for side in sides[0] for channel in (side.aw_channel, side.w_channel, side.b_channel)]
        reads = [channel for side in sides[1] for channel in (side.ar_channel, side.r_channel)]
        if seed is not None:
            for number, channel in enumerate(writes + reads):
                channel.set_pause_generator(pauses(16 * seed + number))
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0

    async def single(self, source: random.Random, words: range) -> None:
        """Writes some bytes of random words and reads them back, the expectation kept here."""
        known = {4 * word: bytes(self.memory.data[4 * word:4 * word + 4]) for word in words}
        for _ in range(20):
            address = source.choice(list(known))
            first = source.randrange(4)
            data = source.randbytes(source.randrange(1, 5 - first))
            number = source.randrange(1 << 12)
            written = await self.master.write(BASE + address + first, data, awid=number)
            assert written.resp == AxiResp.OKAY
            known[address] = known[address][:first] + data + known[address][first + len(data):]
            address = source.choice(list(known))
            answer = await self.master.read(BASE + address, 4, arid=number)
            assert (answer.resp, answer.data) == (AxiResp.OKAY, known[address])

    async def refused(self, address: int, beats: int, answer: AxiResp) -> None:
        """A write and a read, both to be answered with `answer`, that do not come through to the memory."""
        before = (self.memory.writes, self.memory.reads)
        written = await self.master.write(address, bytes(4 * beats))
        assert written.resp == answer
        read = await self.master.read(address, 4 * beats)
        assert (read.resp, len(read.data), any(read.data)) == (answer, 4 * beats, False)
        assert (self.memory.writes, self.memory.reads) == before

    def check_promises(self) -> None:
        assert self.dut.m_axi_broken.value == 0


@cocotb.test(**LIMIT)
@cocotb.parametrize(seed=[None, 1, 2])
async def single_accesses_at_once(dut: Any, seed: int | None) -> None:
    """Four programs at a time, on words of their own, so that commands queue up."""
    bench = Bench(dut)
    await bench.start(seed)
    source = random.Random(seed)
    await gather(*(bench.single(random.Random(source.random()), range(64 * n, 64 * n + 9)) for n in range(4)))
    assert bench.memory.writes >= 80
    assert bench.memory.reads == 80
    bench.check_promises()


@cocotb.test(**LIMIT)
@cocotb.parametrize(seed=[None, 3])
async def bursts_are_refused(dut: Any, seed: int | None) -> None:
    bench = Bench(dut)
    await bench.start(seed)
    source = random.Random(4)
    for beats in range(2, 17):
        await bench.refused(BASE + 4 * source.randrange(64), beats, AxiResp.SLVERR)
    await bench.single(source, range(3))
    bench.check_promises()


@cocotb.test(**LIMIT)
@cocotb.parametrize(seed=[None, 5])
async def other_addresses_are_refused(dut: Any, seed: int | None) -> None:
    bench = Bench(dut)
    await bench.start(seed)
    for address in (0x4000_0000, BASE - 4, BASE + 0x1000, 0x7FFF_F000):
        for beats in (1, 2, 16):
            await bench.refused(address & -64 if beats > 1 else address, beats, AxiResp.DECERR)
        await bench.single(random.Random(address), range(3))
    bench.check_promises()


@cocotb.test(**LIMIT)
async def errors_of_the_slave_come_through(dut: Any) -> None:
    bench = Bench(dut)
    await bench.start(6)
    assert (await bench.master.write(BASE + BROKEN_WORD, bytes(4))).resp == AxiResp.SLVERR
    assert (await bench.master.read(BASE + BROKEN_WORD, 4)).resp == AxiResp.SLVERR
    assert (bench.memory.writes, bench.memory.reads) == (1, 1)
    await bench.single(random.Random(7), range(1020, 1023))
    bench.check_promises()
