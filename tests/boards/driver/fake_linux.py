"""A board's Linux as a tree of regular files: /dev/mem, UIO and u-dma-buf can be mapped, sysfs can be read."""

import os
import struct
from pathlib import Path

from shifthw_driver.bitstream import MAGIC, SYNC
from shifthw_driver.processor import Zynq7000, ZynqUltraScale
from shifthw_driver.settings import Settings

ZC706 = Settings(board="zc706", family="xc7", part="xc7z045ffg900-2", control_base=0x43C00000, control_bytes=0x1000,
                 axi_data_bits=64, clock_mhz=200.0, ddr_base=0, ddr_bytes=1 << 30, bitstream="shifthw.bit")
ULTRA96 = Settings(board="ultra96v2", family="xcup", part="xczu3eg-sbva484-1-i", control_base=0xA0000000,
                   control_bytes=0x1000, axi_data_bits=128, clock_mhz=250.0, ddr_base=0, ddr_bytes=1 << 31,
                   bitstream="shifthw.bit")

BOOTED = {
    "xc7": {Zynq7000.IO_PLL: 30 << 12, Zynq7000.CLOCK: 1 << 20 | 20 << 8, Zynq7000.LEVEL_SHIFTERS: 0xF,
            Zynq7000.AFI0_READ: 1, Zynq7000.AFI0_WRITE: 0xF01},
    "xcup": {ZynqUltraScale.IO_PLL: 45 << 8, ZynqUltraScale.CLOCK: 1 << 24 | 1 << 16 | 15 << 8,
             ZynqUltraScale.AFIFM2_READ: 2, ZynqUltraScale.AFIFM2_WRITE: 0xB2},
}
"""The processor's registers as a boot loader left them that made the memory ports 32 bits wide."""

WORDS = bytes(range(16)) + SYNC + bytes(range(44))


def bit(part: str) -> bytes:
    """A .bit file."""
    name = part.encode() + b"\0"
    return MAGIC + b"b" + struct.pack(">H", len(name)) + name + b"e" + struct.pack(">I", len(WORDS)) + WORDS


class FakeLinux:
    """The tree; `add_...` put devices into it."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.settings = settings
        self.bitstream = root / "home" / settings.bitstream
        self.file("home/shifthw.bit", bit(settings.part))
        self.manager = root / "sys/class/fpga_manager/fpga0"
        self.file("sys/class/fpga_manager/fpga0/state", "operating\n")
        self.file("sys/class/fpga_manager/fpga0/flags", "")
        self.file("sys/class/fpga_manager/fpga0/firmware", "")
        os.truncate(self.file("dev/mem", b""), 1 << 32)
        (root / "run/lock").mkdir(parents=True)
        for address, value in BOOTED[settings.family].items():
            self.poke(address, value)

    def file(self, path: str, content: "str | bytes") -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def peek(self, address: int) -> int:
        """A word of /dev/mem."""
        with (self.root / "dev/mem").open("rb") as memory:
            memory.seek(address)
            return int.from_bytes(memory.read(4), "little")

    def poke(self, address: int, value: int) -> None:
        with (self.root / "dev/mem").open("r+b") as memory:
            memory.seek(address)
            memory.write(value.to_bytes(4, "little"))

    def add_uio(self, number: int, address: int, size: int = 0x1000) -> Path:
        folder = f"sys/class/uio/uio{number}"
        self.file(f"{folder}/name", "shifthw\n")
        self.file(f"{folder}/maps/map0/addr", f"0x{address:016x}\n")
        self.file(f"{folder}/maps/map0/size", f"0x{size:016x}\n")
        return self.file(f"dev/uio{number}", bytes(size))

    def add_udmabuf(self, size: int, address: int = 0x1E900000, number: int = 0, kind: str = "u-dma-buf",
                    coherent: "int | None" = 0) -> Path:
        """The folder with its attributes; its memory is not zero at first."""
        folder = f"sys/class/{kind}/udmabuf{number}"
        self.file(f"{folder}/phys_addr", f"0x{address:08x}\n")
        self.file(f"{folder}/size", f"{size}\n")
        self.file(f"{folder}/sync_mode", "5\n")
        if coherent is not None:
            self.file(f"{folder}/dma_coherent", f"{coherent}\n")
        self.file(f"dev/udmabuf{number}", b"\xEE" * size)
        return self.root / folder
