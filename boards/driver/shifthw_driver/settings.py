"""What the driver must know of the board that a build is for."""

from dataclasses import dataclass, fields
from typing import Any, Mapping

from .backend import PAGE
from .errors import BadFolder

WIDTHS = {"xc7": (32, 64), "xcup": (32, 64, 128)}
"""Widths of the processor's high-performance ports, in bits, by family."""


@dataclass(frozen=True)
class Settings:
    """The "hardware" object of driver.json.

    board : its name, for people
    family : "xc7" (Zynq-7000) or "xcup" (Zynq UltraScale+)
    part : Vivado part that the bitstream must be for
    control_base, control_bytes : the engine's registers, physical
    axi_data_bits : width of the engine's memory port
    clock_mhz : the clock that the build is meant for
    ddr_base, ddr_bytes : the memory that the engine reaches, physical
    bitstream : file name of the .bit, in the driver's folder
    """

    board: str
    family: str
    part: str
    control_base: int
    control_bytes: int
    axi_data_bits: int
    clock_mhz: float
    ddr_base: int
    ddr_bytes: int
    bitstream: str

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Settings":
        """From an object whose keys are exactly the fields; BadFolder if a value is missing, unknown or impossible."""
        names = [field.name for field in fields(cls)]
        if sorted(values) != sorted(names):
            raise _damaged("", f"has {', '.join(sorted(map(str, values)))}", f"have {', '.join(sorted(names))}")
        for field in fields(cls):
            value = values[field.name]
            if type(value) is not field.type and not (field.type is float and type(value) is int):
                raise _damaged(field.name, f"is {value!r}", f"be of type {getattr(field.type, '__name__', field.type)}")
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        if self.family not in WIDTHS:
            raise _damaged("family", f"is {self.family!r}", f"be one of {', '.join(WIDTHS)}")
        if self.axi_data_bits not in WIDTHS[self.family]:
            raise _damaged("axi_data_bits", f"is {self.axi_data_bits}",
                           f"be one of {', '.join(map(str, WIDTHS[self.family]))}")
        if not 0 < self.clock_mhz < float("inf"):
            raise _damaged("clock_mhz", f"is {self.clock_mhz}", "be above 0")
        for name, base, size in (("control", self.control_base, self.control_bytes),
                                 ("ddr", self.ddr_base, self.ddr_bytes)):
            if base < 0 or base % PAGE or size <= 0 or size % PAGE:
                raise _damaged(f"{name}_base", f"is {base:#x}, {size} bytes", f"be whole pages of {PAGE} bytes")
        if not self.bitstream or "/" in self.bitstream or "\\" in self.bitstream or self.bitstream in (".", ".."):
            raise _damaged("bitstream", f"is {self.bitstream!r}", "be a file name without a folder")

    def reaches(self, address: int, size: int) -> bool:
        """Whether the engine reaches all of `size` bytes from `address`: inside its DRAM and below 2**32."""
        return self.ddr_base <= address and address + size <= min(self.ddr_base + self.ddr_bytes, 1 << 32)


def _damaged(name: str, what: str, must: str) -> BadFolder:
    where = f"hardware.{name}" if name else "hardware"
    return BadFolder(f"driver.json: {where} {what}, must {must}: copy the driver folder of one build again")
