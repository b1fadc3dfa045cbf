"""The engine on a PYNQ image.

PYNQ loads the bitstream and gives memory. The clock and the ports are set by processor.py through pynq.MMIO:
pynq.Clocks takes every Zynq-7000's reference clock for 50 MHz, which is wrong on the ZC706, and PYNQ sets port widths
only where a .hwh is beside the bitstream. There is no ready PYNQ image for the ZC706; one must be built for it.
"""

import importlib
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

from . import fpga_manager
from .backend import PAGE, Backend, Buffer
from .bitstream import read as read_bitstream
from .errors import NoHardware
from .processor import processor
from .settings import Settings


class PynqBuffer(Buffer):
    """Memory from pynq.allocate."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.address = int(array.device_address)
        self.data = array.view(np.ndarray)

    def to_device(self) -> None:
        self._array.flush()

    def from_device(self) -> None:
        self._array.invalidate()

    def free(self) -> None:
        if self.data.size:
            self.data = np.empty(0, np.uint8)
            self._array.freebuffer()


class PynqBackend(Backend):
    """The engine of a board that runs a PYNQ image; needs root and PYNQ's Python environment.

    settings : the board
    root : above /sys
    """

    name = "PYNQ"

    def __init__(self, settings: Settings, root: Path = Path("/")) -> None:
        try:
            self._pynq = importlib.import_module("pynq")
        except ImportError as error:
            raise NoHardware(f"PYNQ: cannot be imported ({error}), must be installed: use a PYNQ image, as root in "
                             "its Python environment, or use the Linux backend; the ZC706 has no ready image") from None
        self._settings = settings
        self._root = root
        self._mapped = _PynqMemory(self._pynq)
        self._processor = processor(settings.family, self._mapped)
        self._registers: Any = None
        self._buffers: List[PynqBuffer] = []

    def configure(self, bitstream: Optional[Path]) -> None:
        self._registers = None
        if bitstream is None:
            fpga_manager.require_operating(self._root)
        else:
            read_bitstream(bitstream).require(self._settings.part)
            self._download(bitstream)
        self._processor.open_ports(self._settings.axi_data_bits)
        self._registers = _map(self._pynq, self._settings.control_base, self._settings.control_bytes)

    def _download(self, bitstream: Path) -> None:
        try:
            if bitstream.with_suffix(".hwh").is_file():
                self._pynq.Overlay(str(bitstream.resolve()), download=True)
            else:
                self._pynq.Bitstream(str(bitstream.resolve())).download()
        except Exception as error:
            raise NoHardware(f"{bitstream}: PYNQ does not load it ({_line(error)}): run as root; see dmesg") from error

    def set_clock(self, mhz: float) -> float:
        return self._processor.set_clock(mhz)

    def clock_mhz(self) -> float:
        return self._processor.clock_mhz()

    def read(self, offset: int) -> int:
        return int(self._configured()[_word(offset)])

    def write(self, offset: int, value: int) -> None:
        self._configured()[_word(offset)] = value

    def allocate(self, size: int) -> Buffer:
        size = max(1, -(-size // PAGE)) * PAGE
        try:
            array = self._pynq.allocate(shape=(size,), dtype=np.uint8, cacheable=True)
        except Exception as error:
            raise NoHardware(f"PYNQ: cannot allocate {size} bytes ({_line(error)}): load the bitstream with this "
                             "driver, free other buffers, or give the kernel a larger cma=") from error
        buffer = PynqBuffer(array)
        if buffer.address % PAGE or not self._settings.reaches(buffer.address, size):
            address = buffer.address
            buffer.free()
            raise NoHardware(f"PYNQ: {size} bytes are at {address:#x}, must be whole pages within "
                             f"{self._settings.ddr_bytes:#x} from {self._settings.ddr_base:#x}: free other buffers")
        self._buffers.append(buffer)
        buffer.data[:] = 0
        buffer.to_device()
        return buffer

    def wait(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def now(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        for buffer in self._buffers:
            buffer.free()
        self._buffers = []
        self._registers = None

    def _configured(self) -> Any:
        if self._registers is None:
            raise NoHardware("PYNQ: the registers are not mapped, must be after configure: call it first")
        return self._registers


class _PynqMemory:
    """processor.AddressSpace by pynq.MMIO."""

    def __init__(self, pynq: Any) -> None:
        self._pynq = pynq
        self._pages: Dict[int, Any] = {}

    def read(self, address: int) -> int:
        return int(self._page(address)[_word(address % PAGE)])

    def write(self, address: int, value: int) -> None:
        self._page(address)[_word(address % PAGE)] = value

    def _page(self, address: int) -> Any:
        base = address - address % PAGE
        if base not in self._pages:
            self._pages[base] = _map(self._pynq, base, PAGE)
        return self._pages[base]


def _map(pynq: Any, base: int, size: int) -> Any:
    """uint32[size / 4], each element one access. MMIO.read differs between PYNQ's releases, .array does not."""
    try:
        return pynq.MMIO(base, size).array
    except Exception as error:
        raise NoHardware(f"PYNQ: {size} bytes at {base:#x} cannot be mapped ({_line(error)}): run as root") from error


def _word(offset: int) -> int:
    if offset % 4 or offset < 0:
        raise ValueError(f"offset must be a multiple of 4 from 0, not {offset:#x}")
    return offset // 4


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
