"""A fake /sys/class/hwmon per board, driven by known powers, and the time in which it lives.

Names, units and labels are those of the kernel's drivers. Each sensor holds its value between updates, and rounds it
as the chip and the kernel do.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shifthw_driver.energy import Workload
from shifthw_driver.sampling import pauses

Load = Callable[[str, float], float]
"""Power of a rail at a time, W."""


class Time:
    """A clock that only `sleep` moves; a sampling function is called when its time comes.

    on_read : called with the time before each reading
    reading_s : how long a reading takes
    """

    def __init__(self, on_read: Callable[[float], None] = lambda now: None, reading_s: float = 0.0) -> None:
        self.now = 0.0
        self.on_read = on_read
        self.reading_s = reading_s
        self._step: Callable[[], None] | None = None
        self._next = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self._step and self._next <= until:
            self.now = max(self.now, self._next)
            self.on_read(self.now)
            self._step()
            self.now += self.reading_s
            self._next = self.now + next(self._pauses)
        self.now = max(self.now, until)

    @contextmanager
    def sampling(self, step: Callable[[], None], interval: float) -> Iterator[None]:
        self._pauses, self._step, self._next = pauses(interval), step, self.now
        yield
        self._step = None


class FakeWork(Workload):
    """Classifies batches at a rate.

    phase : now, for the load
    phases : all that were asked for
    """

    def __init__(self, time: Time, images_per_s: float = 250.0, batch: int = 16) -> None:
        self.time = time
        self.images_per_s = images_per_s
        self.batch = batch
        self.phase = "idle-clocked"
        self.phases: list[str] = []

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self.phases.append(phase)

    def idle(self) -> None:
        self._enter("idle")

    def clocked(self) -> None:
        self._enter("idle-clocked")

    def run(self, until: float) -> int:
        self._enter("running")
        images = 0
        while self.time.now < until:
            self.time.sleep(self.batch / self.images_per_s)
            images += self.batch
        return images


@dataclass(frozen=True)
class Chan:
    """A rail in the tree: where it is, its voltage, and what one step of the chip is (A or W); `power` has a file."""

    rail: str
    volts: float
    hwmon: str
    index: int
    label: str
    amps_step: float
    watts_step: float | None = None
    volts_index: int | None = None
    current_index: int | None = None
    volts_times: int = 1


def _zc706(rail: str, volts: float, page: int) -> Chan:
    return Chan(rail, volts, "hwmon0", page, str(page), 1 / 64)


def _v2(rail: str, volts: float, hwmon: str, page: int) -> Chan:
    return Chan(rail, volts, hwmon, page + 1, str(page), 1 / 16, 5 / 32)


@dataclass(frozen=True)
class Board:
    """chips : hwmon folder -> name, I2C device; update_s : of the sensors."""

    chips: dict[str, tuple[str, str]]
    channels: tuple[Chan, ...]
    update_s: float


BOARDS = {
    "zc706": Board({"hwmon0": ("ucd90120", "8-0065")}, (
        _zc706("VCCINT", 1.0, 1), _zc706("VCCAUX", 1.777, 2), _zc706("VCC1V5_PL", 1.496, 3),
        _zc706("VADJ_FPGA", 2.449, 4), _zc706("VCC3V3_FPGA", 3.291, 5)), update_s=0.02),
    # iio-hwmon numbers the shunt's voltage first.
    "ultra96v1": Board({"hwmon0": ("ina226_u35", "ina226-u35")},
                       (Chan("VSYS", 12.0, "hwmon0", 1, "", 1e-3, 6.25e-3, volts_index=2),), update_s=0.0352),
    "ultra96v2": Board({"hwmon0": ("irps5401", "6-0043"), "hwmon1": ("irps5401", "6-0044"),
                        "hwmon2": ("ir38060", "6-0045")}, (
        _v2("AUX", 1.8, "hwmon0", 1), _v2("1V2", 1.2, "hwmon0", 2), _v2("PSDDR", 1.1, "hwmon0", 3),
        _v2("INT", 0.847, "hwmon0", 4), _v2("3V3_D", 3.3, "hwmon0", 5),
        _v2("PSAUX", 1.8, "hwmon1", 1), _v2("PSINT_LP", 0.85, "hwmon1", 2), _v2("3V3", 3.3, "hwmon1", 3),
        _v2("PSINT_FP", 0.85, "hwmon1", 4), _v2("PSPLL", 1.2, "hwmon1", 5),
        Chan("5V", 5.0, "hwmon2", 1, "1", 1 / 16, 5 / 32, volts_index=2, current_index=1, volts_times=256)),
        # Kernels before 5.10 keep PMBus readings for a second.
        update_s=1.0),
}


class FakeHwmon:
    """The tree, at `folder`; `write(now)` brings the files up to date.

    noise_w : standard deviation of each rail's power from one update to the next
    stuck : rails whose files stay as they are

    A file that a test deletes stays away.
    """

    def __init__(self, board: str, root: Path, load: Load, noise_w: float = 0.0, seed: int = 0) -> None:
        self.board = BOARDS[board]
        self.folder = root / "hwmon"
        self.load = load
        self.noise_w = noise_w
        self.stuck: set[str] = set()
        self._rng = np.random.default_rng(seed)
        self._update = -1
        self._texts: dict[Path, str] = {}
        for hwmon, (name, device) in self.board.chips.items():
            folder = self.folder / hwmon
            folder.mkdir(parents=True)
            (folder / "name").write_text(f"{name}\n")
            (root / "devices" / device).mkdir(parents=True, exist_ok=True)
            (folder / "device").symlink_to(root / "devices" / device)
            if name.startswith("ir"):
                self._put(folder / "in1_input", 12_000)
                self._put(folder / "in1_label", "vin")
            if name == "ina226_u35":
                self._put(folder / "in1_input", 5)
        self._paths: dict[tuple[str, str], Path] = {}
        for chan in self.board.channels:
            for kind, number, letter in (("in", chan.volts_index, "v"), ("curr", chan.current_index, "i"),
                                         ("power", None, "p")):
                stem = self.folder / chan.hwmon / f"{kind}{number or chan.index}"
                self._paths[chan.rail, kind] = stem
                if chan.label and (kind != "power" or chan.watts_step is not None):
                    self._put(stem.with_name(f"{stem.name}_label"), f"{letter}out{chan.label}")
        self.write(0.0)

    def path(self, rail: str, kind: str, what: str = "input") -> Path:
        stem = self._paths[rail, kind]
        return stem.with_name(f"{stem.name}_{what}")

    def write(self, now: float) -> None:
        update = int(now / self.board.update_s + 1e-9)
        if update == self._update:
            return
        self._update = update
        for chan in self.board.channels:
            watts = self.load(chan.rail, update * self.board.update_s) + self.noise_w * self._rng.standard_normal()
            if chan.rail in self.stuck:
                continue
            self._put(self.path(chan.rail, "in"), int(1000 * chan.volts) * chan.volts_times)
            # The chip rounds to its step, the kernel cuts to mA.
            self._put(self.path(chan.rail, "curr"),
                      int(1000 * chan.amps_step * round(watts / chan.volts / chan.amps_step)))
            if chan.watts_step is not None:
                self._put(self.path(chan.rail, "power"), int(1e6 * chan.watts_step * round(watts / chan.watts_step)))

    def _put(self, path: Path, value: object) -> None:
        text = f"{value}\n"
        before = self._texts.get(path)
        if text != before and (before is None or path.exists()):
            # In place: some file systems wait for the disk when a file is emptied before it is written.
            with path.open("r+" if before else "w") as file:
                file.write(text)
                file.truncate()
            self._texts[path] = text
