"""PMBus numbers, the way through the switch, and the ioctls."""

import ctypes
import errno
from pathlib import Path

import pytest

from shifthw_driver import pmbus
from shifthw_driver.errors import NoRails

SWITCH, UCD = 0x74, 0x65


@pytest.mark.parametrize(("word", "value"), [
    (0x0000, 0.0), (0x0001, 1.0), (0x03FF, 1023.0), (0x0400, -1024.0), (0x07FF, -1.0),
    (0x7BFF, 1023.0 * 2**15), (0x7C00, -1024.0 * 2**15), (0x8001, 2.0**-16), (0x87FF, -(2.0**-16)),
    (0x8400, -1024.0 * 2**-16), (0xF801, 0.5), (0xD008, 0.125), (0xFFFF, -0.5)])
def test_linear11(word: int, value: float) -> None:
    assert pmbus.linear11(word) == value


@pytest.mark.parametrize(("word", "mode", "value"), [
    (0x4000, 0x12, 1.0), (0x399A, 0x13, 14746 * 2**-13), (0xFFFF, 0x14, 65535 * 2**-12), (0x8000, 0x13, 4.0),
    (0xFFFF, 0x10, 65535 * 2**-16), (1, 0x0F, 32768.0), (0, 0x12, 0.0), (7, 0x00, 7.0)])
def test_linear16(word: int, mode: int, value: float) -> None:
    assert pmbus.linear16(word, mode) == value


@pytest.mark.parametrize("mode", [0x20, 0x40, 0x92, 0xFF])
def test_linear16_of_another_mode(mode: int) -> None:
    with pytest.raises(NoRails, match=f"VOUT_MODE: is 0x{mode:02x}, must be linear, .*: use a chip"):
        pmbus.linear16(1, mode)


class Zc706Bus(pmbus.Bus):
    """PS I2C0 of a ZC706: the UCD90120A answers while the switch's channel 7 is on, or behind the kernel's bus.

    log : writes
    """

    def __init__(self, behind_switch: bool = False, switch: int = 0x04, page: int = 3) -> None:
        self.behind_switch = behind_switch
        self.switch = switch
        self.page = page
        self.modes = {0: 0x12, 1: 0x13, 2: 0x13, 3: 0x13, 4: 0x14}
        self.volts = {0: 0x4000, 1: 0x3900, 2: 0x3000, 3: 0x5000, 4: 0x34CC}
        self.amperes = {0: 0xD008, 1: 0xD004, 2: 0xD003, 3: 0xD006, 4: 0xD003}
        self.log: list[tuple[int, ...]] = []
        self.closed = 0

    def _ucd(self, address: int) -> None:
        if address != UCD or not (self.behind_switch or self.switch & 0x80):
            raise OSError(errno.ENXIO, "No such device or address")

    def read(self, address: int) -> int:
        if address != SWITCH or self.behind_switch:
            raise OSError(errno.ENXIO, "No such device or address")
        return self.switch

    def write(self, address: int, value: int) -> None:
        self.read(address)
        self.log.append((address, value))
        self.switch = value

    def read_byte(self, address: int, command: int) -> int:
        self._ucd(address)
        return {0x00: self.page, 0x20: self.modes[self.page]}[command]

    def read_word(self, address: int, command: int) -> int:
        self._ucd(address)
        return {0x8B: self.volts, 0x8C: self.amperes}[command][self.page]

    def write_byte(self, address: int, command: int, value: int) -> None:
        self._ucd(address)
        assert command == 0x00
        self.log.append((address, command, value))
        self.page = value

    def close(self) -> None:
        self.closed += 1


def system(tmp_path: Path, buses: int = 1) -> tuple[Path, Path]:
    """/dev with so many buses, and /sys/bus/i2c/devices without the switch's driver."""
    dev, devices = tmp_path / "dev", tmp_path / "devices"
    dev.mkdir()
    devices.mkdir()
    for k in range(buses):
        (dev / f"i2c-{k}").touch()
    return dev, devices


def kernel_switch(devices: Path, dev: Path, channel: int = 7) -> None:
    """The kernel's driver operates the switch, and made bus 8 of the channel."""
    switch = devices / "0-0074"
    switch.mkdir()
    (switch / "driver").mkdir()
    (devices / "i2c-8").mkdir()
    (switch / f"channel-{channel}").symlink_to(devices / "i2c-8")
    (dev / "i2c-8").touch()


def test_reads_all_pages_and_puts_everything_back(tmp_path: Path) -> None:
    bus = Zc706Bus(switch=0x04, page=3)
    monitor = pmbus.find(*system(tmp_path), lambda path: bus)
    assert [monitor.volts(page) for page in range(5)] == [1.0, 1.78125, 1.5, 2.5, 13516 * 2**-12]
    assert [monitor.amperes(page) for page in range(5)] == [0.125, 0.0625, 0.046875, 0.09375, 0.046875]
    monitor.close()
    assert (bus.switch, bus.page) == (0x04, 3)
    assert bus.log[0] == (SWITCH, 0x80)
    assert bus.log[-2:] == [(UCD, 0, 3), (SWITCH, 0x04)]
    assert {entry[:2] for entry in bus.log} == {(SWITCH, 0x80), (SWITCH, 0x04), (UCD, 0x00)}


def test_kernels_bus_is_preferred_and_the_switch_left_alone(tmp_path: Path) -> None:
    dev, devices = system(tmp_path)
    kernel_switch(devices, dev)
    opened: list[str] = []
    bus = Zc706Bus(behind_switch=True)

    def open_bus(path: Path) -> pmbus.Bus:
        opened.append(path.name)
        return bus

    monitor = pmbus.find(dev, devices, open_bus)
    assert monitor.volts(0) == 1.0
    monitor.close()
    assert opened == ["i2c-8"]
    assert all(entry[0] == UCD for entry in bus.log)
    assert bus.closed == 1


def test_switch_without_channel_7(tmp_path: Path) -> None:
    dev, devices = system(tmp_path)
    kernel_switch(devices, dev, channel=3)
    with pytest.raises(NoRails, match="0-0074: has no bus for channel 7, must have one, .*: use the device tree"):
        pmbus.find(dev, devices, lambda path: Zc706Bus())


def test_without_sysfs_nothing_is_touched(tmp_path: Path) -> None:
    dev, devices = system(tmp_path)
    bus = Zc706Bus()
    with pytest.raises(NoRails, match="devices/none: is not there, must tell whether the kernel operates .*: use"):
        pmbus.find(dev, devices / "none", lambda path: bus)
    assert bus.log == []


def test_the_bus_that_has_the_switch(tmp_path: Path) -> None:
    buses = {"i2c-0": Zc706Bus(behind_switch=True), "i2c-1": Zc706Bus()}
    monitor = pmbus.find(*system(tmp_path, buses=2), lambda path: buses[path.name])
    assert "i2c-1" in monitor.name
    assert (buses["i2c-0"].log, buses["i2c-0"].closed) == ([], 1)


@pytest.mark.parametrize("buses", [0, 2])
def test_no_or_two_buses_with_a_switch(buses: int, tmp_path: Path) -> None:
    bus = Zc706Bus()
    with pytest.raises(NoRails, match=f"i2c-.: {buses} buses answer at 0x74, must be one, .*: load i2c-dev"):
        pmbus.find(*system(tmp_path, buses), lambda path: bus)
    assert bus.log == []


def test_two_switches_in_the_kernel(tmp_path: Path) -> None:
    dev, devices = system(tmp_path)
    kernel_switch(devices, dev)
    (devices / "1-0074" / "driver").mkdir(parents=True)
    with pytest.raises(NoRails, match="has 2 I2C switches at 0x74, must have one, the ZC706's: use the device tree"):
        pmbus.find(dev, devices, lambda path: Zc706Bus())


def test_no_permission(tmp_path: Path) -> None:
    dev, devices = system(tmp_path)
    kernel_switch(devices, dev)

    def denied(path: Path) -> pmbus.Bus:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(NoRails, match="i2c-8: cannot be opened .Permission denied., must open .*: .*run as root$"):
        pmbus.find(dev, devices, denied)


def test_switch_that_does_not_hold_its_channel(tmp_path: Path) -> None:
    class Other(Zc706Bus):
        def write(self, address: int, value: int) -> None:
            super().write(address, value & 0x0F)

    bus = Other(switch=0x04)
    with pytest.raises(NoRails, match="0x74: does not switch .reads 0x00 after channel 7 was set, not 0x80., must"):
        pmbus.find(*system(tmp_path), lambda path: bus)
    assert bus.switch == 0x04


def test_no_monitor_behind_the_switch(tmp_path: Path) -> None:
    class Other(Zc706Bus):
        def _ucd(self, address: int) -> None:
            raise OSError(errno.EREMOTEIO, "Remote I/O error")

    bus = Other()
    with pytest.raises(NoRails, match="Remote I/O error.*, must be the ZC706's UCD90120A: see"):
        pmbus.find(*system(tmp_path), lambda path: bus)
    assert bus.switch == 0x04


def test_monitor_of_another_format(tmp_path: Path) -> None:
    bus = Zc706Bus()
    bus.modes[3] = 0x40
    with pytest.raises(NoRails, match="VOUT_MODE: is 0x40.*, must be the ZC706's"):
        pmbus.find(*system(tmp_path), lambda path: bus)
    assert (bus.switch, bus.page) == (0x04, 3)
    assert (UCD, 0, 0) not in bus.log


def test_monitor_that_stops_answering(tmp_path: Path) -> None:
    bus = Zc706Bus()
    monitor = pmbus.find(*system(tmp_path), lambda path: bus)
    bus.switch = 0
    with pytest.raises(NoRails, match="page 2, command 0x8c: does not answer .*, must answer: see"):
        monitor.amperes(2)
    with pytest.raises(NoRails, match="does not answer .*, .* must be put back: power-cycle"):
        monitor.close()
    assert bus.closed > 1


class Kernel:
    """i2c-dev's ioctls, decoded from the bytes as the kernel lays them out: read at 0, command at 1, size at 4, data's
    address at the pointer's alignment."""

    def __init__(self) -> None:
        self.address = 0
        self.transfers: list[tuple[int, int, int, int, int]] = []

    def __call__(self, file: int, request: int, argument: object) -> int:
        if request == 0x0703:
            assert isinstance(argument, int)
            if argument == 0x50:
                raise OSError(errno.EBUSY, "Device or resource busy")
            self.address = argument
            return 0
        assert request == 0x0720
        raw = bytes(argument)  # type: ignore[call-overload]
        pointer = ctypes.sizeof(ctypes.c_void_p)
        assert len(raw) == 8 + pointer
        data = (ctypes.c_uint8 * 34).from_address(int.from_bytes(raw[8:], "little"))
        self.transfers.append((self.address, raw[0], raw[1], int.from_bytes(raw[4:8], "little"), data[0]))
        if raw[0]:
            data[0], data[1] = 0x34, 0x12
        return 0


def test_ioctls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    monkeypatch.setattr("fcntl.ioctl", kernel)
    (tmp_path / "i2c-0").touch()
    bus = pmbus.LinuxBus(tmp_path / "i2c-0")
    assert bus.read(0x74) == 0x34
    bus.write(0x74, 0x80)
    assert bus.read_byte(0x65, 0x20) == 0x34
    assert bus.read_word(0x65, 0x8B) == 0x1234
    bus.write_byte(0x65, 0x00, 4)
    with pytest.raises(OSError, match="busy"):
        bus.read(0x50)
    bus.close()
    assert kernel.transfers == [(0x74, 1, 0, 1, 0), (0x74, 0, 0x80, 1, 0), (0x65, 1, 0x20, 2, 0), (0x65, 1, 0x8B, 3, 0),
                                (0x65, 0, 0x00, 2, 4)]
