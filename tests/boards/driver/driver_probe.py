"""What the driver computes apart from an engine, as JSON; run by a Python of a board, in a build's driver folder.

    python3 driver_probe.py FOLDER      with linux/ of fake_linux.FakeLinux and hwmon/ of fake_hwmon.FakeHwmon

For Python 3.8, and with nothing but numpy and the driver.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import pkgutil
import random
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path.cwd()))

import shifthw_driver
from shifthw_driver import bitstream, energy, images, pmbus, rails
from shifthw_driver.folder import Folder
from shifthw_driver.linux import LinuxBackend


def modules() -> list[str]:
    """All of the driver, imported."""
    names = sorted(found.name for found in pkgutil.iter_modules(shifthw_driver.__path__) if found.name != "__main__")
    for name in names:
        importlib.import_module(f"shifthw_driver.{name}")
    return names


def pmbus_numbers() -> dict[str, object]:
    """Every word of LINEAR11, some of LINEAR16 in every mode; what precedes the pointer of an SMBus transfer."""
    words = [pmbus.linear11(word) for word in range(1 << 16)]
    words += [pmbus.linear16(word, mode) for mode in range(32) for word in (0, 1, 0x7FFF, 0x8000, 0xFFFF)]
    return {"words": digest(struct.pack(f"<{len(words)}d", *words)),
            "transfer": ctypes.sizeof(pmbus._Transfer) - ctypes.sizeof(ctypes.c_void_p)}


def pixels() -> dict[str, object]:
    """Integers of raw pixels, by each rounding."""
    raw = np.random.RandomState(5).randint(0, 256, (20, 3, 16, 16)).astype(np.uint8)
    rule = {"scale": 1 / 32, "lo": -128, "hi": 127,
            "pixels": {"scale": 1 / 255, "mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}}
    roundings = ("half_even", "half_up", "floor")
    return {rounding: digest(images.integers(raw, {**rule, "rounding": rounding}).astype("<i8").tobytes())
            for rounding in roundings}


def board(root: Path) -> dict[str, object]:
    """The bitstream to fpga_manager; registers, the clock, and memory through mapped files of up to 4 GiB."""
    settings = Folder.load(Path()).settings
    bit = root / "home" / settings.bitstream
    with LinuxBackend(settings, root) as backend:
        before = backend.clock_mhz()
        backend.configure(bit)
        clock = backend.set_clock(settings.clock_mhz)
        backend.write(0x20, 0xFEDCBA98)
        buffer = backend.allocate(10_000)
        buffer.data[:4] = [1, 2, 3, 255]
        buffer.to_device(4)
        found = {"clocks": [before, clock, backend.clock_mhz()], "register": backend.read(0x20),
                 "buffer": [buffer.address, len(buffer.data)]}
    return {**found, "bin": (root / "lib/firmware/shifthw.bin").read_bytes().hex(),
            "part": bitstream.read(bit).part, "memory": (root / "dev/udmabuf0").read_bytes()[:8].hex()}


class Time:
    """A clock that only sleeping moves; the rails' files change with it."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.watts = 0.0
        self._folder = folder
        self._noise = random.Random(3)
        self._step: Callable[[], None] | None = None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self._step and self.now + 0.05 <= until:
            self.now += 0.05
            for number in range(1, 6):
                amperes = self.watts + self._noise.gauss(0, 0.02)
                (self._folder / f"hwmon0/curr{number}_input").write_text(f"{round(1000 * amperes)}\n")
            self._step()
        self.now = until

    @contextmanager
    def sampling(self, step: Callable[[], None], interval: float) -> Iterator[None]:
        self._step = step
        yield
        self._step = None


class Work(energy.Workload):
    """250 images a second."""

    def __init__(self, time: Time) -> None:
        self._time = time

    def idle(self) -> None:
        self._time.watts = 0.25

    def clocked(self) -> None:
        self._time.watts = 0.4

    def run(self, until: float) -> int:
        self._time.watts = 1.0
        count = round((until - self._time.now) * 250)
        self._time.sleep(until - self._time.now)
        return count


def joules(hwmon: Path) -> dict[str, object]:
    """A whole measurement in virtual time."""
    time = Time(hwmon)
    with rails.find("zc706", hwmon) as found:
        result = energy.measure(found, Work(time), 20, clock=time.clock, sleep=time.sleep, sampling=time.sampling)
    return {"result": {**result, "source": None}, "lines": len(energy.lines(result))}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    print(json.dumps({"modules": modules(), "pmbus": pmbus_numbers(), "pixels": pixels(),
                      "board": board(place / "linux"), "energy": joules(place / "hwmon")}))
