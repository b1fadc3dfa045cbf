"""What the compiler must know of a board; one <name>.toml per board beside this file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from shifthw.errors import ShifthwError

FOLDER = Path(__file__).parent
"""Where the board files are."""

CLOCK_TOLERANCE = 0.005
"""How far, relative, a requested clock may be from an achievable one: 166.7 means 1000/6."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board: its part, its processor's ports, what is connected where."""

    name: str
    """What `--board` and load() call it."""
    title: str
    """Name for people."""
    part: str
    """Vivado part, with package and speed grade."""
    family: str
    """"xc7" (Zynq-7000) or "xcup" (Zynq UltraScale+): selects the Tcl for the processor."""
    lut: int
    """Look-up tables of the part, all of them."""
    ff: int
    """Flip-flops of the part."""
    bram36: int
    """36 Kib block RAMs of the part."""
    dsp: int
    """DSP slices of the part (DSP48E1: 25x18, DSP48E2: 27x18)."""
    pll_mhz: int
    """The PLL that the accelerator's clock is divided from."""
    clock_divider: int
    """The default clock is pll_mhz / clock_divider."""
    clock_dividers: tuple[int, ...]
    """Dividers on offer, ascending."""
    axi_data_bits: int
    """Width of the memory port (S_AXI_HP0 or S_AXI_HP0_FPD)."""
    control_base: int
    """Physical address of the accelerator's registers."""
    ddr_base: int
    """First byte of DRAM that the accelerator reaches."""
    ddr_bytes: int
    """Bytes of DRAM from ddr_base."""
    ps_preset: str
    """xc7: name of the preset inside processing_system7. xcup: file with zynq_ultra_ps_e values, in FOLDER."""
    led_pin: str | None = None
    """Package pin of a LED in the programmable logic; None: there is none."""
    led_standard: str | None = None
    """IOSTANDARD of led_pin."""

    @property
    def clock_mhz(self) -> float:
        """The default clock."""
        return self.pll_mhz / self.clock_divider

    @property
    def clocks_mhz(self) -> tuple[float, ...]:
        """The clocks on offer, descending."""
        return tuple(self.pll_mhz / divider for divider in self.clock_dividers)

    def achievable_clock(self, requested_mhz: float) -> float:
        """The clock on offer that `requested_mhz` means; ShifthwError if there is none within CLOCK_TOLERANCE."""
        nearest = min(self.clocks_mhz, key=lambda clock: abs(clock - requested_mhz))
        if not abs(nearest - requested_mhz) <= CLOCK_TOLERANCE * nearest:
            offered = ", ".join(f"{clock:.6g}" for clock in self.clocks_mhz)
            raise ShifthwError(f"board {self.name}: the clock must be one of {offered} MHz, not {requested_mhz:.6g}")
        return nearest


def names() -> tuple[str, ...]:
    """Known boards, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load(name: str) -> Board:
    """The board called `name`; ShifthwError with the known ones if there is no such board."""
    if name not in names():
        raise ShifthwError(f"board {name!r} is not known; use one of {', '.join(names())}")
    values = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return Board(name=name, **{**values, "clock_dividers": tuple(values["clock_dividers"])})
