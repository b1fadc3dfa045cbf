"""Energy per image, measured: the power of each rail while the accelerator works less the power while it does not.

Three phases: idle (its clock at the minimum), idle-clocked (full clock, no work) and running. They alternate in rounds
that read the same forwards and backwards, so that a drift of the board's power that is linear within a round cancels.
Each round gives one value per phase; the confidence intervals come from the rounds only, whatever the correlation of
readings within a round is, and are widened by what the sensor's quantization can hide.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import Any, Callable

import numpy as np

from .confidence import hidden, step_size, student, update_interval
from .errors import DriverError, NoRails
from .rails import Rails, never_changed
from .sampling import Block, Sampler, Sampling, in_thread

PHASES = ("idle", "idle-clocked", "running")
ROUND = (("idle", 0.5), ("idle-clocked", 0.5), ("running", 1.0), ("idle-clocked", 0.5), ("idle", 0.5))
"""The phases of a round, and the part of the phase's time that each takes."""

DIFFERENCES = {"computation": "idle-clocked", "computation_and_clock": "idle"}
"""What is measured, and the phase whose power is taken from that of running."""


class Workload(ABC):
    """What is measured. `run` is called after `clocked`."""

    @abstractmethod
    def idle(self) -> None:
        """Slows the accelerator's clock to the minimum; no work."""

    @abstractmethod
    def clocked(self) -> None:
        """Full clock; no work."""

    @abstractmethod
    def run(self, until: float) -> int:
        """Classifies images without a pause until the clock of `measure` reads `until`, in s; how many."""


def measure(rails: Rails, workload: Workload, seconds: float, *, rounds: int = 10, settle: float = 1.5,
            interval: float = 0.02, clock: Callable[[], float] = time.monotonic,
            sleep: Callable[[float], None] = time.sleep, sampling: Sampling = in_thread) -> dict[str, Any]:
    """Measures; the result can be written as JSON, and `lines` makes text of it.

    seconds : of each phase, all rounds together, without what settles
    settle : s that are discarded after each change of phase; must be longer than the sensor's update interval
    interval : s between readings, on average; the bus may be slower
    """
    if rounds < 3 or seconds <= 0 or settle < 0 or interval <= 0:
        raise DriverError(f"energy: is asked for {seconds} s in {rounds} rounds, {settle} s to settle, {interval} s "
                          "between readings, must be positive times and 3 rounds at least: ask for more")
    samplers = [Sampler(rail, clock) for rail in rails.rails]

    def step() -> None:
        for sampler in samplers:
            sampler.step()

    blocks = []
    try:
        with sampling(step, interval):
            for number in range(rounds):
                for phase, part in ROUND:
                    begun = _begin(workload, phase, settle, clock, sleep)
                    images = _stay(workload, phase, begun, part * seconds / rounds, clock, sleep)
                    blocks.append(Block(phase, number, begun, clock(), images))
    finally:
        workload.clocked()
    return _result(rails, samplers, blocks, settle)


def _begin(workload: Workload, phase: str, settle: float, clock: Callable[[], float],
           sleep: Callable[[float], None]) -> float:
    if phase == "running":
        workload.run(clock() + settle)
    else:
        (workload.idle if phase == "idle" else workload.clocked)()
        sleep(settle)
    return clock()


def _stay(workload: Workload, phase: str, begun: float, seconds: float, clock: Callable[[], float],
          sleep: Callable[[float], None]) -> int:
    if phase != "running":
        sleep(max(0.0, begun + seconds - clock()))
        return 0
    images = workload.run(begun + seconds)
    if images < 1:
        raise DriverError(f"energy: classified no image in {seconds:.2f} s, must be one at least: measure longer")
    return images


def _result(rails: Rails, samplers: list[Sampler], blocks: list[Block], settle: float) -> dict[str, Any]:
    rounds = 1 + max(block.round for block in blocks)
    running = [block for block in blocks if block.phase == "running"]
    per_image = np.array([(block.stop - block.start) / block.images for block in running])
    warnings = list(rails.warnings)
    measured: list[dict[str, Any]] = []
    sums: dict[str, list[Any]] = {"accelerator": [], "all": []}
    for sampler in samplers:
        known = sampler.rail.known
        try:
            watts, hides = _watts(sampler, blocks, rounds)
        except NoRails as error:
            if known.accelerator:
                raise
            warnings.append(f"left out: {error}")
            continue
        entry = {"name": known.name, "includes": known.includes, "accelerator": known.accelerator,
                 "supply": known.supply, **_readings(sampler, blocks), **_power(watts, hides, per_image)}
        measured.append(entry)
        warnings += _doubts(entry, settle)
        for name, wanted in (("accelerator", known.accelerator), ("all", not known.supply)):
            if wanted:
                sums[name].append((known.name, watts, hides))
    totals = {name: {"rails": [item[0] for item in items],
                     **_power(sum(item[1] for item in items), sum(item[2] for item in items), per_image)}
              for name, items in sums.items()}
    lasted = sum(block.stop - block.start for block in running)
    images = sum(block.images for block in running)
    return {"board": rails.board, "source": rails.source, "rounds": rounds, "running_s": lasted, "images": images,
            "images_per_s": images / lasted, "rails": measured, "totals": totals, "warnings": warnings}


def _watts(sampler: Sampler, blocks: list[Block], rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """float64[rounds, phases] and, of each phase, what quantization can hide; W."""
    known = sampler.rail.known
    every = sampler.within(blocks)
    if never_changed(every[:, -1].tolist()):
        raise NoRails(f"rail {known.name}: {len(every)} readings of {every[0, -1]:.4g} {sampler.rail.units[-1]} in all "
                      "phases, must change: the sensor is stuck, or its steps are larger than what changes")
    watts, hides = np.zeros((rounds, len(PHASES))), np.zeros(len(PHASES))
    for k, phase in enumerate(PHASES):
        of_phase = [block for block in blocks if block.phase == phase]
        for number in range(rounds):
            mine = [block for block in of_phase if block.round == number]
            watts[number, k] = sum(map(sampler.joules, mine)) / sum(block.stop - block.start for block in mine)
        values = sampler.within(of_phase)
        for source, gain in enumerate(_gains(values)):
            step = step_size(values[:, source]) or step_size(every[:, source])
            hides[k] += gain * hidden(values[:, source], step) if step else 0.0
    return watts, hides


def _gains(values: np.ndarray) -> list[float]:
    """W for one unit of each source."""
    means = np.abs(values.mean(axis=0))
    return [float(np.prod(np.delete(means, source))) for source in range(len(means))]


def _readings(sampler: Sampler, blocks: list[Block]) -> dict[str, Any]:
    values, times = sampler.within(blocks), sampler.times
    steps = [step_size(values[:, source]) for source in range(len(sampler.rail.units))]
    updates = update_interval(times, [value[-1] for value in sampler.values], blocks)
    return {"readings": len(times), "failed_readings": len(sampler.faults),
            "readings_per_s": (len(times) - 1) / (times[-1] - times[0]),
            "updates_per_s": updates and 1 / updates,
            "steps": dict(zip(sampler.rail.units, steps)),
            "step_w": sum(gain * (step or 0.0) for gain, step in zip(_gains(values), steps))}


def _power(watts: np.ndarray, hides: np.ndarray, per_image: np.ndarray) -> dict[str, Any]:
    result: dict[str, Any] = {"power_w": {phase: _interval(watts[:, k], hides[k]) for k, phase in enumerate(PHASES)}}
    for name, phase in DIFFERENCES.items():
        other = PHASES.index(phase)
        difference, hide = watts[:, 2] - watts[:, other], hides[2] + hides[other]
        result[name] = {"power_w": _interval(difference, hide), "hidden_by_steps_w": float(hide),
                        "mj_per_image": _interval(1e3 * difference * per_image, 1e3 * hide * per_image.mean())}
    return result


def _interval(rounds: np.ndarray, hide: float) -> dict[str, float]:
    half = student(len(rounds) - 1) * float(rounds.std(ddof=1)) / math.sqrt(len(rounds)) + float(hide)
    return {"mean": float(rounds.mean()), "ci95": half}


def _doubts(rail: dict[str, Any], settle: float) -> list[str]:
    found = []
    power = rail["computation"]["power_w"]
    if rail["failed_readings"]:
        found.append(f"{rail['failed_readings']} readings failed, {rail['readings']} did not")
    if rail["updates_per_s"] and 1 / rail["updates_per_s"] > settle:
        found.append(f"its value changes every {1 / rail['updates_per_s']:.2f} s at most, slower than the "
                     f"{settle:.2f} s to settle, so that phases mix: settle longer")
    if rail["accelerator"] and abs(power["mean"]) <= power["ci95"]:
        found.append("running cannot be told from idle-clocked: measure longer, or more work per second")
    elif rail["accelerator"] and rail["computation"]["hidden_by_steps_w"] > 0.1 * abs(power["mean"]):
        found.append(f"steps of {1e3 * rail['step_w']:.3g} mW are coarse for a computation of {power['mean']:.3g} W")
    return [f"rail {rail['name']}: {text}" for text in found]


def lines(result: dict[str, Any]) -> list[str]:
    """The result of `measure` as text for a terminal; +- are 95 % confidence intervals."""
    heads = ["W", *PHASES, "computation", "mJ/image", "with clock", "mJ/image"]
    rows = [heads] + [_row(rail["name"] + " *" * rail["accelerator"], rail) for rail in result["rails"]]
    rows += [_row({"accelerator": "sum of *", "all": "sum"}[name], total) for name, total in result["totals"].items()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    ran = f"{result['images']} images in {result['running_s']:.1f} s, {result['images_per_s']:.1f} images/s"
    return [f"energy on {result['board']} from {result['source']}",
            f"{result['rounds']} rounds, {ran}; +- is 95 % confidence",
            *table,
            "* counts as the accelerator's; computation is running - idle-clocked, with clock is running - idle",
            *(_about(rail) for rail in result["rails"]),
            *(f"warning: {text}" for text in result["warnings"])]


def _row(name: str, entry: dict[str, Any]) -> list[str]:
    cells = [entry["power_w"][phase] for phase in PHASES]
    for difference in DIFFERENCES:
        cells += [entry[difference]["power_w"], entry[difference]["mj_per_image"]]
    return [name, *(f"{cell['mean']:.4g} +- {cell['ci95']:.2g}" for cell in cells)]


def _about(rail: dict[str, Any]) -> str:
    updates = f"{rail['updates_per_s']:.3g} updates/s, " if rail["updates_per_s"] else ""
    supply = "; not in the sum" if rail["supply"] else ""
    return (f"{rail['name']}: {rail['includes']}{supply}; {rail['readings_per_s']:.3g} readings/s, {updates}"
            f"steps of {1e3 * rail['step_w']:.3g} mW")
