"""The energy measurement against known powers."""

import functools
import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from shifthw_driver import confidence, energy, energy_run, rails, sampling
from shifthw_driver.accelerator import Accelerator
from shifthw_driver.errors import DriverError, NoRails

from .fake_hwmon import FakeHwmon, FakeWork, Time

ACCELERATOR = rails.Known("CORE", "the core", (0.9, 1.1), ("fake",), 0x10, 1, ((1,), 1, 1), accelerator=True)
OTHER = rails.Known("SIDE", "the side", (0.9, 1.1), ("fake",), 0x10, 2, ((2,), 2, 2))
SUPPLY = rails.Known("FEED", "the feed", (4.5, 5.5), ("fake",), 0x10, 3, ((3,), 3, 3), supply=True)

PHASE_W = {"idle": 0.25, "idle-clocked": 0.40, "running": 1.0}
"""Of the accelerator's rail; its other numbers follow."""


def rail(watts: Callable[[], float], known: rails.Known = ACCELERATOR) -> rails.Rail:
    return rails.Rail(known, (watts,), ("W",))


def in_memory(*found: rails.Rail) -> rails.Rails:
    return rails.Rails("zc706", "memory", found)


def measure(found: rails.Rails, work: FakeWork, seconds: float, **options: Any) -> dict[str, Any]:
    now = work.time
    return energy.measure(found, work, seconds, clock=now.clock, sleep=now.sleep, sampling=now.sampling, **options)


def mean(entry: dict[str, Any], quantity: str = "mj_per_image", difference: str = "computation") -> float:
    return float(entry[difference][quantity]["mean"])


@pytest.mark.parametrize(("board", "name", "phase_w", "noise_w", "seconds", "interval"), [
    ("zc706", "VCCINT", PHASE_W, 0.02, 60, 0.03),
    ("ultra96v1", "VSYS", {"idle": 6.0, "idle-clocked": 6.3, "running": 8.1}, 0.05, 60, 0.02),
    ("ultra96v2", "INT", {"idle": 0.3, "idle-clocked": 0.55, "running": 2.3}, 0.1, 400, 0.3)])
def test_known_energy_within_one_percent(board: str, name: str, phase_w: dict[str, float], noise_w: float,
                                         seconds: float, interval: float, tmp_path: Path) -> None:
    now = Time(reading_s=0.01)
    work = FakeWork(now, images_per_s=250.0)

    def load(which: str, at: float) -> float:
        warming = 0.05 * (1 - math.exp(-at / 100))
        return warming + (phase_w[work.phase] if which == name else 0.5 + 0.1 * (work.phase == "running"))

    fake = FakeHwmon(board, tmp_path, load, noise_w=noise_w, seed=7)
    now.on_read = fake.write
    found = rails.find(board, hwmon=fake.folder)
    result = measure(found, work, seconds, interval=interval)
    entry = next(entry for entry in result["rails"] if entry["name"] == name)
    assert entry["accelerator"]
    assert result["images_per_s"] == pytest.approx(250.0, rel=0.03)  # readings stop the fake work
    for difference, phase in energy.DIFFERENCES.items():
        truth = 1e3 * (phase_w["running"] - phase_w[phase]) / result["images_per_s"]
        quantity = entry[difference]["mj_per_image"]
        assert quantity["mean"] == pytest.approx(truth, rel=0.01)
        assert abs(quantity["mean"] - truth) <= quantity["ci95"] <= 0.05 * truth
    others = [entry["name"] for entry in result["rails"] if not entry["supply"]]
    truth = 1e3 * (phase_w["running"] - phase_w["idle-clocked"] + 0.1 * (len(others) - 1)) / result["images_per_s"]
    assert result["totals"]["all"]["rails"] == others
    assert mean(result["totals"]["all"]) == pytest.approx(truth, rel=0.02)
    assert result["totals"]["accelerator"]["rails"] == [name]
    if board == "ultra96v2":
        assert entry["updates_per_s"] == pytest.approx(1.0, rel=0.1)
    assert result["warnings"] == []


def test_rounds_and_phases_in_order() -> None:
    now = Time()
    work = FakeWork(now)
    result = measure(in_memory(rail(lambda: PHASE_W[work.phase])), work, 12.0, rounds=3, settle=1.0)
    runs = ["idle", "idle-clocked", "running", "running", "idle-clocked", "idle"]
    assert work.phases == runs * 3 + ["idle-clocked"]
    # 3 rounds of 5 times to settle, 3 phases; the last batch of a run may be late.
    assert now.now == pytest.approx(3 * 5 * 1.0 + 3 * 12.0, abs=6 * 16 / 250)
    power = result["rails"][0]["power_w"]
    assert {phase: power[phase]["mean"] for phase in PHASE_W} == pytest.approx(PHASE_W)
    # Half of the smallest step, for no phase ever shows a third level.
    assert {phase: power[phase]["ci95"] for phase in PHASE_W} == pytest.approx(dict.fromkeys(PHASE_W, 0.075))
    assert mean(result["rails"][0]) == pytest.approx(1e3 * 0.6 / 250)
    assert mean(result["rails"][0], difference="computation_and_clock") == pytest.approx(1e3 * 0.75 / 250)
    assert result["running_s"] == pytest.approx(12.0, abs=0.2)


def test_drift_cancels() -> None:
    now = Time()
    work = FakeWork(now)
    result = measure(in_memory(rail(lambda: PHASE_W[work.phase] + 0.01 * now.now)), work, 30.0)
    assert now.now > 160  # more than 1.6 W of drift
    assert mean(result["rails"][0], "power_w") == pytest.approx(0.6, abs=2e-3)
    assert mean(result["rails"][0], "power_w", "computation_and_clock") == pytest.approx(0.75, abs=2e-3)


def test_load_with_the_period_of_the_readings() -> None:
    now = Time()
    work = FakeWork(now)
    result = measure(in_memory(rail(lambda: 2.0 * (now.now % 0.02 < 0.01) * (work.phase == "running") + 0.5)), work,
                     60.0, interval=0.02)
    assert mean(result["rails"][0], "power_w") == pytest.approx(1.0, rel=0.02)


def test_slow_change_after_a_change_of_phase_is_discarded() -> None:
    now = Time()
    work = FakeWork(now)
    changes: list[tuple[str, float]] = [("idle-clocked", -9.0)]

    def watts() -> float:
        if changes[-1][0] != work.phase:
            changes.append((work.phase, now.now))
        return PHASE_W[changes[-1 if now.now - changes[-1][1] > 1.0 else -2][0]]

    result = measure(in_memory(rail(watts)), work, 30.0, settle=1.2)
    power = result["rails"][0]["power_w"]
    assert {phase: power[phase]["mean"] for phase in PHASE_W} == pytest.approx(PHASE_W, rel=1e-9)


def test_sampler_weights_by_time() -> None:
    now = Time()
    sampler = sampling.Sampler(rail(lambda: now.now ** 2), now.clock)
    for now.now in (0.0, 1.0, 3.0, 10.0):
        sampler.step()
    assert sampler.joules(sampling.Block("idle", 0, 0.0, 10.0, 0)) == 0.5 + 2 * 5.0 + 7 * 54.5
    assert sampler.joules(sampling.Block("idle", 0, 0.5, 4.0, 0)) == 0.5 * 1.0 + 2 * 5.0 + 1.0 * 9.0
    assert sampler.within([sampling.Block("idle", 0, 1.0, 3.0, 0)]).tolist() == [[1.0], [9.0]]
    with pytest.raises(NoRails, match=r"rail CORE: no reading in 1\.00 s of idle, must be one at least"):
        sampler.joules(sampling.Block("idle", 0, 4.0, 5.0, 0))


def test_product_of_voltage_and_current_is_integrated() -> None:
    now = Time()
    both = rails.Rail(ACCELERATOR, (lambda: 1.0 + now.now, lambda: 2.0 - now.now), ("V", "A"))
    sampler = sampling.Sampler(both, now.clock)
    for now.now in (0.0, 1.0):
        sampler.step()
    assert sampler.joules(sampling.Block("running", 0, 0.0, 1.0, 1)) == 2.0


@pytest.mark.parametrize(("degrees", "value"), [
    (1, 12.70620), (2, 4.302653), (3, 3.182446), (5, 2.570582), (9, 2.262157), (10, 2.228139), (30, 2.042272),
    (120, 1.979930)])
def test_student(degrees: int, value: float) -> None:
    assert confidence.student(degrees) == pytest.approx(value, rel=1e-6)


def test_step_size() -> None:
    assert confidence.step_size(np.array([0.125, 0.125, 0.109, 0.14])) == pytest.approx(0.015)
    assert confidence.step_size(np.array([0.125, 0.125])) is None


def test_hidden_by_quantization() -> None:
    rng = np.random.default_rng(0)
    assert confidence.hidden(np.full(50, 0.3), 0.1) == 0.05
    assert confidence.hidden(np.array([0.1] * 50 + [0.2] * 50), 0.1) == 0.05
    assert confidence.hidden(np.round(rng.normal(0.3, 1.0, 10_000)), 1.0) < 1e-6
    for sigma in (0.35, 0.5):  # worse than what any mean shows
        worst = max(abs(float(np.round(rng.normal(offset, sigma, 400_000)).mean()) - offset)
                    for offset in np.arange(0, 1, 0.125))
        assert worst < confidence.hidden(np.round(rng.normal(0.3, sigma, 10_000)), 1.0) + 0.003


@pytest.mark.parametrize("quantum", [1e-3, 1.0])  # 1.0 repeats its value at a third of the updates
def test_update_interval(quantum: float) -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.03, 5000))
    held = quantum * np.round(rng.standard_normal(1000)[(times / 0.25).astype(int)] / quantum)
    blocks = [sampling.Block("idle", k, 10.0 * k + 1.5, 10.0 * k + 10.0, 0) for k in range(10)]
    assert confidence.update_interval(times.tolist(), held.tolist(), blocks) == pytest.approx(0.25, rel=0.05)


def test_no_update_interval() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.03, 5000))
    blocks = [sampling.Block("idle", k, 3.0 * k + 1.5, 3.0 * k + 3.0, 0) for k in range(33)]
    for values in (rng.standard_normal(5000), np.ones(5000), (times / 3.0).astype(int)):
        assert confidence.update_interval(times.tolist(), values.tolist(), blocks) is None


def noisy(seed: int, quantum: float, sigma: float) -> tuple[float, float]:
    """Error and half-width of the computation's power, with noise whose neighbours correlate, and a drift."""
    now = Time()
    work = FakeWork(now)
    rng = np.random.default_rng(seed)
    offset, slope = rng.uniform(-quantum, quantum), rng.uniform(-0.002, 0.002)
    noise = 0.0

    def watts() -> float:
        nonlocal noise
        noise = 0.9 * noise + math.sqrt(1 - 0.81) * sigma * rng.standard_normal()
        return float(quantum * round((PHASE_W[work.phase] + offset + slope * now.now + noise) / quantum))

    result = measure(in_memory(rail(watts)), work, 20.0, rounds=8, settle=0.2, interval=0.1)
    power = result["rails"][0]["computation"]["power_w"]
    return power["mean"] - 0.6, power["ci95"]


def test_confidence_interval_covers_the_truth_as_often_as_it_says() -> None:
    results = [noisy(seed, quantum=0.015, sigma=0.05) for seed in range(300)]
    covered = np.mean([abs(error) <= half for error, half in results])
    assert 0.92 <= covered <= 0.98
    assert abs(np.mean([error for error, _ in results])) < 2e-3
    # As wide as it must be for its 7 degrees of freedom; forgetting that neighbours correlate would give a fourth.
    assert np.median([half for _, half in results]) == pytest.approx(2.36 * np.std([error for error, _ in results]),
                                                                     rel=0.15)


def test_confidence_interval_with_steps_larger_than_the_noise() -> None:
    results = [noisy(seed, quantum=0.15625, sigma=0.004) for seed in range(100)]
    assert np.mean([abs(error) <= half for error, half in results]) >= 0.95
    assert np.mean([abs(error) for error, _ in results]) > 0.01


def test_coarse_steps_are_said() -> None:
    work = FakeWork(Time())
    result = measure(in_memory(rail(lambda: 0.25 * round(PHASE_W[work.phase] / 0.25))), work, 6.0)
    entry = result["rails"][0]
    assert entry["steps"] == {"W": 0.25}
    assert entry["step_w"] == 0.25
    assert entry["computation"]["hidden_by_steps_w"] == 0.25
    assert abs(mean(entry, "power_w") - 0.6) <= entry["computation"]["power_w"]["ci95"]
    assert result["warnings"] == ["rail CORE: steps of 250 mW are coarse for a computation of 0.5 W"]


def test_nothing_to_see_is_said() -> None:
    work, rng = FakeWork(Time()), np.random.default_rng(2)
    result = measure(in_memory(rail(lambda: float(rng.normal(1.0, 0.1)))), work, 6.0)
    assert result["warnings"] == [
        "rail CORE: running cannot be told from idle-clocked: measure longer, or more work per second"]


def test_sensor_that_is_slower_than_what_settles() -> None:
    now, rng = Time(), np.random.default_rng(1)
    work = FakeWork(now)
    held: dict[int, float] = {}
    result = measure(in_memory(rail(lambda: held.setdefault(
        int(now.now / 2.0), PHASE_W[work.phase] + 0.01 * float(rng.standard_normal())))), work, 60.0, settle=1.5)
    assert result["rails"][0]["updates_per_s"] == pytest.approx(0.5, rel=0.02)
    warning = next(text for text in result["warnings"] if "changes" in text)
    assert "at most, slower than the 1.50 s to settle, so that phases mix: settle longer" in warning


def test_stuck_rails(tmp_path: Path) -> None:
    now = Time()
    work = FakeWork(now)
    fake = FakeHwmon("zc706", tmp_path, lambda which, at: PHASE_W[work.phase], noise_w=0.05)
    now.on_read = fake.write
    found = rails.find("zc706", hwmon=fake.folder)
    fake.stuck = {"VCCAUX"}
    result = measure(found, work, 6.0, rounds=3, interval=0.05)
    assert [entry["name"] for entry in result["rails"]] == ["VCCINT", "VCC1V5_PL", "VADJ_FPGA", "VCC3V3_FPGA"]
    warning = next(text for text in result["warnings"] if "VCCAUX" in text)
    assert "readings of 0.218 A in all phases, must change: the sensor is stuck" in warning
    assert warning.startswith("left out: rail VCCAUX: ")
    assert result["totals"]["all"]["rails"] == ["VCCINT", "VCC1V5_PL", "VADJ_FPGA", "VCC3V3_FPGA"]
    fake.stuck = {"VCCINT"}
    with pytest.raises(NoRails, match="rail VCCINT: .*the sensor is stuck"):
        measure(found, work, 6.0, rounds=3, interval=0.05)


@pytest.mark.parametrize("name", ["VCCINT", "VCCAUX"])
def test_rail_that_vanishes(name: str, tmp_path: Path) -> None:
    now = Time()
    work = FakeWork(now)
    fake = FakeHwmon("zc706", tmp_path, lambda which, at: PHASE_W[work.phase], noise_w=0.05)
    found = rails.find("zc706", hwmon=fake.folder)

    def on_read(at: float) -> None:
        fake.write(at)
        if at > 20.0:
            fake.path(name, "curr").unlink(missing_ok=True)

    now.on_read = on_read
    expected = rf"rail {name}: no reading in \d\.\d\d s of .*curr\d_input: .*No such file"
    if name == "VCCINT":
        with pytest.raises(NoRails, match=expected):
            measure(found, work, 6.0, rounds=3, interval=0.05)
    else:
        warnings = measure(found, work, 6.0, rounds=3, interval=0.05)["warnings"]
        assert any(text.startswith("left out: rail VCCAUX: no reading") for text in warnings)


def test_readings_that_fail_now_and_then_are_counted() -> None:
    now = Time()
    work = FakeWork(now)
    count = 0

    def watts() -> float:
        nonlocal count
        count += 1
        if count % 4 == 0:
            raise NoRails("bus fault")
        return PHASE_W[work.phase] + 0.001 * (count % 7)

    result = measure(in_memory(rail(watts)), work, 6.0)
    entry = result["rails"][0]
    assert (entry["failed_readings"], entry["readings"]) == (count // 4, count - count // 4)
    assert f"rail CORE: {count // 4} readings failed, {count - count // 4} did not" in result["warnings"]
    assert mean(entry, "power_w") == pytest.approx(0.6, abs=1e-3)


def test_totals_leave_supplies_out() -> None:
    now, rng = Time(), np.random.default_rng(0)
    work = FakeWork(now)

    def load(share: float) -> Callable[[], float]:
        return lambda: share * PHASE_W[work.phase] + 0.02 * float(rng.standard_normal())

    found = in_memory(rail(load(1.0)), rail(load(0.5), OTHER), rail(load(2.0), SUPPLY))
    result = measure(found, work, 60.0)
    assert [entry["name"] for entry in result["rails"]] == ["CORE", "SIDE", "FEED"]
    assert result["totals"]["accelerator"]["rails"] == ["CORE"]
    assert result["totals"]["all"]["rails"] == ["CORE", "SIDE"]
    assert result["totals"]["accelerator"]["computation"] == result["rails"][0]["computation"]
    assert mean(result["totals"]["all"], "power_w") == pytest.approx(0.9, rel=0.01)
    assert mean(result["totals"]["all"]) == pytest.approx(3.6, rel=0.01)
    assert result["totals"]["all"]["power_w"]["idle"]["mean"] == pytest.approx(0.375, rel=0.01)


@pytest.mark.parametrize("options", [{"rounds": 2}, {"seconds": 0.0}, {"settle": -1.0}, {"interval": 0.0}])
def test_times_that_cannot_be(options: dict[str, float]) -> None:
    with pytest.raises(DriverError, match="must be positive times and 3 rounds at least"):
        measure(in_memory(rail(lambda: 1.0)), FakeWork(Time()), **{"seconds": 6.0, **options})


def test_no_image() -> None:
    class Lazy(FakeWork):
        def run(self, until: float) -> int:
            return min(0, super().run(until))

    work = Lazy(Time())
    with pytest.raises(DriverError, match=r"^energy: classified no image in 0\.60 s, must be one at least: measure"):
        measure(in_memory(rail(lambda: 1.0)), work, 6.0)
    assert work.phases[-1] == "idle-clocked"


def test_result_is_json_and_text() -> None:
    now, rng = Time(), np.random.default_rng(0)
    work = FakeWork(now)

    def load(share: float) -> Callable[[], float]:
        return lambda: share * PHASE_W[work.phase] + 0.02 * float(rng.standard_normal())

    found = in_memory(rail(load(1.0)), rail(load(2.0), SUPPLY))
    found.warnings.append("rail SIDE is left out: reasons")
    result = json.loads(json.dumps(measure(found, work, 60.0)))
    text = energy.lines(result)
    assert text[0] == "energy on zc706 from memory"
    assert text[1].startswith(f"10 rounds, {result['images']} images in 60.")
    assert text[2].split() == ["W", "idle", "idle-clocked", "running", "computation", "mJ/image", "with", "clock",
                               "mJ/image"]
    assert [line.split("  ")[0].strip() for line in text[3:7]] == ["CORE *", "FEED", "sum of *", "sum"]
    core = result["rails"][0]
    cells = [core["power_w"]["idle"], core["computation"]["mj_per_image"]]
    for cell in cells:
        assert f"{cell['mean']:.4g} +- {cell['ci95']:.2g}" in text[3]
    assert text[8].startswith("CORE: the core; ")
    assert text[9].startswith("FEED: the feed; not in the sum; ")
    assert text[10:] == ["warning: rail SIDE is left out: reasons"]
    assert all(ord(letter) < 128 for line in text for letter in line)


class ThreadWork(energy.Workload):
    """Works in real time, 1000 images/s."""

    phase = "idle-clocked"

    def idle(self) -> None:
        self.phase = "idle"

    def clocked(self) -> None:
        self.phase = "idle-clocked"

    def run(self, until: float) -> int:
        self.phase = "running"
        begun = time.monotonic()
        while time.monotonic() < until:
            time.sleep(0.001)
        return round(1000 * (time.monotonic() - begun))


def test_with_a_real_thread() -> None:
    work = ThreadWork()
    readers = set()

    def watts() -> float:
        readers.add(threading.current_thread())
        return PHASE_W[work.phase] + 0.01 * (time.monotonic() * 1000 % 3)

    result = energy.measure(in_memory(rail(watts)), work, 0.6, rounds=3, settle=0.03, interval=0.002)
    assert mean(result["rails"][0], "power_w") == pytest.approx(0.6, rel=0.05)
    assert mean(result["rails"][0]) == pytest.approx(0.6, rel=0.1)
    assert result["rails"][0]["readings_per_s"] > 50
    reader, = readers
    assert reader is not threading.main_thread()
    assert not reader.is_alive()


def test_fault_of_the_thread_is_raised() -> None:
    def step() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), sampling.in_thread(step, 0.001):
        time.sleep(0.01)


def test_pauses_keep_the_average() -> None:
    some = sampling.pauses(0.02)
    values = [next(some) for _ in range(1000)]
    assert np.mean(values) == pytest.approx(0.02, rel=1e-3)
    assert min(values) >= 0.01
    assert len(set(values)) == 1000


class Interrupted(ThreadWork):
    """Somebody presses Ctrl-C in the middle of a run, which the engine's reset ends, or of a pause."""

    def __init__(self, phase: str) -> None:
        self.breaks = phase
        self.log: list[tuple[str, int]] = []

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self.log.append((phase, len(readers())))

    def idle(self) -> None:
        self._enter("idle")

    def clocked(self) -> None:
        self._enter("idle-clocked")

    def run(self, until: float) -> int:
        self._enter("running")
        time.sleep(0.01)
        if self.breaks == "running":
            raise KeyboardInterrupt
        return 1

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        if self.breaks == self.phase:
            raise KeyboardInterrupt


def readers() -> list[threading.Thread]:
    """Threads that sampling has started and that have not ended."""
    return [thread for thread in threading.enumerate() if "in_thread" in thread.name or "loop" in thread.name]


@pytest.mark.parametrize("phase", ["idle", "idle-clocked", "running"])
def test_interrupted_measurement(phase: str) -> None:
    """Full clock again after the work and the readings have ended, and as the last thing."""
    work = Interrupted(phase)
    with pytest.raises(KeyboardInterrupt):
        energy.measure(in_memory(rail(lambda: 1.0)), work, 0.6, rounds=3, settle=0.01, interval=0.002,
                       sleep=work.sleep)
    runs = ["idle", "idle-clocked", "running"]
    assert [entered for entered, _ in work.log] == [*runs[:runs.index(phase) + 1], "idle-clocked"]
    assert [threads for _, threads in work.log] == [1] * (len(work.log) - 1) + [0]


def accelerator(log: list[Any], interrupted: bool = False) -> Accelerator:
    """As far as a measurement uses one."""
    job = SimpleNamespace(cycles_per_batch=10_000, batch=2, images=np.zeros((2, 1, 1, 1), np.uint8))

    def run_placed(batches: int) -> None:
        log.append("run")
        time.sleep(0.001)
        if interrupted:
            raise KeyboardInterrupt

    fake = SimpleNamespace(
        backend=SimpleNamespace(clock_mhz=lambda: 200.0, set_clock=lambda mhz: log.append(mhz)),
        folder=SimpleNamespace(network=job, settings=SimpleNamespace(board="zc706"), predicted={"energy": 1.0}),
        engine=SimpleNamespace(load=lambda job: log.append("load")), most_batches=lambda job: 4,
        place=lambda job, images: log.append(len(images)), run_placed=run_placed)
    return cast(Accelerator, fake)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "measure", functools.partial(energy.measure, rounds=3, settle=0.01, interval=0.002))


def found_rails(monkeypatch: pytest.MonkeyPatch, close: Callable[[], None]) -> None:
    found = rails.Rails("zc706", "memory", (rail(lambda: 1.0 + 0.1 * (time.monotonic() * 1000 % 3)),), close=close)
    monkeypatch.setattr(rails, "find", lambda board, hwmon: found)


def no_answer() -> None:
    raise NoRails("bus: does not answer, must: power-cycle the board")


@pytest.mark.usefixtures("quick")
def test_result_of_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Any] = []
    closed: list[str] = []
    found_rails(monkeypatch, lambda: closed.append("closed"))
    result = energy_run.measure(accelerator(log), 0.3, Path("none"))
    assert closed == ["closed"]
    assert log[:4] == ["load", 8, energy_run.SLOWEST_MHZ, 200.0]
    assert log[-1] == 200.0
    assert (result["predicted"], result["board"]) == ({"energy": 1.0}, "zc706")
    assert result["images"] % 8 == 0
    assert not any("power-cycle" in text for text in result["warnings"])


@pytest.mark.usefixtures("quick")
def test_finished_measurement_survives_a_bus_that_cannot_be_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    found_rails(monkeypatch, no_answer)
    result = energy_run.measure(accelerator([]), 0.3, Path("none"))
    assert result["images"] > 0
    assert result["warnings"][-1] == "bus: does not answer, must: power-cycle the board"
    assert energy.lines(result)[-1] == "warning: bus: does not answer, must: power-cycle the board"


@pytest.mark.usefixtures("quick")
def test_interrupted_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Any] = []
    closed: list[str] = []
    found_rails(monkeypatch, lambda: closed.append("closed"))
    with pytest.raises(KeyboardInterrupt):
        energy_run.measure(accelerator(log, interrupted=True), 0.3, Path("none"))
    assert log[2:] == [energy_run.SLOWEST_MHZ, 200.0, "run", 200.0]
    assert closed == ["closed"]
    assert readers() == []
