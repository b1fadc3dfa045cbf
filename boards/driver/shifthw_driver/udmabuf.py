"""Memory shared with the engine, from the kernel module u-dma-buf: one device, cut into buffers.

The processor maps it cached; a cache line goes to memory, or is dropped, where a buffer is handed over.
"""

import contextlib
import mmap
import os
from pathlib import Path
from typing import List, Optional, Tuple

import numpy as np

from .backend import PAGE, Buffer
from .errors import NoHardware

CLASSES = ("u-dma-buf", "udmabuf")
"""Its class in /sys, and what the module was called before 2020."""

TO_DEVICE, FROM_DEVICE = 1, 2
LINE = 64
"""Bytes of the largest cache line of the boards' processors; ranges are multiples of 16."""


class UDmaBuffer(Buffer):
    """A piece of a u-dma-buf device."""

    def __init__(self, memory: "UDmaBuf", offset: int, data: np.ndarray) -> None:
        self.address = memory.address + offset
        self.data = data
        self._memory = memory
        self._offset = offset

    def to_device(self, size: int) -> None:
        self._memory.sync("sync_for_device", self._offset, lines(size, self.data.size), TO_DEVICE)

    def from_device(self, size: int) -> None:
        self._memory.sync("sync_for_cpu", self._offset, lines(size, self.data.size), FROM_DEVICE)

    def free(self) -> None:
        size, self.data = self.data.size, np.empty(0, np.uint8)
        if size:
            self._memory.release(self._offset, size)


class UDmaBuf:
    """A u-dma-buf device.

    attributes : its folder in /sys/class
    device : its file in /dev
    address, size : the memory, physical, in bytes
    """

    def __init__(self, attributes: Path, device: Path) -> None:
        self._attributes = attributes
        try:
            self.address = int((attributes / "phys_addr").read_text(), 16)
            self.size = int((attributes / "size").read_text()) // PAGE * PAGE
            coherent = attributes / "dma_coherent"
            self._coherent = coherent.exists() and int(coherent.read_text()) != 0
            (attributes / "sync_mode").write_text("1")  # cached, as it is opened without O_SYNC
            handle = os.open(device, os.O_RDWR)
            try:
                self._map = mmap.mmap(handle, self.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            finally:
                os.close(handle)
        except (OSError, ValueError) as error:
            raise NoHardware(f"{device}: cannot be used ({error}), must be of u-dma-buf: run as root") from None
        self._data = np.frombuffer(self._map, np.uint8)
        self._holes: List[Tuple[int, int]] = [(0, self.size)]
        self._buffers: List[UDmaBuffer] = []

    def allocate(self, size: int) -> UDmaBuffer:
        """A buffer of at least `size` bytes, whole pages, zeroed in memory; NoHardware if no hole is large enough."""
        size = pages(size)
        for index, (offset, room) in enumerate(self._holes):
            if room >= size:
                self._holes[index:index + 1] = [(offset + size, room - size)] if room > size else []
                break
        else:
            used = self.size - sum(room for _, room in self._holes)
            raise NoHardware(f"{self._attributes.name}: has no {size} bytes in one piece ({used} of {self.size} are in "
                             f"use): rmmod u-dma-buf, then {how_to_insert(used + size)}")
        buffer = UDmaBuffer(self, offset, self._data[offset:offset + size])
        self._buffers.append(buffer)
        buffer.data[:] = 0
        buffer.to_device(size)
        return buffer

    def release(self, offset: int, size: int) -> None:
        """Takes a buffer's memory back."""
        self._buffers = [buffer for buffer in self._buffers if buffer.data.size]
        merged: List[Tuple[int, int]] = []
        for start, room in sorted([*self._holes, (offset, size)]):
            if merged and sum(merged[-1]) == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + room)
            else:
                merged.append((start, room))
        self._holes = merged

    def sync(self, attribute: str, offset: int, size: int, direction: int) -> None:
        """Hands a range over; `attribute` is "sync_for_device" or "sync_for_cpu". Nothing if the port is coherent."""
        if self._coherent or not size:
            return
        try:
            (self._attributes / attribute).write_text(f"0x{offset:08X}{size & ~0xF | direction << 2 | 1:08X}")
        except OSError as error:
            raise NoHardware(f"{self._attributes / attribute}: does not take a range ({error}): use a newer "
                             "u-dma-buf") from None

    def close(self) -> None:
        """Takes all buffers back and unmaps."""
        for buffer in list(self._buffers):
            buffer.free()
        self._data = np.empty(0, np.uint8)
        with contextlib.suppress(BufferError):  # who still has a view of a buffer keeps the mapping
            self._map.close()


def find(root: Path) -> Optional[UDmaBuf]:
    """The largest device of u-dma-buf; None: there is none."""
    found = [folder for name in CLASSES for folder in (root / "sys/class" / name).glob("*")]
    if not found:
        return None
    largest = max(found, key=lambda folder: int((folder / "size").read_text()))
    return UDmaBuf(largest, root / "dev" / largest.name)


def pages(size: int) -> int:
    """`size` bytes, rounded up to whole pages, at least one."""
    return max(1, -(-size // PAGE)) * PAGE


def lines(size: int, room: int) -> int:
    """`size` bytes, rounded up to whole cache lines, of at most `room` bytes."""
    return min(-(-size // LINE) * LINE, room)


def how_to_insert(size: int) -> str:
    """What to type for a device of `size` bytes."""
    return f"insmod u-dma-buf.ko udmabuf0={pages(size)}"
