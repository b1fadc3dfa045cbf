"""How fast the engine is: frames per second, latency, and where its cycles go."""

from dataclasses import dataclass
from typing import Any, Dict, List

import numpy as np

from .accelerator import Accelerator
from .engine import Counters
from .job import Job

PERCENTILES = (50, 90, 99)
RUNS = 10
"""Of the engine, at least about so many in the time that there is."""


@dataclass(frozen=True)
class _Timed:
    """Runs one after the other: how many images, in how many seconds, and what each run counted."""

    images: int
    seconds: float
    runs: List[Counters]

    @property
    def frames_per_second(self) -> float:
        return self.images / self.seconds


def bench(accelerator: Accelerator, seconds: float) -> Dict[str, Any]:
    """A third of the time each: full runs of the engine alone, the same with packing and unpacking, single batches."""
    job, backend = accelerator.folder.network, accelerator.backend
    engine, whole = (_full_runs(accelerator, seconds / 3, fresh) for fresh in (False, True))
    single = _single_batches(accelerator, seconds / 3)
    runs = engine.runs + whole.runs + single.runs
    cycles, taken = sum(run.cycles for run in runs), sum(run.seconds for run in runs)
    latency = np.array([run.seconds for run in single.runs]) * 1e3
    return {
        "backend": backend.name, "network": accelerator.folder.name, "clock_mhz": backend.clock_mhz(),
        "images": engine.images + whole.images + single.images, "images_per_batch": job.batch,
        "frames_per_second": engine.frames_per_second,
        "frames_per_second_with_packing": whole.frames_per_second,
        "latency_ms": {**{f"p{share}": float(np.percentile(latency, share)) for share in PERCENTILES},
                       "max": float(latency.max())},
        "latency_engine_ms": 1e3 * single.runs[-1].cycles / (backend.clock_mhz() * 1e6),
        "latencies": len(latency),
        "cycles_per_batch": engine.runs[-1].batch_cycles, "cycles_per_batch_predicted": job.cycles_per_batch,
        "cycles_as_predicted": all(_as_predicted(job, run) for run in runs),
        "stall_share": sum(run.stall_cycles for run in runs) / cycles,
        "engine_share": cycles / (backend.clock_mhz() * 1e6 * taken),
        "predicted": accelerator.folder.predicted,
    }


def lines(result: Dict[str, Any]) -> List[str]:
    """The result for the terminal."""
    predicted, latency = result["predicted"], result["latency_ms"]
    agree = "as predicted" if result["cycles_as_predicted"] else (
        f"NOT as predicted: {result['cycles_per_batch_predicted']:,}")
    return [
        f"{result['network']} on {result['backend']}, {result['clock_mhz']:.6g} MHz, {result['images']:,} images",
        (f"frames/s: {result['frames_per_second']:,.0f} (predicted {predicted['frames_per_second']:,.0f}; "
         f"{result['frames_per_second_with_packing']:,.0f} with packing and unpacking on the processor)"),
        f"latency of a batch of {result['images_per_batch']}: "
        + ", ".join(f"{name} {value:.4g} ms" for name, value in latency.items())
        + f"; {result['latency_engine_ms']:.4g} ms by the engine's count (predicted {predicted['latency_ms']:.4g} "
        + f"without waiting for the memory; {result['latencies']:,} batches)",
        f"cycles per batch: {result['cycles_per_batch']:,} ({agree})",
        (f"waiting for the memory: {100 * result['stall_share']:.2f} % of the cycles; "
         f"the engine is on in {100 * result['engine_share']:.1f} % of the time"),
    ]


def _full_runs(accelerator: Accelerator, seconds: float, fresh: bool) -> _Timed:
    """As many batches per run as the buffers hold and the time allows; packed and unpacked each time if `fresh`."""
    job, now = accelerator.folder.network, accelerator.backend.now
    fitting = round(seconds / RUNS * accelerator.backend.clock_mhz() * 1e6 / job.cycles_per_batch)
    batches = min(accelerator.most_batches(job), max(2, fitting))
    images = np.resize(job.images, (batches * job.batch, *job.images.shape[1:]))
    _ready(accelerator, job, images)
    runs: List[Counters] = []
    begin = now()
    while not runs or now() - begin < seconds:
        if fresh:
            accelerator.place(job, images)
        runs.append(accelerator.run_placed(batches))
        if fresh:
            accelerator.results(job, len(images))
    return _Timed(images=len(runs) * len(images), seconds=now() - begin, runs=runs)


def _single_batches(accelerator: Accelerator, seconds: float) -> _Timed:
    job, now = accelerator.folder.network, accelerator.backend.now
    images = np.resize(job.images, (job.batch, *job.images.shape[1:]))
    _ready(accelerator, job, images)
    runs: List[Counters] = []
    begin = now()
    while not runs or now() - begin < seconds:
        runs.append(accelerator.run_placed(1))
    return _Timed(images=len(runs) * job.batch, seconds=now() - begin, runs=runs)


def _ready(accelerator: Accelerator, job: Job, images: np.ndarray) -> None:
    if accelerator.engine.loaded is not job:
        accelerator.engine.load(job)
    accelerator.place(job, images)


def _as_predicted(job: Job, run: Counters) -> bool:
    last = job.cycles_per_batch if run.batches > 1 else job.cycles(1)      # a first batch counts what precedes it
    return run.working_cycles == job.cycles(run.batches) and run.batch_cycles == last
