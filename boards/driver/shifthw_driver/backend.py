"""What the driver needs of a system: registers, memory that the engine reaches, the bitstream, the clock, the time.

All above this interface is the same on PYNQ, on plain Linux and on a simulated engine.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Optional

import numpy as np

PAGE = 4096
"""Buffers begin and end at a multiple of this."""
CLOCK_TOLERANCE = 0.005
"""How far, relative, a clock may be from the one that is asked for: no further than rounding makes it. A design need
not work at a faster one."""


class Buffer(ABC):
    """Physically contiguous memory that the processor and the engine share.

    address : where the engine finds it, a multiple of PAGE below 2**32
    data : uint8[size], the processor's view of it
    """

    address: int
    data: np.ndarray

    @abstractmethod
    def to_device(self, size: int) -> None:
        """After the processor wrote to the first `size` bytes of `data`, before the engine reads or writes them: cached
        writes go to memory."""

    @abstractmethod
    def from_device(self, size: int) -> None:
        """After the engine wrote, before the processor reads the first `size` bytes: stale cache lines are dropped."""

    @abstractmethod
    def free(self) -> None:
        """Gives the memory back; `data` must not be used any more."""


class Backend(ABC):
    """One engine. Use it as a context manager: leaving it calls `close`.

    name : for people
    late_seconds : how late the driver may notice that the engine is done, in seconds of `now`
    shortest_wait : seconds below which `wait` would take longer than asked; registers are read at once instead
    """

    name: str
    late_seconds: float = 1.0
    shortest_wait: float = 200e-6

    def __enter__(self) -> "Backend":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def configure(self, bitstream: Optional[Path]) -> None:
        """Loads the bitstream (a .bit file; None: what is loaded stays), and sets the widths of the processor's ports.
        Registers can be used afterwards. NoHardware if that cannot be done."""

    @abstractmethod
    def set_clock(self, mhz: float) -> float:
        """Sets the engine's clock to the fastest that the processor offers up to 0.5 % above `mhz`, or to its slowest;
        what it reads back, in MHz."""

    @abstractmethod
    def clock_mhz(self) -> float:
        """The engine's clock as it is set, read back, in MHz."""

    @abstractmethod
    def read(self, offset: int) -> int:
        """A 32-bit register, by its byte offset."""

    @abstractmethod
    def write(self, offset: int, value: int) -> None:
        """Writes a 32-bit register."""

    @abstractmethod
    def allocate(self, size: int) -> Buffer:
        """A buffer of at least `size` bytes, zeroed. NoHardware if there is no such memory left."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Lets the engine work for about so long, by `now`; less if it raises its interrupt."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since some point, as the engine sees them: the simulated ones in a simulation."""

    @abstractmethod
    def close(self) -> None:
        """Gives back what is open. The bitstream stays loaded."""
