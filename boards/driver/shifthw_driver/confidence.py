"""How sure a mean of quantized readings is: Student's t, what quantization hides, how often a sensor updates."""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

from .sampling import Block


def student(degrees: int, confidence: float = 0.95) -> float:
    """The half-width that holds `confidence` of Student's t distribution, for 1 degree of freedom and more."""
    def inside(t: float) -> float:
        angle = math.atan(t / math.sqrt(degrees))
        term, total = (math.cos(angle), 0.0) if degrees % 2 else (1.0, 0.0)
        for k in range(degrees // 2):
            total += term
            term *= math.cos(angle) ** 2 * (2 * k + 1 + degrees % 2) / (2 * k + 2 + degrees % 2)
        total *= math.sin(angle)
        return 2 / math.pi * (angle + total) if degrees % 2 else total

    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < confidence else (low, middle)
    return high


def step_size(values: np.ndarray) -> float | None:
    """The smallest difference of two readings; None if all are the same."""
    steps = np.diff(np.unique(values))
    return float(steps.min()) if steps.size else None


def hidden(values: np.ndarray, step: float) -> float:
    """How far the mean of quantized readings can be from that of the quantity.

    Noise or drift of some steps averages the rounding out; readings that do not leave two levels can be off by half a
    step. Between: the largest term of the sawtooth's Fourier series under a normal distribution.
    """
    _, counts = np.unique(values, return_counts=True)
    if np.count_nonzero(counts >= 0.05 * values.size) < 3:
        return step / 2
    variance = max(float(values.var()) / step ** 2 - 1 / 12, 0.0)
    return step * min(0.5, math.exp(-2 * math.pi ** 2 * variance) / math.pi)


def update_interval(times: Sequence[float], values: Sequence[float], blocks: Sequence[Block]) -> float | None:
    """Seconds between updates of a sensor that repeats its value between them; None if every reading may be new, or
    too few changes within the blocks tell."""
    at = np.array(times)
    changes = at[1:][np.diff(np.array(values)) != 0]
    # The change of phase itself shows between the blocks, however quick the sensor is.
    within = np.zeros(changes.size, bool)
    for block in blocks:
        within |= (changes >= block.start) & (changes <= block.stop)
    runs = np.diff(changes)[within[1:]]
    if runs.size < 10:
        return None
    shortest = float(np.percentile(runs, 5))
    interval = float(np.median(runs[runs <= 1.5 * shortest]))
    return interval if interval > 2 * float(np.median(np.diff(at))) else None
