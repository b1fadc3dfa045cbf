import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shifthw_driver.errors import BadFolder, NoHardware, WrongHardware
from shifthw_driver.linux import LinuxBackend
from shifthw_driver.processor import Zynq7000, ZynqUltraScale

from .fake_linux import ULTRA96, WORDS, ZC706, FakeLinux

PAGE = 4096


@pytest.fixture
def linux(tmp_path: Path) -> FakeLinux:
    return FakeLinux(tmp_path, ZC706)


@pytest.fixture
def engine(linux: FakeLinux) -> Iterator[LinuxBackend]:
    with LinuxBackend(linux.settings, linux.root) as backend:
        yield backend


def swapped(words: bytes) -> bytes:
    return b"".join(words[place:place + 4][::-1] for place in range(0, len(words), 4))


def test_configure_by_name(linux: FakeLinux, engine: LinuxBackend) -> None:
    engine.configure(linux.bitstream)
    assert (linux.root / "lib/firmware/shifthw.bin").read_bytes() == swapped(WORDS)
    assert (linux.manager / "flags").read_text() == "0"
    assert (linux.manager / "firmware").read_text() == "shifthw.bin"


def test_configure_without_flags(linux: FakeLinux, engine: LinuxBackend) -> None:
    (linux.manager / "flags").unlink()
    engine.configure(linux.bitstream)
    assert not (linux.manager / "flags").exists()
    assert (linux.manager / "firmware").read_text() == "shifthw.bin"


def test_what_is_loaded_stays(linux: FakeLinux, engine: LinuxBackend) -> None:
    engine.configure(None)
    assert (linux.manager / "firmware").read_text() == ""
    assert not (linux.root / "lib").exists()
    engine.read(0)


@pytest.mark.parametrize("loads", [True, False])
def test_logic_that_does_not_operate_is_not_touched(linux: FakeLinux, engine: LinuxBackend, loads: bool) -> None:
    (linux.manager / "state").write_text("write error\n")
    with pytest.raises(NoHardware, match="fpga0: state is 'write error', must be 'operating'"):
        engine.configure(linux.bitstream if loads else None)
    with pytest.raises(NoHardware, match="must be after configure"):
        engine.read(0)
    assert linux.peek(Zynq7000.AFI0_READ) == 1


def test_wrong_part_is_not_loaded(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.bitstream.write_bytes(linux.bitstream.read_bytes().replace(b"xc7z045ffg900-2", b"xc7z020clg400-1"))
    with pytest.raises(WrongHardware, match="is for xc7z020clg400-1, must be for xc7z045ffg900-2"):
        engine.configure(linux.bitstream)
    assert (linux.manager / "firmware").read_text() == ""
    assert not (linux.root / "lib").exists()


def test_no_bitstream(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.bitstream.unlink()
    with pytest.raises(BadFolder, match="shifthw.bit: cannot be read"):
        engine.configure(linux.bitstream)


@pytest.mark.parametrize("loads", [True, False])
def test_no_fpga_manager(linux: FakeLinux, engine: LinuxBackend, loads: bool) -> None:
    shutil.rmtree(linux.manager.parent)
    with pytest.raises(NoHardware, match="fpga_manager: is empty, must have the device's manager"):
        engine.configure(linux.bitstream if loads else None)


def test_firmware_that_is_refused(linux: FakeLinux, engine: LinuxBackend) -> None:
    (linux.manager / "firmware").unlink()
    (linux.manager / "firmware").mkdir()
    with pytest.raises(NoHardware, match="fpga0: does not load shifthw.bin"):
        engine.configure(linux.bitstream)


def test_firmware_folder_that_cannot_be_written(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.file("lib", "not a folder")
    with pytest.raises(NoHardware, match="lib/firmware/shifthw.bin: cannot be written .*run as root"):
        engine.configure(linux.bitstream)


def test_no_way_to_load(linux: FakeLinux, engine: LinuxBackend) -> None:
    (linux.manager / "firmware").unlink()
    with pytest.raises(NoHardware, match="has no attribute `firmware`, and .*overlays is not there"):
        engine.configure(linux.bitstream)


@pytest.fixture
def configfs(linux: FakeLinux, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel that loads by overlay only: a folder made there has a status at once, and can be removed full."""
    (linux.manager / "firmware").unlink()
    overlays = linux.root / "sys/kernel/config/device-tree/overlays"
    overlays.mkdir(parents=True)
    mkdir, rmdir = Path.mkdir, Path.rmdir

    def make(path: Path, *rest: object, **options: object) -> None:
        mkdir(path, *rest, **options)  # type: ignore[arg-type]
        if path.parent == overlays:
            (path / "status").write_text("applied\n")

    monkeypatch.setattr(Path, "mkdir", make)
    monkeypatch.setattr(Path, "rmdir", lambda path: shutil.rmtree(path) if path.parent == overlays else rmdir(path))
    return overlays


def test_configure_by_overlay(linux: FakeLinux, engine: LinuxBackend, configfs: Path) -> None:
    linux.file("home/shifthw.dtbo", b"compiled")
    engine.configure(linux.bitstream)
    assert (configfs / "shifthw/dtbo").read_bytes() == b"compiled"
    assert (linux.root / "lib/firmware/shifthw.bin").read_bytes() == swapped(WORDS)


def test_overlay_of_before_is_removed(linux: FakeLinux, engine: LinuxBackend, configfs: Path) -> None:
    linux.file("home/shifthw.dtbo", b"compiled")
    (configfs / "shifthw").mkdir()
    (configfs / "shifthw/old").touch()
    engine.configure(linux.bitstream)
    assert sorted(path.name for path in (configfs / "shifthw").iterdir()) == ["dtbo", "status"]


def test_overlay_that_is_not_compiled(linux: FakeLinux, engine: LinuxBackend, configfs: Path) -> None:
    with pytest.raises(BadFolder, match="shifthw.dtbo: is not there, .*: dtc -@ .* -o shifthw.dtbo shifthw.dtso$"):
        engine.configure(linux.bitstream)


def test_overlay_that_is_not_applied(linux: FakeLinux, engine: LinuxBackend, configfs: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    linux.file("home/shifthw.dtbo", b"compiled")
    write = Path.write_bytes

    def refuse(path: Path, data: bytes) -> int:
        if path.name == "dtbo":
            (path.parent / "status").write_text("unapplied\n")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(NoHardware, match="status is 'unapplied', must be 'applied'"):
        engine.configure(linux.bitstream)


def test_configure_widens_the_memory_port_of_zynq(linux: FakeLinux, engine: LinuxBackend) -> None:
    engine.configure(linux.bitstream)
    assert (linux.peek(0xF8008000), linux.peek(0xF8008014)) == (0, 0xF00)


def test_configure_widens_the_ports_of_ultrascale(tmp_path: Path) -> None:
    linux = FakeLinux(tmp_path, ULTRA96)
    with LinuxBackend(ULTRA96, tmp_path) as engine:
        engine.configure(linux.bitstream)
        assert (linux.peek(0xFD380000), linux.peek(0xFD380014)) == (0, 0xB0)
        assert linux.peek(ZynqUltraScale.AFI_FS) == 0x200
        assert engine.set_clock(250) == engine.clock_mhz() == 250
        assert linux.peek(0xFF5E00C0) == 1 << 24 | 1 << 16 | 6 << 8


def test_clock(linux: FakeLinux, engine: LinuxBackend) -> None:
    assert engine.clock_mhz() == 50
    assert engine.set_clock(200) == engine.clock_mhz() == 200
    assert linux.peek(0xF8000170) == 1 << 20 | 5 << 8


def test_dev_mem_for_others_than_root(linux: FakeLinux, engine: LinuxBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (linux.root / "dev/mem").unlink()
    with pytest.raises(NoHardware, match="dev/mem: 4096 bytes at 0xf8000000 cannot be mapped .*: run as root$"):
        engine.set_clock(200)


def refuse_to_map(*_: object, **__: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_dev_mem_that_the_kernel_guards(linux: FakeLinux, engine: LinuxBackend,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("mmap.mmap", refuse_to_map)
    with pytest.raises(NoHardware, match="dev/mem: .*Operation not permitted.*, must be allowed by the kernel, which "
                       "forbids it .STRICT_DEVMEM.: boot with iomem=relaxed, or use UIO$"):
        engine.set_clock(200)


def test_kernel_without_dev_mem(linux: FakeLinux, engine: LinuxBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (linux.root / "dev/mem").unlink()
    with pytest.raises(NoHardware, match="No such file.*: use a kernel with CONFIG_DEVMEM$"):
        engine.set_clock(200)


def test_uio_that_root_cannot_map(linux: FakeLinux, engine: LinuxBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    linux.add_uio(0, 0x43C00000)
    engine.set_clock(200)                   # maps what it needs of /dev/mem
    engine.configure(None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("mmap.mmap", refuse_to_map)
    with pytest.raises(NoHardware, match="dev/uio0: 4096 bytes at 0x0 cannot be mapped .*: see dmesg$"):
        engine.configure(None)


def test_registers_by_dev_mem(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.add_uio(0, 0x43C10000)
    linux.add_uio(1, 0x43C00000, size=0x800)
    linux.poke(0x43C00010, 0xCAFEF00D)
    engine.configure(linux.bitstream)
    assert engine.read(0x10) == 0xCAFEF00D
    engine.write(0xFFC, 0xFFFFFFFF)
    assert linux.peek(0x43C00FFC) == 0xFFFFFFFF
    assert linux.peek(0x43C00FF8) == linux.peek(0x43C01000) == 0


def test_registers_by_uio(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.add_uio(0, 0x43C10000)
    device = linux.add_uio(3, 0x43C00000, size=0x10000)
    engine.configure(linux.bitstream)
    engine.write(0x20, 0x12345678)
    assert engine.read(0x20) == 0x12345678
    assert device.read_bytes()[0x20:0x24] == bytes.fromhex("78563412")
    assert linux.peek(0x43C00020) == 0


def test_uio_without_its_device(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.add_uio(0, 0x43C00000).unlink()
    with pytest.raises(NoHardware, match="dev/uio0: 4096 bytes at 0x0 cannot be mapped"):
        engine.configure(linux.bitstream)


@pytest.mark.parametrize("offset", [-4, 1, 2, 0x1000, 0x1004])
def test_no_such_register(linux: FakeLinux, engine: LinuxBackend, offset: int) -> None:
    engine.configure(linux.bitstream)
    with pytest.raises(ValueError, match="offset must be a multiple of 4 below 0x1000"):
        engine.read(offset)
    with pytest.raises(ValueError, match="offset must be a multiple of 4 below 0x1000"):
        engine.write(offset, 0)


def test_registers_before_configure(engine: LinuxBackend) -> None:
    for use in (lambda: engine.read(0), lambda: engine.write(0, 0)):
        with pytest.raises(NoHardware, match="must be after configure"):
            use()


def test_wait_ends_with_the_interrupt(linux: FakeLinux, engine: LinuxBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    device = linux.add_uio(0, 0x43C00000)  # a regular file: select finds it ready
    engine.configure(linux.bitstream)
    sizes, read = [], os.read
    monkeypatch.setattr(os, "read", lambda handle, size: sizes.append(size) or read(handle, size))
    before = time.monotonic()
    engine.wait(60)
    assert time.monotonic() - before < 10
    assert device.read_bytes()[:4] == bytes.fromhex("01000000")  # the interrupt was let through
    assert sizes == [4]  # its count was taken, so that the next wait is not ready at once


def test_wait_ends_with_the_time(linux: FakeLinux, engine: LinuxBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    linux.add_uio(0, 0x43C00000)
    engine.configure(linux.bitstream)
    times = []
    monkeypatch.setattr(select, "select", lambda r, w, x, seconds: times.append((len(r), seconds)) or ([], [], []))
    engine.wait(0.25)
    assert times == [(1, 0.25)]


def test_wait_for_a_device_without_interrupt(linux: FakeLinux, engine: LinuxBackend,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    linux.add_uio(0, 0x43C00000)
    engine.configure(linux.bitstream)

    def refuse(handle: int, data: bytes) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", refuse)
    before = engine.now()
    engine.wait(0.02)
    assert engine.now() - before >= 0.02


def test_wait_without_uio(linux: FakeLinux, engine: LinuxBackend) -> None:
    engine.configure(linux.bitstream)
    before = engine.now()
    engine.wait(0.02)
    assert engine.now() - before >= 0.02
    engine.wait(0)
    engine.wait(-1)


def test_no_udmabuf_says_what_to_insert(engine: LinuxBackend) -> None:
    with pytest.raises(NoHardware, match="dev/udmabuf0: is not there, .*: insmod u-dma-buf.ko udmabuf0=8192$"):
        engine.allocate(5000)


@pytest.mark.parametrize("kind", ["u-dma-buf", "udmabuf"])
def test_buffers(linux: FakeLinux, engine: LinuxBackend, kind: str) -> None:
    attributes = linux.add_udmabuf(8 * PAGE, kind=kind)
    first, second = engine.allocate(5000), engine.allocate(1)
    assert (first.address, second.address) == (0x1E900000, 0x1E902000)
    assert (first.data.size, second.data.size) == (2 * PAGE, PAGE)
    assert not first.data.any()
    assert not second.data.any()
    second.data[:4] = [1, 2, 3, 4]
    first.data[-1] = 9
    memory = (linux.root / "dev/udmabuf0").read_bytes()
    assert memory[2 * PAGE - 1:2 * PAGE + 5] == bytes([9, 1, 2, 3, 4, 0])
    assert (attributes / "sync_mode").read_text() == "1"


def test_engine_sees_what_the_processor_wrote(linux: FakeLinux, engine: LinuxBackend) -> None:
    """Each handing over is one range of whole cache lines; zeros go to memory before the engine may write there."""
    attributes = linux.add_udmabuf(8 * PAGE)
    os.mkfifo(attributes / "log")
    log = os.open(attributes / "log", os.O_RDONLY | os.O_NONBLOCK)
    for name in ("sync_for_device", "sync_for_cpu"):
        (attributes / name).symlink_to("log")
    first, second = engine.allocate(PAGE), engine.allocate(3 * PAGE)
    assert os.read(log, 1000) == b"".join([b"0x0000000000001005", b"0x0000100000003005"])
    second.to_device(3 * PAGE)
    first.from_device(PAGE)
    second.from_device(2 * PAGE + 0x40)
    assert os.read(log, 1000) == b"".join([b"0x0000100000003005", b"0x0000000000001009", b"0x0000100000002049"])
    os.close(log)


@pytest.mark.parametrize(("size", "synced"), [
    (1, 64), (63, 64), (64, 64), (65, 128), (4000, 4032), (2 * PAGE - 1, 2 * PAGE), (2 * PAGE, 2 * PAGE),
    (2 * PAGE + 1, 2 * PAGE), (1 << 32, 2 * PAGE)])
def test_only_what_matters_is_handed_over(linux: FakeLinux, engine: LinuxBackend, size: int, synced: int) -> None:
    """From the buffer's begin, in whole cache lines, never beyond its end."""
    attributes = linux.add_udmabuf(8 * PAGE)
    engine.allocate(PAGE)
    buffer = engine.allocate(2 * PAGE)
    buffer.to_device(size)
    buffer.from_device(size)
    assert (attributes / "sync_for_device").read_text() == f"0x00001000{synced | 5:08X}"
    assert (attributes / "sync_for_cpu").read_text() == f"0x00001000{synced | 9:08X}"


def test_nothing_to_hand_over(linux: FakeLinux, engine: LinuxBackend) -> None:
    attributes = linux.add_udmabuf(2 * PAGE)
    buffer = engine.allocate(PAGE)
    (attributes / "sync_for_device").unlink()
    buffer.to_device(0)
    buffer.free()
    buffer.to_device(PAGE)
    assert not (attributes / "sync_for_device").exists()


def test_each_direction_has_its_file(linux: FakeLinux, engine: LinuxBackend) -> None:
    attributes = linux.add_udmabuf(2 * PAGE)
    buffer = engine.allocate(PAGE)
    assert (attributes / "sync_for_device").read_text() == "0x0000000000001005"
    assert not (attributes / "sync_for_cpu").exists()
    buffer.from_device(PAGE)
    assert (attributes / "sync_for_cpu").read_text() == "0x0000000000001009"


def test_coherent_memory_needs_no_handing_over(linux: FakeLinux, engine: LinuxBackend) -> None:
    attributes = linux.add_udmabuf(2 * PAGE, coherent=1)
    buffer = engine.allocate(PAGE)
    buffer.to_device(PAGE)
    buffer.from_device(PAGE)
    assert not (attributes / "sync_for_device").exists()
    assert not (attributes / "sync_for_cpu").exists()


def test_module_without_the_coherent_attribute(linux: FakeLinux, engine: LinuxBackend) -> None:
    attributes = linux.add_udmabuf(2 * PAGE, coherent=None)
    engine.allocate(PAGE)
    assert (attributes / "sync_for_device").exists()


def test_module_that_takes_no_ranges(linux: FakeLinux, engine: LinuxBackend) -> None:
    (linux.add_udmabuf(2 * PAGE) / "sync_for_device").mkdir()
    with pytest.raises(NoHardware, match="sync_for_device: does not take a range"):
        engine.allocate(PAGE)


def test_exhausted_memory_says_what_to_insert(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.add_udmabuf(4 * PAGE)
    engine.allocate(3 * PAGE)
    with pytest.raises(NoHardware, match=r"no 8192 bytes in one piece \(12288 of 16384 .* in use\): .*=20480$"):
        engine.allocate(2 * PAGE)
    assert engine.allocate(PAGE).address == 0x1E900000 + 3 * PAGE


def test_freed_memory_is_used_again(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.add_udmabuf(4 * PAGE)
    first, second, third, fourth = (engine.allocate(PAGE) for _ in range(4))
    third.data[:] = 7
    for buffer in (first, third, second, second):
        buffer.free()
        assert buffer.data.size == 0
    again = engine.allocate(3 * PAGE)
    assert again.address == first.address
    assert not again.data.any()
    for buffer in (fourth, again):
        buffer.free()
    assert engine.allocate(4 * PAGE).address == first.address


def test_buffers_do_not_overlap_while_they_come_and_go(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.add_udmabuf(64 * PAGE)
    held = []
    for step in range(200):
        if step % 3 == 2:
            held.pop(step * 7 % len(held)).free()
        else:
            try:
                held.append(engine.allocate((step * 5 % 6 + 1) * PAGE))
            except NoHardware:
                held.pop(0).free()
        places = sorted((buffer.address, buffer.data.size) for buffer in held)
        assert all(left + size <= right for (left, size), (right, _) in zip(places, places[1:], strict=False))
        assert all(place % PAGE == 0 for place, _ in places)


def test_largest_device_is_used(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.add_udmabuf(2 * PAGE, number=0)
    linux.add_udmabuf(8 * PAGE, address=0x20000000, number=1)
    assert engine.allocate(PAGE).address == 0x20000000


@pytest.mark.parametrize("address", [0x40000000, 0x3FFFF000, 0x1_00000000, 0x1E900800])
def test_memory_that_the_engine_does_not_reach(linux: FakeLinux, engine: LinuxBackend, address: int) -> None:
    linux.add_udmabuf(2 * PAGE, address=address)
    with pytest.raises(NoHardware, match=f"8192 bytes at {address:#x}, must be whole pages within 0x40000000 from 0x0"):
        engine.allocate(PAGE)


@pytest.mark.parametrize("damage", ["dev/udmabuf0", "sys/class/u-dma-buf/udmabuf0/phys_addr"])
def test_udmabuf_that_cannot_be_used(linux: FakeLinux, engine: LinuxBackend, damage: str) -> None:
    linux.add_udmabuf(2 * PAGE)
    (linux.root / damage).unlink()
    with pytest.raises(NoHardware, match="dev/udmabuf0: cannot be used .*run as root"):
        engine.allocate(PAGE)


def test_close_gives_everything_back(linux: FakeLinux) -> None:
    linux.add_uio(0, 0x43C00000)
    linux.add_udmabuf(4 * PAGE)
    handles, maps = Path("/proc/self/fd"), Path("/proc/self/maps")
    before = len(list(handles.iterdir()))
    with LinuxBackend(linux.settings, linux.root) as engine:
        engine.configure(linux.bitstream)
        engine.configure(linux.bitstream)
        engine.set_clock(200)
        buffer = engine.allocate(PAGE)
        assert maps.read_text().count(str(linux.root)) > 0
    assert len(list(handles.iterdir())) == before
    assert maps.read_text().count(str(linux.root)) == 0
    assert buffer.data.size == 0
    buffer.free()
    with pytest.raises(NoHardware, match="must be after configure"):
        engine.read(0)
    engine.close()


def test_close_while_somebody_looks_at_a_buffer(linux: FakeLinux) -> None:
    linux.add_udmabuf(4 * PAGE)
    with LinuxBackend(linux.settings, linux.root) as engine:
        view = engine.allocate(PAGE).data[:10]
        view[:] = 5
    assert view.tolist() == [5] * 10


def test_used_again_after_close(linux: FakeLinux, engine: LinuxBackend) -> None:
    linux.add_udmabuf(4 * PAGE)
    for _ in range(2):
        engine.configure(linux.bitstream)
        assert engine.allocate(4 * PAGE).address == 0x1E900000
        engine.close()


BUSY = "^engine: another driver uses it, one at a time may: wait for it, or end it$"


def test_one_driver_at_a_time(linux: FakeLinux, engine: LinuxBackend) -> None:
    engine.configure(linux.bitstream)
    engine.set_clock(200)
    before = linux.peek(Zynq7000.CLOCK)
    (linux.manager / "firmware").write_text("")
    with LinuxBackend(linux.settings, linux.root) as second:
        for use in (lambda: second.configure(linux.bitstream), lambda: second.set_clock(100)):
            with pytest.raises(NoHardware, match=BUSY):
                use()
        with pytest.raises(NoHardware, match="must be after configure"):
            second.read(0)
    assert (linux.manager / "firmware").read_text() == ""
    assert linux.peek(Zynq7000.CLOCK) == before
    engine.configure(None)                  # it is still the first one's
    engine.close()
    with LinuxBackend(linux.settings, linux.root) as third:
        third.configure(linux.bitstream)


def test_driver_in_another_process(linux: FakeLinux, engine: LinuxBackend) -> None:
    """One that ends, however it does, leaves the engine free."""
    path = linux.root / "run/lock/shifthw"
    program = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); print(); input()"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(NoHardware, match=BUSY):
            engine.configure(None)
        other.kill()
    engine.configure(None)


def test_lock_without_its_usual_folder(linux: FakeLinux, engine: LinuxBackend) -> None:
    (linux.root / "run/lock").rmdir()
    (linux.root / "tmp").mkdir()
    engine.configure(None)
    assert (linux.root / "tmp/shifthw.lock").exists()
    with LinuxBackend(linux.settings, linux.root) as second, pytest.raises(NoHardware, match=BUSY):
        second.configure(None)


def test_lock_that_cannot_be_opened(linux: FakeLinux, engine: LinuxBackend) -> None:
    (linux.root / "run/lock/shifthw").symlink_to(linux.root / "home/shifthw.bit")
    with pytest.raises(NoHardware, match="run/lock/shifthw: cannot be opened .*, must be a file that this driver made: "
                       "run as root, or remove it$"):
        engine.configure(None)
