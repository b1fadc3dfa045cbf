"""The engine as the workload of an energy measurement."""

import time
from pathlib import Path
from typing import Any, Dict

import numpy as np

from . import energy, rails
from .accelerator import Accelerator

SLOWEST_MHZ = 0.1
"""Below what any board can set: it takes its slowest clock."""
RUN_SECONDS = 0.05
"""Of the engine between two looks at the clock."""


class EngineWorkload(energy.Workload):
    """Classifies the golden images of the build over and over; they are packed once, so that it is the engine that
    works and not the processor."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        job = accelerator.folder.network
        self._mhz = accelerator.backend.clock_mhz()
        fitting = round(RUN_SECONDS * self._mhz * 1e6 / job.cycles_per_batch)
        self._batches = max(1, min(accelerator.most_batches(job), fitting))
        self._images = self._batches * job.batch
        accelerator.engine.load(job)
        accelerator.place(job, np.resize(job.images, (self._images, *job.images.shape[1:])))

    def idle(self) -> None:
        """The slowest clock."""
        self._accelerator.backend.set_clock(SLOWEST_MHZ)

    def clocked(self) -> None:
        """The clock as it was found."""
        self._accelerator.backend.set_clock(self._mhz)

    def run(self, until: float) -> int:
        """Full buffers, one after the other, until time.monotonic() says so."""
        images = 0
        while time.monotonic() < until:
            self._accelerator.run_placed(self._batches)
            images += self._images
        return images


def measure(accelerator: Accelerator, seconds: float, hwmon: Path) -> Dict[str, Any]:
    """The result of energy.measure, `seconds` for each phase, and what the energy model expects beside it."""
    with rails.find(accelerator.folder.settings.board, hwmon) as found:
        before = len(found.warnings)
        result = energy.measure(found, EngineWorkload(accelerator), seconds)
    warnings = result["warnings"] + found.warnings[before:]
    return {**result, "warnings": warnings, "predicted": accelerator.folder.predicted}
