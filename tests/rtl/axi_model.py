"""Peers for the AXI tests: a memory that stalls at random, an AXI4-Lite master, stream ends."""

import random
from collections import deque
from collections.abc import Iterable
from typing import Any

from amaranth.hdl import ClockDomain, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

READ_ADDRESS = ("araddr", "arlen", "arsize", "arburst", "arcache", "arprot")
WRITE_ADDRESS = ("awaddr", "awlen", "awsize", "awburst", "awcache", "awprot")
WRITE_DATA = ("wdata", "wstrb", "wlast")


def run(dut: wiring.Component, *, bench: Any, background: Iterable[Any] = (), limit: int = 20_000) -> None:
    """Simulates until `bench` returns; fails after `limit` cycles."""

    async def watchdog(ctx):
        await ctx.delay(limit * 1e-6)
        raise AssertionError(f"not done after {limit} cycles")

    top = Module()
    top.domains.sync = ClockDomain()
    top.submodules.dut = dut
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    for process in (*background, watchdog):
        simulator.add_testbench(process, background=True)
    simulator.run()


class Stable:
    """AXI's rule: what is offered stays, unchanged, until it is taken."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.offered: tuple[int, ...] | None = None

    def check(self, valid: int, ready: int, payload: tuple[int, ...]) -> bool:
        """Whether there is a transfer in this cycle."""
        if self.offered is not None:
            assert valid and payload == self.offered, f"{self.name}: withdrawn or changed"
        self.offered = payload if valid and not ready else None
        return bool(valid and ready)


class AxiMemory:
    """The slave behind an AXI4 master; every channel stalls with probability `stall` per cycle.

    `order` is what a slave may wait for: "any" nothing, "address" takes data only after the burst's address,
    "data" takes an address only while its first data are offered or were taken.
    """

    def __init__(self, bus: Any, data_bits: int, *, seed: int, stall: float = 0.3, order: str = "any") -> None:
        self.bus, self.bytes, self.stall, self.order = bus, data_bits // 8, stall, order
        self.random = random.Random(seed)
        self.memory: dict[int, int] = {}
        self.read_faults: set[int] = set()
        self.write_faults: set[int] = set()
        self.read_bursts: list[tuple[int, int]] = []
        self.write_bursts: list[tuple[int, int]] = []
        self.open_reads: deque[list[int]] = deque()
        self.addresses: deque[tuple[int, int]] = deque()
        self.beats: deque[tuple[int, int, int]] = deque()
        self.responses: deque[int] = deque()
        self.most_reads = self.most_writes = 0

    def load(self, address: int, content: bytes) -> None:
        self.memory.update(enumerate(content, address))

    def dump(self, address: int, count: int) -> bytes:
        return bytes(self.memory.get(address + k, 0) for k in range(count))

    @property
    def idle(self) -> bool:
        """No transaction is on its way."""
        return not (self.open_reads or self.addresses or self.beats or self.responses)

    def _go(self) -> bool:
        return self.random.random() >= self.stall

    def _check_burst(self, address: int, length: int, size: int, burst: int, cache: int, prot: int) -> None:
        assert 1 << size == self.bytes and burst == 1 and cache == 3 and prot == 0
        assert address % self.bytes == 0 and length < 16
        assert address // 4096 == (address + (length + 1) * self.bytes - 1) // 4096, "crosses 4 KiB"

    async def reads(self, ctx: Any) -> None:
        """The read channels, for add_testbench."""
        bus, address = self.bus, Stable("AR")
        shown: list[int] | None = None
        while True:
            ready = self._go()
            ctx.set(bus.arready, ready)
            if shown is None and self.open_reads and self._go():
                shown = self.open_reads[0]
                word = int.from_bytes(self.dump(shown[0], self.bytes), "little")
                ctx.set(bus.rdata, word)
                ctx.set(bus.rresp, 2 if shown[0] in self.read_faults else 0)
                ctx.set(bus.rlast, shown[1] == 0)
            ctx.set(bus.rvalid, shown is not None)
            _, _, valid, taken, *payload = await ctx.tick().sample(
                bus.arvalid, bus.rready, *(getattr(bus, name) for name in READ_ADDRESS))
            if shown is not None and taken:
                shown[0] += self.bytes
                shown[1] -= 1
                if shown[1] < 0:
                    self.open_reads.popleft()
                shown = None
            if address.check(valid, ready, tuple(payload)):
                self._check_burst(*payload)
                self.read_bursts.append((payload[0], payload[1] + 1))
                self.open_reads.append(payload[:2])
                self.most_reads = max(self.most_reads, len(self.open_reads))

    async def writes(self, ctx: Any) -> None:
        """The write channels, for add_testbench."""
        bus, address, beat = self.bus, Stable("AW"), Stable("W")
        valid = data_valid = 0
        showing = False
        while True:
            # A ready that depends on the other channel's valid looks at the cycle before.
            address_ready = self._go() and (self.order != "data" or bool(data_valid or self.beats))
            data_ready = self._go() and (self.order != "address" or bool(self.addresses))
            ctx.set(bus.awready, address_ready)
            ctx.set(bus.wready, data_ready)
            if not showing and self.responses and self._go():
                showing = True
                ctx.set(bus.bresp, self.responses[0])
            ctx.set(bus.bvalid, showing)
            sampled = await ctx.tick().sample(
                bus.awvalid, bus.wvalid, bus.bready, *(getattr(bus, n) for n in WRITE_ADDRESS + WRITE_DATA))
            _, _, valid, data_valid, taken, *payload = sampled
            if showing and taken:
                self.responses.popleft()
                showing = False
            if address.check(valid, address_ready, tuple(payload[:6])):
                self._check_burst(*payload[:6])
                self.write_bursts.append((payload[0], payload[1] + 1))
                self.addresses.append((payload[0], payload[1] + 1))
            if beat.check(data_valid, data_ready, tuple(payload[6:])):
                self.beats.append(tuple(payload[6:]))
            self.most_writes = max(self.most_writes, len(self.addresses) + len(self.responses))
            self._complete()

    def _complete(self) -> None:
        while self.addresses and len(self.beats) >= self.addresses[0][1]:
            address, count = self.addresses.popleft()
            faulty = False
            for k in range(count):
                word, strobe, last = self.beats.popleft()
                assert bool(last) == (k == count - 1), "wlast in the wrong place"
                for byte in range(self.bytes):
                    if strobe >> byte & 1:
                        self.memory[address + byte] = word >> 8 * byte & 0xFF
                faulty |= address in self.write_faults
                address += self.bytes
            self.responses.append(2 if faulty else 0)


class LiteMaster:
    """An AXI4-Lite master; address and data of a write arrive up to `skew` cycles apart."""

    def __init__(self, bus: Any, *, seed: int = 1, skew: int = 0) -> None:
        self.bus, self.skew = bus, skew
        self.random = random.Random(seed)

    async def write(self, ctx: Any, address: int, value: int, strobe: int = 0b1111) -> int:
        """The response."""
        bus = self.bus
        waits = {"aw": self.random.randint(0, self.skew), "w": self.random.randint(0, self.skew)}
        respond = self.random.randint(0, self.skew)
        ctx.set(bus.awaddr, address)
        ctx.set(bus.wdata, value)
        ctx.set(bus.wstrb, strobe)
        while True:
            for name, wait in waits.items():
                ctx.set(getattr(bus, name + "valid"), wait == 0)
            ctx.set(bus.bready, respond == 0)
            names = list(waits)
            _, _, answered, response, *ready = await ctx.tick().sample(
                bus.bvalid, bus.bresp, *(getattr(bus, name + "ready") for name in names))
            for name, taken in zip(names, ready, strict=True):
                if waits[name] == 0 and taken:
                    del waits[name]
                    ctx.set(getattr(bus, name + "valid"), 0)
                else:
                    waits[name] = max(0, waits[name] - 1)
            if answered and not respond:
                ctx.set(bus.bready, 0)
                return response
            respond = max(0, respond - answered)

    async def read_response(self, ctx: Any, address: int) -> tuple[int, int]:
        """(data, response)."""
        bus = self.bus
        ctx.set(bus.araddr, address)
        ctx.set(bus.arvalid, 1)
        while not (await ctx.tick().sample(bus.arready))[2]:
            pass
        ctx.set(bus.arvalid, 0)
        for _ in range(self.random.randint(0, self.skew)):
            await ctx.tick()
        ctx.set(bus.rready, 1)
        while True:
            _, _, valid, value, response = await ctx.tick().sample(bus.rvalid, bus.rdata, bus.rresp)
            if valid:
                ctx.set(bus.rready, 0)
                return value, response

    async def read(self, ctx: Any, address: int) -> int:
        value, response = await self.read_response(ctx, address)
        assert response == 0
        return value


async def send(ctx: Any, stream: Any, payload: Any, rest: random.Random | None = None, stall: float = 0.0) -> None:
    """One payload into a stream, after a rest of random length."""
    while rest is not None and rest.random() < stall:
        await ctx.tick()
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    await ctx.tick().until(stream.ready)
    ctx.set(stream.valid, 0)


async def receive(ctx: Any, stream: Any, rest: random.Random | None = None, stall: float = 0.0) -> Any:
    """One payload out of a stream, after a rest of random length."""
    while rest is not None and rest.random() < stall:
        await ctx.tick()
    ctx.set(stream.ready, 1)
    payload, = await ctx.tick().sample(stream.payload).until(stream.valid)
    ctx.set(stream.ready, 0)
    return payload
