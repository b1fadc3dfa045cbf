"""Registers and interrupt of the engine by UIO, Linux's drivers in user space."""

import os
import select
import struct
import time
from pathlib import Path
from typing import Optional

from .errors import NoHardware
from .physical import MappedWords

_ONE = struct.pack("=I", 1)


class Uio:
    """A UIO device.

    device : /dev/uioN
    size : of its first map, in bytes
    """

    def __init__(self, device: Path, size: int) -> None:
        self.registers = MappedWords(device, 0, size)
        try:
            self._handle = os.open(device, os.O_RDWR)
        except OSError as error:
            self.registers.close()
            raise NoHardware(f"{device}: cannot be opened ({error}): run as root") from None

    def wait(self, seconds: float) -> None:
        """Returns at the interrupt, or after `seconds`. The line may be high already: then at once."""
        try:
            os.write(self._handle, _ONE)
        except OSError:
            time.sleep(seconds)  # the device tree gives it no interrupt
            return
        if select.select([self._handle], [], [], seconds)[0]:
            os.read(self._handle, 4)

    def close(self) -> None:
        """Gives the device back."""
        self.registers.close()
        os.close(self._handle)


def find(root: Path, address: int, size: int) -> Optional[Uio]:
    """The device whose first map is at physical `address` and has `size` bytes or more; None: there is none."""
    for folder in sorted((root / "sys/class/uio").glob("uio*")):
        first = folder / "maps/map0"
        try:
            found = [int((first / name).read_text(), 16) for name in ("addr", "size")]
        except (OSError, ValueError):
            continue
        if found[0] == address and found[1] >= size:
            return Uio(root / "dev" / folder.name, size)
    return None
