import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shifthw_driver.errors import NoHardware, WrongHardware
from shifthw_driver.processor import Zynq7000, ZynqUltraScale
from shifthw_driver.pynq_backend import PynqBackend

from .fake_linux import BOOTED, ULTRA96, ZC706, FakeLinux

PAGE = 4096


class PynqArray(np.ndarray):
    """pynq.buffer.PynqBuffer: an array with an address, flushed and invalidated as a whole."""

    device_address: int
    log: list[Any]

    def flush(self) -> None:
        self.log.append(("flush", self.device_address, bool(np.asarray(self).any())))

    def invalidate(self) -> None:
        self.log.append(("invalidate", self.device_address))

    def freebuffer(self) -> None:
        self.log.append(("freebuffer", self.device_address))


class Pynq(ModuleType):
    """The parts of PYNQ 2.7 to 3.1 that the backend uses, with their signatures. It records calls in `log`."""

    def __init__(self, registers: dict[int, int]) -> None:
        super().__init__("pynq")
        self.log: list[Any] = []
        self.pages: dict[int, np.ndarray] = {}
        self.next_address = 0x10000000
        self.failing = ""
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
            raise RuntimeError(f"{call[0]}\nfailed")

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
        array = np.full(shape, 0xEE, dtype).view(PynqArray)
        array.device_address, array.log = self.next_address, self.log
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
                                                    text: str) -> None:
    pynq.failing = call
    with pytest.raises(NoHardware, match=f"{text} .RuntimeError: {call} failed.: run as root") as error:
        engine.configure(linux.bitstream)
    assert "\n" not in str(error.value)


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
    buffer.to_device()
    buffer.from_device()
    buffer.free()
    buffer.free()
    assert buffer.data.size == 0
    assert pynq.log == [
        ("allocate", (2 * PAGE,), np.dtype(np.uint8), True), ("flush", 0x10000000, False), ("flush", 0x10000000, True),
        ("invalidate", 0x10000000), ("freebuffer", 0x10000000)]


def test_no_memory(engine: PynqBackend, pynq: Pynq) -> None:
    pynq.failing = "allocate"
    with pytest.raises(NoHardware, match="PYNQ: cannot allocate 4096 bytes .RuntimeError: allocate failed.: .*cma="):
        engine.allocate(1)


@pytest.mark.parametrize("address", [1 << 32, 0x10000800])
def test_memory_that_the_engine_does_not_reach(engine: PynqBackend, pynq: Pynq, address: int) -> None:
    pynq.next_address = address
    with pytest.raises(NoHardware, match=f"4096 bytes are at {address:#x}, must be whole pages"):
        engine.allocate(PAGE)
    assert pynq.log[-1] == ("freebuffer", address)


def test_close_frees_buffers_and_forgets_registers(linux: FakeLinux, engine: PynqBackend, pynq: Pynq) -> None:
    engine.configure(linux.bitstream)
    first, second = engine.allocate(PAGE), engine.allocate(PAGE)
    first.free()
    engine.close()
    engine.close()
    assert named(pynq, "freebuffer") == [("freebuffer", 0x10000000), ("freebuffer", 0x10001000)]
    assert second.data.size == 0
    with pytest.raises(NoHardware, match="must be after configure"):
        engine.read(0)


def test_time(engine: PynqBackend) -> None:
    before = engine.now()
    engine.wait(0.02)
    engine.wait(-1)
    assert 0.02 <= engine.now() - before < 10
