import os
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shifthw_driver.errors import NoHardware, WrongHardware
from shifthw_driver.linux import LinuxBackend
from shifthw_driver.processor import Zynq7000, ZynqUltraScale
from shifthw_driver.pynq_backend import PynqBackend, environment

from .fake_linux import BOOTED, ULTRA96, ZC706, FakeLinux
from .test_linux import BUSY, refuse_to_map

PAGE = 4096


class PynqArray(np.ndarray):
    """pynq.buffer.PynqBuffer: an array with an address. A slice is a part of it, which PYNQ's documentation lets one
    flush and invalidate. It has no freebuffer here: that does nothing in some releases, and in others frees under
    whoever still has a view; all free when the array is collected."""

    device_address: int
    log: list[Any]

    def __array_finalize__(self, whole: Any) -> None:
        if isinstance(whole, PynqArray) and hasattr(whole, "log"):
            offset = self.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
            self.device_address, self.log = whole.device_address + offset, whole.log

    def flush(self) -> None:
        self.log.append(("flush", self.device_address, self.nbytes, bool(np.asarray(self).any())))

    def invalidate(self) -> None:
        self.log.append(("invalidate", self.device_address, self.nbytes))


class Pynq(ModuleType):
    """The parts of PYNQ 2.7 to 3.1 that the backend uses, with their signatures. It records calls in `log`."""

    def __init__(self, registers: dict[int, int]) -> None:
        super().__init__("pynq")
        self.log: list[Any] = []
        self.pages: dict[int, np.ndarray] = {}
        self.next_address = 0x10000000
        self.failing = ""
        self.failure = "failed"
        self.registers = registers
        for address, value in registers.items():
            self.page(address - address % PAGE)[address % PAGE // 4] = value

    def page(self, base: int) -> np.ndarray:
        return self.pages.setdefault(base, np.zeros(PAGE // 4, np.uint32))

    def peek(self, address: int) -> int:
        return int(self.page(address - address % PAGE)[address % PAGE // 4])

    def record(self, *call: object) -> None:
        self.log.append(call)
        if self.failing == call[0]:
            raise RuntimeError(f"{call[0]}\n{self.failure}")

    def MMIO(self, base_addr: int, length: int = 4, device: object = None, **_: object) -> SimpleNamespace:
        self.record("MMIO", base_addr, length)
        assert length == PAGE
        return SimpleNamespace(array=self.page(base_addr))

    def Overlay(self, bitfile_name: str, dtbo: "str | None" = None, download: bool = True, ignore_version: bool = False,
                device: object = None) -> None:
        assert isinstance(bitfile_name, str)
        self.record("Overlay", bitfile_name, download)

    def Bitstream(self, bitfile_name: str, dtbo: "str | None" = None, partial: bool = False,
                  device: object = None) -> SimpleNamespace:
        assert isinstance(bitfile_name, str)
        self.record("Bitstream", bitfile_name, partial)
        return SimpleNamespace(download=lambda parser=None: self.record("download"))

    def allocate(self, shape: tuple[int, ...], dtype: Any = "u4", target: object = None,
                 cacheable: int = 0) -> PynqArray:
        self.record("allocate", shape, np.dtype(dtype), cacheable)
        array = PynqArray(shape, dtype, bytearray(b"\xEE" * int(np.prod(shape)) * np.dtype(dtype).itemsize))
        array.device_address, array.log = self.next_address, self.log
        weakref.finalize(array, self.log.append, ("freed", self.next_address))
        self.next_address += array.nbytes
        return array


@pytest.fixture(params=[ZC706, ULTRA96], ids=["zc706", "ultra96"])
def linux(request: pytest.FixtureRequest, tmp_path: Path) -> FakeLinux:
    return FakeLinux(tmp_path, request.param)


@pytest.fixture
def pynq(linux: FakeLinux, monkeypatch: pytest.MonkeyPatch) -> Pynq:
    module = Pynq(BOOTED[linux.settings.family])
    monkeypatch.setitem(sys.modules, "pynq", module)
    return module


@pytest.fixture
def engine(linux: FakeLinux, pynq: Pynq) -> Iterator[PynqBackend]:
    with PynqBackend(linux.settings, linux.root) as backend:
        yield backend


def named(pynq: Pynq, *names: str) -> list[Any]:
    return [call for call in pynq.log if call[0] in names]


def test_without_pynq(linux: FakeLinux, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(NoHardware, match="^PYNQ: cannot be imported .*the ZC706 has no ready image"):
        PynqBackend(linux.settings, linux.root)


VENV = "usr/local/share/pynq-venv"
BARE: dict[str, str] = {}
LOGIN = {"XILINX_XRT": "/usr"}


def login_shell(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    monkeypatch.delenv("XILINX_XRT", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("variables", [BARE, LOGIN])
def test_with_the_systems_python(linux: FakeLinux, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """`sudo python3` on images since 2.7 has neither the environment nor what a login shell sets."""
    monkeypatch.setitem(sys.modules, "pynq", None)
    login_shell(monkeypatch, variables)
    assert environment(linux.root) is None
    python = linux.file(f"{VENV}/bin/python3", "")
    assert environment(linux.root) == python
    also = "" if variables else " and XILINX_XRT=/usr"
    with pytest.raises(NoHardware, match=f"^PYNQ: cannot be imported .*ModuleNotFoundError.*, must be installed: start "
                       f"the driver with {python}{also}$"):
        PynqBackend(linux.settings, linux.root)


def test_environment_of_this_machine() -> None:
    assert environment() in (None, Path("/") / VENV / "bin/python3")


@pytest.mark.parametrize("error", ["OSError('libxrt_core.so: cannot open shared object file')", "KeyError('BOARD')"])
def test_pynq_that_fails_while_it_is_imported(linux: FakeLinux, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    """In its own environment; it may raise anything."""
    monkeypatch.delitem(sys.modules, "pynq", raising=False)
    monkeypatch.syspath_prepend(str(linux.file("site/pynq/__init__.py", f"raise {error}").parents[1]))
    linux.file(f"{VENV}/bin/python3", "")
    monkeypatch.setattr(sys, "prefix", str(linux.root / VENV))
    name = error.split("(")[0]
    for variables, remedy in ((BARE, "start it in a login shell, or set XILINX_XRT=/usr"),
                              (LOGIN, "use a PYNQ image, as root .*")):
        login_shell(monkeypatch, variables)
        with pytest.raises(NoHardware, match=f"^PYNQ: cannot be imported .{name}: .*, must be installed: {remedy}$"):
            PynqBackend(linux.settings, linux.root)


@pytest.mark.parametrize("call", ["Bitstream", "Overlay", "MMIO", "allocate"])
def test_pynq_that_finds_no_devices(linux: FakeLinux, engine: PynqBackend, pynq: Pynq, call: str,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """What PYNQ says where XILINX_XRT is not set."""
    if call == "Overlay":
        linux.file("home/shifthw.hwh", "")
    pynq.failing, pynq.failure = call, "No Devices Found"
    for variables, told in ((BARE, True), (LOGIN, False)):
        login_shell(monkeypatch, variables)
        with pytest.raises(NoHardware, match="No Devices Found") as error:
            engine.allocate(PAGE) if call == "allocate" else engine.configure(linux.bitstream)
        assert str(error.value).endswith(": start it in a login shell, or set XILINX_XRT=/usr") == told


def test_nothing_is_done_before_configure(engine: PynqBackend, pynq: Pynq) -> None:
    assert pynq.log == []
    for use in (lambda: engine.read(0), lambda: engine.write(0, 0)):
        with pytest.raises(NoHardware, match="must be after configure"):
            use()


def test_with_hwh_beside_it_is_an_overlay(linux: FakeLinux, engine: PynqBackend, pynq: Pynq) -> None:
    linux.file("home/shifthw.hwh", "")
    engine.configure(linux.bitstream)
    assert named(pynq, "Overlay", "Bitstream", "download") == [("Overlay", str(linux.bitstream), True)]


def test_without_hwh_it_is_a_bitstream(linux: FakeLinux, engine: PynqBackend, pynq: Pynq,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(linux.bitstream.parent)
    engine.configure(Path("shifthw.bit"))
    assert named(pynq, "Overlay", "Bitstream", "download") == [
        ("Bitstream", str(linux.bitstream.resolve()), False), ("download",)]


def test_what_is_loaded_stays(engine: PynqBackend, pynq: Pynq) -> None:
    engine.configure(None)
    assert named(pynq, "Overlay", "Bitstream", "download") == []
    engine.read(0)


def test_logic_that_does_not_operate_is_not_touched(linux: FakeLinux, engine: PynqBackend, pynq: Pynq) -> None:
    (linux.manager / "state").write_text("unknown\n")
    with pytest.raises(NoHardware, match="state is 'unknown', must be 'operating'"):
        engine.configure(None)
    assert pynq.log == []


def test_wrong_part_is_not_loaded(linux: FakeLinux, engine: PynqBackend, pynq: Pynq) -> None:
    part = linux.settings.part.encode()
    another = part.replace(b"z045", b"z020").replace(b"zu3eg", b"zu9eg")
    linux.bitstream.write_bytes(linux.bitstream.read_bytes().replace(part, another))
    with pytest.raises(WrongHardware, match=f"must be for {linux.settings.part}"):
        engine.configure(linux.bitstream)
    assert pynq.log == []


@pytest.mark.parametrize(("call", "text"), [
    ("download", "shifthw.bit: PYNQ does not load it"), ("Bitstream", "shifthw.bit: PYNQ does not load it"),
    ("MMIO", "cannot be mapped")])
def test_what_fails_inside_pynq_is_told_in_one_line(linux: FakeLinux, engine: PynqBackend, pynq: Pynq, call: str,
                                                    text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pynq.failing = call
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoHardware, match=f"{text} .RuntimeError: {call} failed.*: run as root") as error:
        engine.configure(linux.bitstream)
    assert "\n" not in str(error.value)


def test_memory_that_the_kernel_guards(linux: FakeLinux, engine: PynqBackend, pynq: Pynq,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pynq, "MMIO", refuse_to_map)
    with pytest.raises(NoHardware, match="cannot be mapped .*, must be allowed .*STRICT_DEVMEM.*iomem=relaxed"):
        engine.configure(linux.bitstream)


def test_ports_are_set_after_loading(linux: FakeLinux, engine: PynqBackend, pynq: Pynq) -> None:
    engine.configure(linux.bitstream)
    if linux.settings.family == "xc7":
        assert (pynq.peek(Zynq7000.AFI0_READ), pynq.peek(Zynq7000.AFI0_WRITE)) == (0, 0xF00)
    else:
        assert (pynq.peek(ZynqUltraScale.AFIFM2_READ), pynq.peek(ZynqUltraScale.AFIFM2_WRITE)) == (0, 0xB0)
    assert [call[0] for call in pynq.log][:3] == ["Bitstream", "download", "MMIO"]


def test_registers(linux: FakeLinux, engine: PynqBackend, pynq: Pynq) -> None:
    engine.configure(linux.bitstream)
    assert pynq.log[-1] == ("MMIO", linux.settings.control_base, linux.settings.control_bytes)
    engine.write(0xFFC, 0xFFFFFFFF)
    assert pynq.peek(linux.settings.control_base + 0xFFC) == 0xFFFFFFFF
    found = engine.read(0xFFC)
    assert (type(found), found) == (int, 0xFFFFFFFF)
    for offset in (-4, 2):
        with pytest.raises(ValueError, match="multiple of 4"):
            engine.read(offset)


def test_clock(linux: FakeLinux, engine: PynqBackend, pynq: Pynq) -> None:
    """As the registers say with the boards' 33.3 MHz, and not with the 50 MHz of pynq.Clocks."""
    assert engine.clock_mhz() == {"xc7": 50, "xcup": 100}[linux.settings.family]
    clock = linux.settings.clock_mhz
    assert engine.set_clock(clock) == engine.clock_mhz() == clock
    pages = [call for call in pynq.log if call[0] == "MMIO"]
    assert len(pages) == len(set(pages))  # each page is mapped once


def test_buffer(engine: PynqBackend, pynq: Pynq) -> None:
    buffer = engine.allocate(5000)
    assert (buffer.address, buffer.data.size, buffer.data.dtype) == (0x10000000, 2 * PAGE, np.uint8)
    assert type(buffer.data) is np.ndarray
    buffer.data[3] = 1
    buffer.to_device(5000)
    buffer.from_device(1)
    buffer.to_device(3 * PAGE)
    assert pynq.log == [
        ("allocate", (2 * PAGE,), np.dtype(np.uint8), True), ("flush", 0x10000000, 2 * PAGE, False),
        ("flush", 0x10000000, 5056, True), ("invalidate", 0x10000000, 64), ("flush", 0x10000000, 2 * PAGE, True)]


def test_memory_is_given_back_when_a_buffer_is_freed(engine: PynqBackend, pynq: Pynq) -> None:
    """PYNQ frees an array when nobody has it any more."""
    first, second = engine.allocate(PAGE), engine.allocate(PAGE)
    first.free()
    first.free()
    assert first.data.size == 0
    assert pynq.log[-1] == ("freed", 0x10000000)
    del pynq.log[:]
    first.to_device(PAGE)
    second.to_device(0)
    first.from_device(PAGE)
    assert pynq.log == []


def test_memory_stays_while_somebody_looks_at_it(engine: PynqBackend, pynq: Pynq) -> None:
    buffer = engine.allocate(PAGE)
    view = buffer.data[:10]
    buffer.free()
    assert named(pynq, "freed") == []
    del view
    assert named(pynq, "freed") == [("freed", 0x10000000)]


def test_buffers_do_not_pile_up(engine: PynqBackend, pynq: Pynq) -> None:
    buffers = [engine.allocate(PAGE) for _ in range(100)]
    alive = [weakref.ref(buffer) for buffer in buffers]
    while buffers:
        buffers.pop().free()
    assert len(named(pynq, "freed")) == 100
    assert not any(found() for found in alive)


def test_no_memory(engine: PynqBackend, pynq: Pynq) -> None:
    pynq.failing = "allocate"
    with pytest.raises(NoHardware, match="PYNQ: cannot allocate 4096 bytes .RuntimeError: allocate failed., .*cma="):
        engine.allocate(1)


@pytest.mark.parametrize("address", [1 << 32, 0x10000800])
def test_memory_that_the_engine_does_not_reach(engine: PynqBackend, pynq: Pynq, address: int) -> None:
    pynq.next_address = address
    with pytest.raises(NoHardware, match=f"4096 bytes are at {address:#x}, must be whole pages"):
        engine.allocate(PAGE)
    assert pynq.log[-1] == ("freed", address)


def test_close_frees_buffers_and_forgets_registers(linux: FakeLinux, engine: PynqBackend, pynq: Pynq) -> None:
    engine.configure(linux.bitstream)
    first, second = engine.allocate(PAGE), engine.allocate(PAGE)
    first.free()
    engine.close()
    engine.close()
    assert named(pynq, "freed") == [("freed", 0x10000000), ("freed", 0x10001000)]
    assert second.data.size == 0
    with pytest.raises(NoHardware, match="must be after configure"):
        engine.read(0)


def test_time(engine: PynqBackend) -> None:
    before = engine.now()
    engine.wait(0.02)
    engine.wait(-1)
    assert 0.02 <= engine.now() - before < 10


def test_one_driver_at_a_time(linux: FakeLinux, engine: PynqBackend, pynq: Pynq) -> None:
    """On whichever backend."""
    engine.configure(linux.bitstream)
    for kind in (PynqBackend, LinuxBackend):
        with kind(linux.settings, linux.root) as second:
            del pynq.log[:]
            with pytest.raises(NoHardware, match=BUSY):
                second.configure(linux.bitstream)
            with pytest.raises(NoHardware, match=BUSY):
                second.set_clock(100)
            assert pynq.log == []
    engine.close()
    with LinuxBackend(linux.settings, linux.root) as third:
        third.configure(linux.bitstream)
        with pytest.raises(NoHardware, match=BUSY):
            engine.configure(linux.bitstream)
