"""PMBus without a driver of the kernel: the ZC706's UCD90120A through /dev/i2c-N.

The way there is a PCA9548 switch (0x74), its channel 7, the UCD90120A (0x65). Nothing is written but the switch's
channel and the chip's page, and both are put back by `close`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Callable

from .errors import NoRails

DEVICES = Path("/sys/bus/i2c/devices")
SWITCH, CHANNEL = 0x74, 7
UCD90120A = 0x65

PAGE, VOUT_MODE, READ_VOUT, READ_IOUT = 0x00, 0x20, 0x8B, 0x8C


def signed(value: int, bits: int) -> int:
    """The two's complement number in the low `bits` of `value`."""
    value &= (1 << bits) - 1
    return value - (value >> (bits - 1) << bits)


def linear11(word: int) -> float:
    """LINEAR11: the exponent of 2 in bits 15..11, the mantissa in bits 10..0, both signed."""
    return float(signed(word, 11) * 2.0 ** signed(word >> 11, 5))


def linear16(word: int, mode: int) -> float:
    """LINEAR16: an unsigned mantissa; the signed exponent of 2 is in bits 4..0 of VOUT_MODE, whose bits 7..5 are 0."""
    if mode >> 5:
        raise NoRails(f"VOUT_MODE: is 0x{mode:02x}, must be linear, bits 7 to 5 zero: use a chip that is set up so")
    return float((word & 0xFFFF) * 2.0 ** signed(mode, 5))


class Bus(ABC):
    """An I2C bus, by SMBus transfers. Every transfer raises OSError if the device does not answer."""

    @abstractmethod
    def read(self, address: int) -> int:
        """A byte, without a command."""

    @abstractmethod
    def write(self, address: int, value: int) -> None:
        """Sends a byte, without a command."""

    @abstractmethod
    def read_byte(self, address: int, command: int) -> int:
        """The byte at a command."""

    @abstractmethod
    def read_word(self, address: int, command: int) -> int:
        """The 16-bit word at a command."""

    @abstractmethod
    def write_byte(self, address: int, command: int, value: int) -> None:
        """Writes a byte to a command."""

    @abstractmethod
    def close(self) -> None:
        """Closes the bus."""


class _Transfer(ctypes.Structure):
    """struct i2c_smbus_ioctl_data of linux/i2c-dev.h."""

    _fields_ = (("read", ctypes.c_uint8), ("command", ctypes.c_uint8), ("size", ctypes.c_uint32),
                ("data", ctypes.POINTER(ctypes.c_uint8 * 34)))


class LinuxBus(Bus):
    """/dev/i2c-N, by ioctl. Addresses that a driver of the kernel holds are refused by the kernel (EBUSY)."""

    I2C_SLAVE, I2C_SMBUS = 0x0703, 0x0720
    BYTE, BYTE_DATA, WORD_DATA = 1, 2, 3

    def __init__(self, path: Path) -> None:
        self._file = os.open(str(path), os.O_RDWR)

    def _transfer(self, address: int, read: bool, command: int, size: int, value: int = 0) -> int:
        data = (ctypes.c_uint8 * 34)(value)
        fcntl.ioctl(self._file, self.I2C_SLAVE, address)
        fcntl.ioctl(self._file, self.I2C_SMBUS, _Transfer(read, command, size, ctypes.pointer(data)))
        # The kernel writes words in the processor's order; all three boards are little-endian.
        return data[0] | data[1] << 8 if size == self.WORD_DATA else data[0]

    def read(self, address: int) -> int:
        return self._transfer(address, True, 0, self.BYTE)

    def write(self, address: int, value: int) -> None:
        self._transfer(address, False, value, self.BYTE)

    def read_byte(self, address: int, command: int) -> int:
        return self._transfer(address, True, command, self.BYTE_DATA)

    def read_word(self, address: int, command: int) -> int:
        return self._transfer(address, True, command, self.WORD_DATA)

    def write_byte(self, address: int, command: int, value: int) -> None:
        self._transfer(address, False, command, self.BYTE_DATA, value)

    def close(self) -> None:
        os.close(self._file)


OpenBus = Callable[[Path], Bus]


class Monitor:
    """The UCD90120A on a bus that reaches it.

    name : for people
    switch : what to put back into the switch's register; None if the kernel operates the switch
    """

    def __init__(self, bus: Bus, name: str, switch: int | None) -> None:
        self.name = name
        self._bus = bus
        self._switch = switch
        self._page: int | None = None
        self._modes: dict[int, int] = {}
        try:
            linear16(0, bus.read_byte(UCD90120A, VOUT_MODE))
            self._page = bus.read_byte(UCD90120A, PAGE)
        except (OSError, NoRails) as error:
            self.close()
            raise NoRails(f"{name}: does not answer as it should ({error}), must be the ZC706's UCD90120A: see "
                          "`i2cdetect -l`") from error

    def volts(self, page: int) -> float:
        """READ_VOUT of a page, in V."""
        word = self._read(page, READ_VOUT)
        return linear16(word, self._modes[page])

    def amperes(self, page: int) -> float:
        """READ_IOUT of a page, in A."""
        return linear11(self._read(page, READ_IOUT))

    def _read(self, page: int, command: int) -> int:
        try:
            self._bus.write_byte(UCD90120A, PAGE, page)
            if page not in self._modes:
                self._modes[page] = self._bus.read_byte(UCD90120A, VOUT_MODE)
            return self._bus.read_word(UCD90120A, command)
        except OSError as error:
            raise NoRails(f"{self.name}, page {page}, command 0x{command:02x}: does not answer ({error}), must answer: "
                          "see `dmesg` for faults of the I2C bus") from error

    def close(self) -> None:
        """Puts the page and the switch back and closes the bus."""
        try:
            if self._page is not None:
                self._bus.write_byte(UCD90120A, PAGE, self._page)
            if self._switch is not None:
                self._bus.write(SWITCH, self._switch)
        except OSError as error:
            raise NoRails(f"{self.name}: does not answer ({error}), the switch's channel and the chip's page must be "
                          "put back: power-cycle the board before other software uses this I2C bus") from error
        finally:
            self._bus.close()


def find(dev: Path = Path("/dev"), devices: Path = DEVICES, open_bus: OpenBus = LinuxBus) -> Monitor:
    """The ZC706's monitor: through the bus that the kernel made for channel 7 if it operates the switch, else by
    setting the channel. NoRails, and nothing written, where there is a doubt."""
    if not devices.is_dir():
        raise NoRails(f"{devices}: is not there, must tell whether the kernel operates the I2C switch: use a kernel "
                      "with I2C")
    switches = [path for path in sorted(devices.glob(f"*-{SWITCH:04x}")) if (path / "driver").exists()]
    if len(switches) > 1:
        raise NoRails(f"{devices}: has {len(switches)} I2C switches at 0x{SWITCH:02x}, must have one, the ZC706's: use "
                      "the device tree of the board")
    if switches:
        bus = (switches[0] / f"channel-{CHANNEL}").resolve().name
        if not re.fullmatch(r"i2c-\d+", bus):
            raise NoRails(f"{switches[0]}: has no bus for channel {CHANNEL}, must have one, as a PCA9548 has: use the "
                          "device tree of the board")
        return Monitor(_open(dev / bus, open_bus), f"UCD90120A on {dev / bus}", None)
    paths = [path for path in sorted(dev.glob("i2c-*")) if _answers(path, open_bus)]
    if len(paths) != 1:
        raise NoRails(f"{dev}/i2c-*: {len(paths)} buses answer at 0x{SWITCH:02x}, must be one, the ZC706's I2C switch: "
                      "load i2c-dev, run as root, and see `i2cdetect -l`")
    return _through_switch(_open(paths[0], open_bus), paths[0])


def _open(path: Path, open_bus: OpenBus) -> Bus:
    try:
        return open_bus(path)
    except OSError as error:
        raise NoRails(f"{path}: cannot be opened ({error.strerror}), must open for reading and writing: load i2c-dev, "
                      "run as root") from error


def _answers(path: Path, open_bus: OpenBus) -> bool:
    try:
        bus = open_bus(path)
    except OSError:
        return False
    try:
        bus.read(SWITCH)
    except OSError:
        return False
    finally:
        bus.close()
    return True


def _through_switch(bus: Bus, path: Path) -> Monitor:
    try:
        before = bus.read(SWITCH)
        bus.write(SWITCH, 1 << CHANNEL)
        after = bus.read(SWITCH)
        if after != 1 << CHANNEL:
            bus.write(SWITCH, before)
            raise OSError(f"reads 0x{after:02x} after channel {CHANNEL} was set, not 0x{1 << CHANNEL:02x}")
    except OSError as error:
        bus.close()
        raise NoRails(f"{path}, 0x{SWITCH:02x}: does not switch ({error}), must be the ZC706's I2C switch: see `dmesg`"
                      ) from error
    return Monitor(bus, f"UCD90120A on {path} by the switch's channel {CHANNEL}", before)
