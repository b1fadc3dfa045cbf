"""The power rails of each board: which sensor is which, what a rail feeds, and whether it can be believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Tuple

from . import pmbus
from .errors import DriverError, NoRails
from .hwmon import FOLDER, Chip, chips

Source = Callable[[], float]
"""Reads one quantity now, in V, A or W; raises NoRails."""

READINGS = 5
"""Of each rail before it is believed."""


@dataclass(frozen=True)
class Known:
    """A rail as the board has it.

    name, includes : for people; `includes` says what is measured, and what is not known about it
    volts : the window that its voltage must be in
    chip, address, page : whose output `page`, counted from 1 as in the kernel's labels
    inputs : numbers of the kernel's voltage, current and power inputs where it does not label them; the first voltage
        in the window is the rail's
    accelerator : counts as the accelerator's; the measurement needs it
    supply : feeds other rails, so that it is not added to them
    volts_divisor : some kernels count this rail's voltage so many times too large
    """

    name: str
    includes: str
    volts: tuple[float, float]
    chip: tuple[str, ...]
    address: int
    page: int
    inputs: tuple[tuple[int, ...], int, int]
    accelerator: bool = False
    supply: bool = False
    volts_divisor: int = 1


@dataclass(frozen=True)
class Rail:
    """A rail that is measured.

    sources : their product is the power: one of power, or voltage and current
    units : of the sources, "W", or "V" and "A"
    """

    known: Known
    sources: tuple[Source, ...]
    units: tuple[str, ...]

    def read(self) -> tuple[float, ...]:
        """What the sources give now."""
        return tuple(source() for source in self.sources)


@dataclass
class Rails:
    """The rails of a board that can be measured. Use it as a context manager: leaving it calls `close`, and what fails
    then becomes a warning, for a measurement that is finished is worth more.

    source : what is read
    warnings : what is left out and why, one line each
    """

    board: str
    source: str
    rails: tuple[Rail, ...]
    warnings: list[str] = field(default_factory=list)
    close: Callable[[], None] = lambda: None

    def __enter__(self) -> Rails:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except NoRails as failure:
            if isinstance(error, DriverError):
                error.args = (f"{error}; then {failure}",)
            self.warnings.append(str(failure))


def _zc706(name: str, volts: float, page: int, includes: str, accelerator: bool = False) -> Known:
    return Known(name, includes, (0.94 * volts, 1.06 * volts), ("ucd90120",), pmbus.UCD90120A, page,
                 ((page,), page, page), accelerator)


def _ultra96v2(name: str, volts: tuple[float, float], address: int, page: int, includes: str,
               accelerator: bool = False) -> Known:
    # Input 1 of these chips is what they are fed with.
    return Known(name, includes, volts, ("irps5401",), address, page, ((page + 1,), page + 1, page + 1), accelerator)


BOARDS = {
    "zc706": (
        _zc706("VCCINT", 1.0, 1, "VCCINT rail (programmable logic; whether it also feeds VCCPINT/VCCBRAM is not known)",
               accelerator=True),
        _zc706("VCCAUX", 1.8, 2, "VCCAUX rail (auxiliary supply of the programmable logic)"),
        _zc706("VCC1V5_PL", 1.5, 3, "1.5 V rail (memory of the programmable logic, which this design does not use)"),
        _zc706("VADJ_FPGA", 2.5, 4, "adjustable rail of the expansion connectors"),
        _zc706("VCC3V3_FPGA", 3.3, 5, "3.3 V rail of the programmable logic's pins"),
    ),
    "ultra96v1": (
        Known("VSYS", "the whole board: processor, memory, radio and converter losses, too; differences of phases hold "
              "what the processor and the memory do for the accelerator", (4.5, 20.0), ("ina226_u35", "ina226"), 0x40,
              1, ((1, 2), 1, 1), accelerator=True),
    ),
    "ultra96v2": (
        _ultra96v2("INT", (0.80, 0.90), 0x43, 4, "INT rail (programmable logic; what else it feeds is not known)",
                   accelerator=True),
        _ultra96v2("AUX", (1.7, 1.9), 0x43, 1, "AUX rail (auxiliary supply of the programmable logic)"),
        _ultra96v2("1V2", (1.13, 1.27), 0x43, 2, "1.2 V rail"),
        _ultra96v2("PSDDR", (1.0, 1.3), 0x43, 3, "PSDDR rail (the processor's memory interface)"),
        _ultra96v2("3V3_D", (3.1, 3.5), 0x43, 5, "3.3 V rail D"),
        _ultra96v2("PSAUX", (1.7, 1.9), 0x44, 1, "PSAUX rail (auxiliary supply of the processor)"),
        _ultra96v2("PSINT_LP", (0.80, 0.90), 0x44, 2, "PSINT_LP rail (low-power half of the processor)"),
        _ultra96v2("3V3", (3.1, 3.5), 0x44, 3, "3.3 V rail"),
        _ultra96v2("PSINT_FP", (0.80, 0.90), 0x44, 4, "PSINT_FP rail (application cores and memory controller)"),
        _ultra96v2("PSPLL", (1.13, 1.27), 0x44, 5, "PSPLL rail (the processor's PLLs)"),
        Known("5V", "5 V rail; other rails may be made of it, so that it is not added to them", (4.7, 5.3),
              ("ir38060",), 0x45, 1, ((2,), 1, 1), supply=True, volts_divisor=256),
    ),
}

Sources = Tuple[Tuple[Source, ...], Tuple[Source, ...], Tuple[Source, ...]]
"""Candidates of a rail's voltage, current and power."""


def find(board: str, hwmon: Path = FOLDER, i2c: Path = Path("/dev"), devices: Path = pmbus.DEVICES,
         open_bus: pmbus.OpenBus = pmbus.LinuxBus) -> Rails:
    """The board's rails, each read and checked: by hwmon, and on ZC706 without it by PMBus over `i2c`.

    Rails that cannot be believed are left out with a warning. NoRails if that concerns the accelerator's.
    """
    if board not in BOARDS:
        raise NoRails(f"board: is {board!r}, must be one of {', '.join(BOARDS)}: use a build for one of them")
    found = chips(hwmon)
    used = {known.name: _chip(known, found) for known in BOARDS[board]}
    names = sorted({str(chip) for chip in used.values() if chip})
    if names or board != "zc706":
        everything = {known.name: _of_chip(known, used[known.name]) for known in BOARDS[board]}
        return Rails(board, "hwmon " + ", ".join(names or ["nothing"]), *_believed(board, everything, hwmon))
    try:
        monitor = pmbus.find(i2c, devices, open_bus)
    except NoRails as error:
        raise NoRails(f"{hwmon}: has no chip ucd90120, must have it, or PMBus must work, which does not ({error}): "
                      "load the kernel's ucd9000, or make PMBus work") from error
    try:
        everything = {known.name: _of_monitor(monitor, known.page - 1) for known in BOARDS[board]}
        return Rails(board, monitor.name, *_believed(board, everything, i2c), close=monitor.close)
    except NoRails:
        monitor.close()
        raise


def _chip(known: Known, found: list[Chip]) -> Chip | None:
    for chip in found:
        # Two chips of the same name on one board are told apart by their addresses only.
        if chip.name in known.chip and (chip.address == known.address or
                                        chip.address is None and chip.name != "irps5401"):
            return chip
    return None


def _of_chip(known: Known, chip: Chip | None) -> Sources:
    if chip is None:
        return (), (), ()
    volts, current, power = known.inputs
    wanted = (("in", "v", volts), ("curr", "i", (current,)), ("power", "p", (power,)))
    found = []
    for kind, letter, numbers in wanted:
        items = [chip.find(kind, number, (f"{letter}out{known.page}", known.name)) for number in numbers]
        found.append(tuple(item.read for item in items if item))
    return found[0], found[1], found[2]


def _of_monitor(monitor: pmbus.Monitor, page: int) -> Sources:
    return (lambda: monitor.volts(page),), (lambda: monitor.amperes(page),), ()


def _believed(board: str, everything: dict[str, Sources], place: Path) -> tuple[tuple[Rail, ...], list[str]]:
    rails, warnings = [], []
    for known in BOARDS[board]:
        try:
            rails.append(_checked(known, everything[known.name], BOARDS[board]))
        except NoRails as error:
            if known.accelerator:
                raise NoRails(f"{place}, the accelerator's rail {known.name}: {error}") from error
            warnings.append(f"rail {known.name} is left out: {error}")
    return tuple(rails), warnings


def _checked(known: Known, sources: Sources, board: tuple[Known, ...]) -> Rail:
    voltages, currents, powers = sources
    if not voltages:
        raise NoRails(f"no voltage, must be there from {known.chip[0]} at I2C address 0x{known.address:02x}: use a "
                      "kernel and device tree that have this chip")
    if not currents and not powers:
        raise NoRails("has a voltage, but neither current nor power, must have one of them: use a kernel that gives "
                      "them, or a chip that is set up to monitor them")
    low, high = known.volts
    seen = [source() for source in voltages]
    voltage = _in_window(known, voltages, seen)
    if voltage is None:
        raise NoRails(f"is {' and '.join(f'{volts:.3f}' for volts in seen)} V, must be {low:.2f} to {high:.2f} V: look "
                      f"for relabelled or swapped inputs{_alike(seen[0], board)}")
    rail = Rail(known, powers[:1], ("W",)) if powers else Rail(known, (voltage, currents[0]), ("V", "A"))
    if not any(rail.read()[-1] for _ in range(READINGS)):
        raise NoRails(f"has {READINGS} readings of 0 {rail.units[-1]}, must draw something: look whether the sensor is "
                      "connected, and fine enough")
    return rail


def _in_window(known: Known, voltages: tuple[Source, ...], seen: list[float]) -> Source | None:
    low, high = known.volts
    for divisor in (1, known.volts_divisor):
        for source, volts in zip(voltages, seen):
            if low <= volts / divisor <= high:
                return source if divisor == 1 else _divided(source, divisor)
    return None


def _divided(source: Source, divisor: int) -> Source:
    return lambda: source() / divisor


def _alike(volts: float, board: tuple[Known, ...]) -> str:
    names = [known.name for known in board if known.volts[0] <= volts <= known.volts[1]]
    return f", it reads like {' or '.join(names)}" if names else ""


def never_changed(values: list[float], least: int = 20) -> bool:
    """Whether at least `least` readings are all the same: the sensor is stuck, or its steps are too large."""
    return len(values) >= least and len(set(values)) == 1
