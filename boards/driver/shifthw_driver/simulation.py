"""A simulated engine in another process, `shifthw serve`: registers over a local socket, memory as a shared file.

A request is a line, so is the answer: `ok` and numbers, or `failure` and why.

    read OFFSET             ok VALUE
    write OFFSET VALUE      ok
    wait CYCLES             ok              less if the interrupt rises
    cycles                  ok CYCLES       clock cycles so far
    reset                   ok              as loading the bitstream does
    memory                  ok ADDRESS BYTES PATH
    fault NAME VALUE        ok              for tests: what the memory does wrong from now on
"""

import mmap
import socket
from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np

from .backend import PAGE, Backend, Buffer
from .errors import DriverError, NoHardware

LONGEST_WAIT = 1_000_000
"""Cycles of a `wait`: the server cannot be interrupted meanwhile."""


class SharedBuffer(Buffer):
    """A part of the simulated memory; there is no cache between."""

    def __init__(self, memory: "SharedMemory", start: int, size: int) -> None:
        self._memory, self._place = memory, (start, size)
        self.address = memory.address + start
        self.data = memory.data[start:start + size]

    def to_device(self, size: int) -> None:
        """Nothing to do."""

    def from_device(self, size: int) -> None:
        """Nothing to do."""

    def free(self) -> None:
        """Gives the pages back."""
        self._memory.free(self._place)


class SharedMemory:
    """The file that stands for the memory, and which of its pages are taken."""

    def __init__(self, address: int, size: int, path: Path) -> None:
        self.address = address
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self.data = np.frombuffer(self._map, np.uint8)
        self._taken: List[Tuple[int, int]] = []

    def allocate(self, size: int) -> SharedBuffer:
        """The first gap of enough pages, one page behind it left alone so that the engine's mistakes are noticed."""
        need = -(-size // PAGE) * PAGE
        start = 0
        for taken, length in sorted(self._taken):
            if start + need + PAGE <= taken:
                break
            start = taken + length + PAGE
        if start + need > len(self.data):
            raise NoHardware(f"simulation: {size:,} bytes are not free in the memory of {len(self.data):,}, must be: "
                             "start `shifthw serve` with more --memory")
        self._taken.append((start, need))
        self.data[start:start + need] = 0
        return SharedBuffer(self, start, need)

    def free(self, place: Tuple[int, int]) -> None:
        """Takes back what `allocate` gave."""
        self._taken.remove(place)


class SimulationBackend(Backend):
    """The engine that serves the socket at `path`."""

    name = "simulation"
    late_seconds = 0.0
    shortest_wait = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connect()
        self._mhz: Optional[float] = None
        address, size, file = self.ask("memory").split(" ", 2)
        self._memory = SharedMemory(int(address), int(size), Path(file))

    def _connect(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(self._path))
        except OSError as error:
            self._socket.close()
            raise NoHardware(f"{self._path}: must be the socket of a running `shifthw serve` ({error.strerror}): start "
                             "one with --socket") from None
        self._lines = self._socket.makefile("r", encoding="utf-8", newline="\n")

    def ask(self, request: str) -> str:
        """The answer to a request; DriverError if the simulator refuses it or is gone."""
        try:
            self._socket.sendall(request.encode() + b"\n")
            answer = self._lines.readline().rstrip("\n")
        except OSError as error:
            answer = f"failure {error.strerror}"
        except BaseException:       # an interrupt: the answer under way would be taken for that of the next request
            self.close()
            self._connect()
            raise
        verdict, _, rest = answer.partition(" ")
        if verdict != "ok":
            raise DriverError(f"simulation: {rest or 'the simulator is gone'}: start `shifthw serve` again")
        return rest

    def configure(self, bitstream: Optional[Path]) -> None:
        """Resets the engine, if there would be a bitstream to load."""
        if bitstream is not None:
            self.ask("reset")

    def set_clock(self, mhz: float) -> float:
        """Any clock: it only says how long a cycle is."""
        self._mhz = mhz
        return mhz

    def clock_mhz(self) -> float:
        """What was set."""
        if self._mhz is None:
            raise DriverError("simulation: the clock must be set before it is asked for")
        return self._mhz

    def read(self, offset: int) -> int:
        """A register, in a few cycles."""
        return int(self.ask(f"read {int(offset)}"))

    def write(self, offset: int, value: int) -> None:
        """A register, in a few cycles."""
        self.ask(f"write {int(offset)} {int(value)}")

    def allocate(self, size: int) -> Buffer:
        """Pages of the shared file."""
        return self._memory.allocate(size)

    def wait(self, seconds: float) -> None:
        """Simulates so many cycles."""
        cycles = max(1, round(seconds * self.clock_mhz() * 1e6))
        self.ask(f"wait {min(cycles, LONGEST_WAIT)}")

    def now(self) -> float:
        """Simulated seconds."""
        return int(self.ask("cycles")) / (self.clock_mhz() * 1e6)

    def close(self) -> None:
        """Leaves the server; the next driver may come."""
        self._lines.close()
        self._socket.close()
