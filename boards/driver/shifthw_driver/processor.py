"""The processor's side of the programmable logic: its clock, its memory port, what lets signals through.

Addresses and bits as in Linux's drivers (clk/zynq, fpga/zynq-fpga, fpga/xilinx-afi), QEMU's models of SLCR and
CRF/CRL_APB, and AMD's answer record 66295.
"""

from abc import ABC, abstractmethod
from contextlib import contextmanager
from fractions import Fraction
from typing import Dict, Iterator, Optional, Protocol, Tuple

from .backend import CLOCK_TOLERANCE
from .errors import NoHardware

REFERENCE_MHZ = Fraction(100, 3)
"""PS_CLK and PSS_REF_CLK of all the boards, from which the PLLs multiply."""


class AddressSpace(Protocol):
    """32-bit words by physical address."""

    def read(self, address: int) -> int:
        """The word."""

    def write(self, address: int, value: int) -> None:
        """Stores the word."""


class Processor(ABC):
    """What both families have in common: a PLL, and two dividers of 1 to 63 behind it.

    memory : where its registers are
    """

    CLOCK: int
    """Address of the clock's control register."""
    DIVISORS: Tuple[int, int]
    """Lowest bits of its two six-bit dividers."""

    def __init__(self, memory: AddressSpace) -> None:
        self._memory = memory

    @abstractmethod
    def open_ports(self, axi_data_bits: int) -> None:
        """After the bitstream is loaded, before anything touches it: the clock runs, signals pass, resets are
        released, and the memory port is as wide as the engine's, in bits."""

    @abstractmethod
    def pll_mhz(self) -> float:
        """The PLL that the clock's control register selects."""

    @abstractmethod
    def _write_clock(self, value: int) -> None:
        """Sets the clock's control register; the clock runs afterwards."""

    def clock_mhz(self) -> float:
        """The engine's clock, from what the registers say."""
        value, (low, high) = self._memory.read(self.CLOCK), self.DIVISORS
        return self.pll_mhz() / (max(1, _field(value, low, 6)) * max(1, _field(value, high, 6)))

    def set_clock(self, mhz: float) -> float:
        """Sets the clock to the fastest that the dividers give up to 0.5 % above `mhz`, or the slowest; what it reads
        back, in MHz."""
        if not 0 < mhz < float("inf"):
            raise NoHardware(f"clock: is asked to be {mhz} MHz, must be above 0: ask for the build's clock")
        first, second = dividers(self.pll_mhz(), mhz)
        low, high = self.DIVISORS
        mask, value = 0x3F << low | 0x3F << high, first << low | second << high
        self._write_clock(self._memory.read(self.CLOCK) & ~mask | value)
        found = self._memory.read(self.CLOCK) & mask
        if found != value:
            raise NoHardware(f"clock: dividers in register {self.CLOCK:#x} are {found:#x}, must be {value:#x} as "
                             "written: let the boot loader set the clock")
        return self.clock_mhz()

    def _update(self, address: int, mask: int, value: int) -> None:
        found = self._memory.read(address)
        if found & mask != value:
            self._memory.write(address, found & ~mask | value)
            if self._memory.read(address) & mask != value:
                raise NoHardware(f"processor: register {address:#x} keeps {found:#x}, bits {mask:#x} must be "
                                 f"{value:#x}: let the boot loader set it")

    def _pll(self, address: int, bypass: int, feedback: int) -> Fraction:
        """What a PLL gives, in MHz: `feedback` is the lowest bit of its multiplier, `bypass` bits must be 0."""
        value = self._memory.read(address)
        if value & bypass or not _field(value, feedback, 7):
            raise NoHardware(f"clock: PLL at {address:#x} is {value:#x}, must be on, not bypassed, and fed by the "
                             "reference clock: boot the board as its vendor does")
        return _field(value, feedback, 7) * REFERENCE_MHZ


class Zynq7000(Processor):
    """FCLK_CLK0 and S_AXI_HP0 of Zynq-7000."""

    SLCR = 0xF8000000
    LOCK, UNLOCK, LOCK_STATUS = SLCR + 0x004, SLCR + 0x008, SLCR + 0x00C
    LOCK_KEY, UNLOCK_KEY = 0x767B, 0xDF0D
    ARM_PLL, DDR_PLL, IO_PLL = SLCR + 0x100, SLCR + 0x104, SLCR + 0x108
    CLOCK = SLCR + 0x170
    """FPGA0_CLK_CTRL: DIVISOR1 25:20, DIVISOR0 13:8, SRCSEL 5:4."""
    CLOCK_GATE = SLCR + 0x178
    """FPGA0_THR_CNT. Linux sets bit 0 to stop a clock that no driver uses."""
    RESET = SLCR + 0x240
    """FPGA_RST_CTRL: 0 releases FCLK_RESETn and the ports."""
    LEVEL_SHIFTERS = SLCR + 0x900
    """LVL_SHFTR_EN: 0xF lets signals pass both ways."""
    AFI0_READ, AFI0_WRITE = 0xF8008000, 0xF8008014
    """AFI_RDCHAN_CTRL and AFI_WRCHAN_CTRL of S_AXI_HP0: bit 0, 32BitEn, makes it 32 bits wide, not 64."""
    DIVISORS = (8, 20)

    def open_ports(self, axi_data_bits: int) -> None:
        with self._unlocked():
            self._update(self.CLOCK_GATE, 1, 0)
            self._update(self.LEVEL_SHIFTERS, 0xF, 0xF)
            if self._memory.read(self.RESET):
                self._memory.write(self.RESET, 0)
        for address in (self.AFI0_READ, self.AFI0_WRITE):
            self._update(address, 1, {32: 1, 64: 0}[axi_data_bits])

    def pll_mhz(self) -> float:
        source = _field(self._memory.read(self.CLOCK), 4, 2)
        address = (self.IO_PLL, self.IO_PLL, self.ARM_PLL, self.DDR_PLL)[source]
        return float(self._pll(address, bypass=1 << 4, feedback=12))

    def _write_clock(self, value: int) -> None:
        with self._unlocked():
            self._memory.write(self.CLOCK, value)
            self._update(self.CLOCK_GATE, 1, 0)

    @contextmanager
    def _unlocked(self) -> Iterator[None]:
        """Lets SLCR be written. Linux leaves it unlocked and relies on that: it is locked again only if it was."""
        locked = self._memory.read(self.LOCK_STATUS) & 1
        if locked:
            self._memory.write(self.UNLOCK, self.UNLOCK_KEY)
        try:
            yield
        finally:
            if locked:
                self._memory.write(self.LOCK, self.LOCK_KEY)


class ZynqUltraScale(Processor):
    """pl_clk0, M_AXI_HPM0_FPD and S_AXI_HP0_FPD of Zynq UltraScale+."""

    IO_PLL, R_PLL = 0xFF5E0020, 0xFF5E0030
    D_PLL, D_PLL_TO_LPD = 0xFD1A002C, 0xFD1A004C
    CLOCK = 0xFF5E00C0
    """PL0_REF_CTRL: CLKACT 24, DIVISOR1 21:16, DIVISOR0 13:8, SRCSEL 2:0."""
    AFIFM2_READ, AFIFM2_WRITE = 0xFD380000, 0xFD380014
    """RDCTRL and WRCTRL of S_AXI_HP0_FPD: FABRIC_WIDTH 1:0."""
    AFI_FS = 0xFD615000
    """FPD_SLCR: DW_SS0_SEL 9:8 is the width of M_AXI_HPM0_FPD; 2 is 128 bits, as zynq_ultra_ps_e has it."""
    DIVISORS = (8, 16)
    RUN = 1 << 24

    def open_ports(self, axi_data_bits: int) -> None:
        self._update(self.CLOCK, self.RUN, self.RUN)
        self._update(self.AFI_FS, 3 << 8, 2 << 8)
        for address in (self.AFIFM2_READ, self.AFIFM2_WRITE):
            self._update(address, 3, {32: 2, 64: 1, 128: 0}[axi_data_bits])

    def pll_mhz(self) -> float:
        source = _field(self._memory.read(self.CLOCK), 0, 3)
        sources: Dict[int, Tuple[int, Optional[int]]] = {
            0: (self.IO_PLL, None), 2: (self.R_PLL, None), 3: (self.D_PLL, self.D_PLL_TO_LPD)}
        if source not in sources:
            raise NoHardware(f"clock: register {self.CLOCK:#x} selects source {source}, must select IOPLL, RPLL or "
                             "DPLL: boot the board as its vendor does")
        address, divider = sources[source]
        mhz = self._pll(address, bypass=1 << 3 | 4 << 20, feedback=8)
        by = 2 if self._memory.read(address) & 1 << 16 else 1
        if divider is not None:
            by *= max(1, _field(self._memory.read(divider), 8, 6))
        return float(mhz / by)

    def _write_clock(self, value: int) -> None:
        self._memory.write(self.CLOCK, value & ~self.RUN)
        self._memory.write(self.CLOCK, value | self.RUN)


def processor(family: str, memory: AddressSpace) -> Processor:
    """The processor of a family, "xc7" or "xcup"."""
    return {"xc7": Zynq7000, "xcup": ZynqUltraScale}[family](memory)


def dividers(pll_mhz: float, mhz: float) -> Tuple[int, int]:
    """The two dividers, 1 to 63, that make of `pll_mhz` the fastest clock up to CLOCK_TOLERANCE above `mhz`, or the
    slowest where none is; the first is the larger one."""
    pairs = [(first, second) for second in range(1, 64) for first in range(second, 64)]
    slow = [pair for pair in pairs if pll_mhz / (pair[0] * pair[1]) <= (1 + CLOCK_TOLERANCE) * mhz]
    return min(slow or pairs[-1:], key=lambda pair: (pair[0] * pair[1], pair[1]))


def _field(value: int, low: int, bits: int) -> int:
    return value >> low & ((1 << bits) - 1)
