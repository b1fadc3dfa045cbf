"""The engine on any Linux: fpga_manager, UIO or /dev/mem, u-dma-buf."""

import time
from pathlib import Path
from typing import Optional

from . import fpga_manager, udmabuf, uio
from .backend import PAGE, Backend, Buffer
from .bitstream import read as read_bitstream
from .errors import NoHardware
from .lock import EngineLock
from .physical import MappedWords, PhysicalMemory
from .processor import processor
from .settings import Settings


class LinuxBackend(Backend):
    """The engine of a board that runs Linux; needs root.

    settings : the board
    root : above /dev, /sys, /lib and /run
    """

    name = "Linux"

    def __init__(self, settings: Settings, root: Path = Path("/")) -> None:
        self._settings = settings
        self._root = root
        self._lock = EngineLock(root)
        self._physical = PhysicalMemory(root)
        self._processor = processor(settings.family, self._physical)
        self._registers: Optional[MappedWords] = None
        self._uio: Optional[uio.Uio] = None
        self._memory: Optional[udmabuf.UDmaBuf] = None

    def configure(self, bitstream: Optional[Path]) -> None:
        self._lock.take()
        self._close_registers()
        if bitstream is None:
            fpga_manager.require_operating(self._root)
        else:
            image = read_bitstream(bitstream)
            image.require(self._settings.part)
            fpga_manager.load(image, bitstream.with_name(fpga_manager.OVERLAY + ".dtbo"), self._root)
        self._processor.open_ports(self._settings.axi_data_bits)
        base, size = self._settings.control_base, self._settings.control_bytes
        self._uio = uio.find(self._root, base, size)
        self._registers = self._uio.registers if self._uio else MappedWords(self._root / "dev/mem", base, size)

    def set_clock(self, mhz: float) -> float:
        self._lock.take()
        return self._processor.set_clock(mhz)

    def clock_mhz(self) -> float:
        return self._processor.clock_mhz()

    def read(self, offset: int) -> int:
        return self._configured().read(offset)

    def write(self, offset: int, value: int) -> None:
        self._configured().write(offset, value)

    def allocate(self, size: int) -> Buffer:
        if self._memory is None:
            self._memory = self._open_memory(size)
        return self._memory.allocate(size)

    def wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        if self._uio:
            self._uio.wait(seconds)
        else:
            time.sleep(seconds)

    def now(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        self._close_registers()
        if self._memory:
            self._memory.close()
            self._memory = None
        self._physical.close()
        self._lock.release()

    def _configured(self) -> MappedWords:
        if self._registers is None:
            raise NoHardware("Linux: the registers are not mapped, must be after configure: call it first")
        return self._registers

    def _open_memory(self, size: int) -> udmabuf.UDmaBuf:
        memory = udmabuf.find(self._root)
        if memory is None:
            raise NoHardware(f"{self._root / 'dev/udmabuf0'}: is not there, must be a device of u-dma-buf of {size} "
                             f"bytes or more: {udmabuf.how_to_insert(size)}")
        if memory.address % PAGE or not self._settings.reaches(memory.address, memory.size):
            address, size = memory.address, memory.size
            memory.close()
            raise NoHardware(f"u-dma-buf: is {size} bytes at {address:#x}, must be whole pages within "
                             f"{self._settings.ddr_bytes:#x} from {self._settings.ddr_base:#x}: give it a "
                             "memory-region there")
        return memory

    def _close_registers(self) -> None:
        if self._uio:
            self._uio.close()
        elif self._registers:
            self._registers.close()
        self._uio = self._registers = None
