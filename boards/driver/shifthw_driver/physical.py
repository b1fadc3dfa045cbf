"""Physical memory and device files as 32-bit words. Every access is one aligned load or store of 32 bits."""

import mmap
import os
from pathlib import Path
from typing import Dict

import numpy as np

from .backend import PAGE
from .errors import NoHardware


class MappedWords:
    """A piece of a device file.

    path : /dev/mem, where `start` is a physical address, or /dev/uioN
    start : its first byte, a multiple of 4
    size : in bytes, a multiple of 4
    """

    def __init__(self, path: Path, start: int, size: int) -> None:
        self.size = size
        page = start - start % mmap.PAGESIZE
        try:
            handle = os.open(path, os.O_RDWR | os.O_SYNC)
            try:
                self._map = mmap.mmap(handle, start - page + size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE,
                                      offset=page)
            finally:
                os.close(handle)
        except (OSError, ValueError) as error:
            raise NoHardware(f"{path}: {size} bytes at {start:#x} cannot be mapped ({error}), "
                             f"{how_to_map(path, error)}") from None
        self._words = np.frombuffer(self._map, np.uint32, size // 4, start - page)

    def read(self, offset: int) -> int:
        """The word at a byte offset."""
        return int(self._words[self._index(offset)])

    def write(self, offset: int, value: int) -> None:
        """Stores a word at a byte offset."""
        self._words[self._index(offset)] = value

    def _index(self, offset: int) -> int:
        if offset % 4 or not 0 <= offset < self.size:
            raise ValueError(f"offset must be a multiple of 4 below {self.size:#x}, not {offset:#x}")
        return offset // 4

    def close(self) -> None:
        """Removes the mapping."""
        self._words = np.empty(0, np.uint32)
        self.size = 0
        self._map.close()


def how_to_map(device: Path, error: Exception) -> str:
    """What must be, and what to do, where a device file cannot be mapped because of `error`."""
    if os.geteuid() != 0:
        return "must be on a board's Linux: run as root"
    if device.name != "mem":
        return "must be on a board's Linux: see dmesg"
    if isinstance(error, FileNotFoundError):
        return "must be on a board's Linux: use a kernel with CONFIG_DEVMEM"
    return "must be allowed by the kernel, which forbids it (STRICT_DEVMEM): boot with iomem=relaxed, or use UIO"


class PhysicalMemory:
    """All of the physical address space, by /dev/mem; pages are mapped when first used.

    root : above /dev
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._path = root / "dev/mem"
        self._pages: Dict[int, MappedWords] = {}

    def read(self, address: int) -> int:
        """The word at a physical address."""
        return self._page(address).read(address % PAGE)

    def write(self, address: int, value: int) -> None:
        """Stores a word at a physical address."""
        self._page(address).write(address % PAGE, value)

    def _page(self, address: int) -> MappedWords:
        base = address - address % PAGE
        if base not in self._pages:
            self._pages[base] = MappedWords(self._path, base, PAGE)
        return self._pages[base]

    def close(self) -> None:
        """Removes all mappings."""
        while self._pages:
            self._pages.popitem()[1].close()
