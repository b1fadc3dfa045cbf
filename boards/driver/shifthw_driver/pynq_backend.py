"""The engine on a PYNQ image.

PYNQ loads the bitstream and gives memory. The clock and the ports are set by processor.py through pynq.MMIO:
pynq.Clocks takes every Zynq-7000's reference clock for 50 MHz, which is wrong on the ZC706, and PYNQ sets port widths
only where a .hwh is beside the bitstream. There is no ready PYNQ image for the ZC706; one must be built for it.
"""

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

from . import fpga_manager
from .backend import PAGE, Backend, Buffer
from .bitstream import read as read_bitstream
from .errors import NoHardware
from .lock import EngineLock
from .physical import how_to_map
from .processor import processor
from .settings import Settings
from .udmabuf import lines

LOGIN_SHELL = "start it in a login shell, or set XILINX_XRT=/usr"


def environment(root: Path = Path("/")) -> Optional[Path]:
    """The Python of PYNQ's environment, which images since 2.7 have; None: there is none.

    root : above /usr
    """
    python = root / "usr/local/share/pynq-venv/bin/python3"
    return python if python.exists() else None


class PynqBuffer(Buffer):
    """Memory from pynq.allocate. PYNQ frees it when nobody has the array any more.

    held : buffers that are not freed yet; this one is among them until then
    """

    def __init__(self, array: Any, held: List["PynqBuffer"]) -> None:
        self._array = array
        self.address = int(array.device_address)
        self.data = array.view(np.ndarray)
        self._held = held
        held.append(self)

    def to_device(self, size: int) -> None:
        if self.data.size and size:
            self._array[:lines(size, self.data.size)].flush()

    def from_device(self, size: int) -> None:
        if self.data.size and size:
            self._array[:lines(size, self.data.size)].invalidate()

    def free(self) -> None:
        if self._array is not None:
            self.data = np.empty(0, np.uint8)
            self._array = None
            self._held.remove(self)


class PynqBackend(Backend):
    """The engine of a board that runs a PYNQ image; needs root and PYNQ's Python environment.

    settings : the board
    root : above /sys, /usr and /run
    """

    name = "PYNQ"

    def __init__(self, settings: Settings, root: Path = Path("/")) -> None:
        try:
            self._pynq = importlib.import_module("pynq")
        except Exception as error:
            raise NoHardware(f"PYNQ: cannot be imported ({_line(error)}), must be installed: {_how_to_import(root)}"
                             ) from error
        self._settings = settings
        self._root = root
        self._lock = EngineLock(root)
        self._mapped = _PynqMemory(self._pynq)
        self._processor = processor(settings.family, self._mapped)
        self._registers: Any = None
        self._buffers: List[PynqBuffer] = []

    def configure(self, bitstream: Optional[Path]) -> None:
        self._lock.take()
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
            raise NoHardware(f"{bitstream}: PYNQ does not load it ({_line(error)}), "
                             f"{_remedy(error, 'must be loaded: run as root; see dmesg')}") from error

    def set_clock(self, mhz: float) -> float:
        self._lock.take()
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
            buffer = PynqBuffer(self._pynq.allocate(shape=(size,), dtype=np.uint8, cacheable=True), self._buffers)
        except Exception as error:
            remedy = _remedy(error, "must have room for them: load the bitstream with this driver, free other buffers, "
                             "or give the kernel a larger cma=")
            raise NoHardware(f"PYNQ: cannot allocate {size} bytes ({_line(error)}), {remedy}") from error
        if buffer.address % PAGE or not self._settings.reaches(buffer.address, size):
            address = buffer.address
            buffer.free()
            raise NoHardware(f"PYNQ: {size} bytes are at {address:#x}, must be whole pages within "
                             f"{self._settings.ddr_bytes:#x} from {self._settings.ddr_base:#x}: free other buffers")
        buffer.data[:] = 0
        buffer.to_device(size)
        return buffer

    def wait(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def now(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        for buffer in list(self._buffers):
            buffer.free()
        self._registers = None
        self._lock.release()

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
        raise NoHardware(f"PYNQ: {size} bytes at {base:#x} cannot be mapped ({_line(error)}), "
                         f"{_remedy(error, how_to_map(Path('/dev/mem'), error))}") from error


def _word(offset: int) -> int:
    if offset % 4 or offset < 0:
        raise ValueError(f"offset must be a multiple of 4 from 0, not {offset:#x}")
    return offset // 4


def _how_to_import(root: Path) -> str:
    python, variable = environment(root), "XILINX_XRT" in os.environ
    if python and Path(sys.prefix) != python.parents[1]:
        return f"start the driver with {python}{'' if variable else ' and XILINX_XRT=/usr'}"
    if python and not variable:
        return LOGIN_SHELL
    return "use a PYNQ image, as root in its Python environment, or use the Linux backend; the ZC706 has no ready image"


def _remedy(error: Exception, otherwise: str) -> str:
    """What must be, and what to do. PYNQ does not even look for devices without a variable that login shells set."""
    if "no devices found" in str(error).lower() and "XILINX_XRT" not in os.environ:
        return f"must find the board's: {LOGIN_SHELL}"
    return otherwise


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
