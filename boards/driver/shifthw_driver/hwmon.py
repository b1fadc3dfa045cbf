"""Linux hwmon: the chips under /sys/class/hwmon and what they measure, in volts, amperes and watts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import NoRails

FOLDER = Path("/sys/class/hwmon")
SCALE = {"in": 1e-3, "curr": 1e-3, "power": 1e-6}
"""Of the kinds of inputs: hwmon counts mV, mA and uW."""

_INPUT = re.compile(r"(in|curr|power)(\d+)_input")
_I2C_DEVICE = re.compile(r"(\d+)-([0-9a-f]{4})")


@dataclass(frozen=True)
class Input:
    """One input of a chip.

    kind : "in", "curr" or "power"
    index : its number; `in1_input` is number 1
    label : what the kernel calls it, "" if it does not say
    path : the file
    """

    kind: str
    index: int
    label: str
    path: Path

    def read(self) -> float:
        """Reads it now, in V, A or W. NoRails if the kernel does not give a number."""
        try:
            return int(self.path.read_bytes()) * SCALE[self.kind]
        except (OSError, ValueError) as error:
            raise NoRails(f"{self.path}: cannot be read ({error}), must be a number: see `dmesg` for faults of the I2C "
                          "bus") from error


@dataclass(frozen=True)
class Chip:
    """One chip.

    name : of its driver, as in the file `name`
    folder : e.g. /sys/class/hwmon/hwmon0
    address : on its I2C bus; None if the kernel does not link an I2C device
    inputs : sorted by kind and index
    """

    name: str
    folder: Path
    address: int | None
    inputs: tuple[Input, ...]

    def find(self, kind: str, index: int, labels: tuple[str, ...] = ()) -> Input | None:
        """The input of one of the labels; the numbered one where none of this kind has a label such as "vout1".

        The kernel numbers inputs without gaps but labels them by the chip's page: where a page has no sensor, only
        the label is right.
        """
        of_kind = [item for item in self.inputs if item.kind == kind]
        for item in of_kind:
            if item.label in labels:
                return item
        if labels and any(re.fullmatch(r"[vip]out\d+", item.label) for item in of_kind):
            return None
        return next((item for item in of_kind if item.index == index), None)

    def __str__(self) -> str:
        where = "" if self.address is None else f" at I2C address 0x{self.address:02x}"
        return f"{self.name}{where} ({self.folder})"


def chips(folder: Path = FOLDER) -> list[Chip]:
    """All chips, sorted by folder; none if the folder does not exist. A chip that vanishes meanwhile is left out."""
    if not folder.is_dir():
        return []
    found = (_chip(path) for path in sorted(folder.iterdir()))
    return [chip for chip in found if chip is not None]


def _chip(folder: Path) -> Chip | None:
    name = _text(folder / "name")
    return Chip(name, folder, _address(folder), _inputs(folder)) if name else None


def _address(folder: Path) -> int | None:
    match = _I2C_DEVICE.fullmatch((folder / "device").resolve().name)
    return int(match[2], 16) if match else None


def _inputs(folder: Path) -> tuple[Input, ...]:
    found = []
    for path in folder.iterdir():
        match = _INPUT.fullmatch(path.name)
        if match:
            label = _text(path.with_name(f"{match[1]}{match[2]}_label"))
            found.append(Input(match[1], int(match[2]), label, path))
    return tuple(sorted(found, key=lambda item: (item.kind, item.index)))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
