"""Readings of a rail over time: taken by a thread beside the work, integrated over the stretches of a phase."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from typing import Callable, ContextManager, Iterator, NamedTuple, Sequence

import numpy as np

from .errors import NoRails
from .rails import Rail

Sampling = Callable[[Callable[[], None], float], ContextManager[None]]
"""Calls a function about every so many seconds, beside what happens within the context."""


def pauses(interval: float) -> Iterator[float]:
    """Seconds between readings: `interval` on average, never a period that a periodic load could share."""
    k = 0
    while True:
        k += 1
        yield interval * (0.5 + k * 0.6180339887498949 % 1)


@contextmanager
def in_thread(step: Callable[[], None], interval: float) -> Iterator[None]:
    """Sampling by a thread. What `step` raises is raised when the context is left."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def loop() -> None:
        try:
            for pause in pauses(interval):
                step()
                if stop.wait(pause):
                    return
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


class Block(NamedTuple):
    """A stretch of one phase without the time that it took to settle.

    start, stop : s
    images : classified in it
    """

    phase: str
    round: int
    start: float
    stop: float
    images: int


class Sampler:
    """Readings of one rail over time.

    times : s, of each reading
    values : of each reading, what `rail.read` gives
    faults : readings that failed
    """

    def __init__(self, rail: Rail, clock: Callable[[], float]) -> None:
        self.rail = rail
        self.times: list[float] = []
        self.values: list[tuple[float, ...]] = []
        self.faults: list[NoRails] = []
        self._clock = clock

    def step(self) -> None:
        """Reads once. The time is the middle of the transfer."""
        before = self._clock()
        try:
            values = self.rail.read()
        except NoRails as fault:
            self.faults.append(fault)
            return
        self.times.append((before + self._clock()) / 2)
        self.values.append(values)

    def within(self, blocks: Sequence[Block]) -> np.ndarray:
        """float64[readings, sources] that fall into the blocks."""
        values = [value for block in blocks for value in self.values[self._slice(block)]]
        return np.array(values).reshape(len(values), len(self.rail.sources))

    def joules(self, block: Block) -> float:
        """Energy within a block: linear between readings, constant before the first and after the last."""
        inside = self._slice(block)
        if not self.times[inside]:
            fault = f" ({self.faults[-1]})" if self.faults else ""
            raise NoRails(f"rail {self.rail.known.name}: no reading in {block.stop - block.start:.2f} s of "
                          f"{block.phase}{fault}, must be one at least: measure longer")
        watts = np.prod(np.array(self.values[inside]), axis=1)
        times = np.array([block.start, *self.times[inside], block.stop])
        watts = np.concatenate([watts[:1], watts, watts[-1:]])
        return float(np.sum(np.diff(times) * (watts[1:] + watts[:-1]) / 2))

    def _slice(self, block: Block) -> slice:
        return slice(bisect_left(self.times, block.start), bisect_right(self.times, block.stop))
