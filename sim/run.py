"""Runs a program, or any job, on a simulator."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cocotb_tools.config
import numpy as np

from shifthw.program import Program

from .build import Engine
from .job import Job, JobResult, SimulationFailed, batches_done
from .toolchain import find_shared_libpython

POLL_SECONDS = 0.1

Progress = Callable[[int], None]
"""Called with the number of batches that are done."""


STALL_FACTOR = 40
"""A run with stalls may take this many times the cycles that it needs without."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SimResult:
    """What an engine gave: outputs int64[n, c, h, w], and its counters in clock cycles."""

    outputs: np.ndarray
    cycles: int
    """Of the whole run, stalls included."""
    stall_cycles: int
    batch_cycles: int
    """Of one batch, stalls left out."""


def simulate(
    executable: Path, engine: Engine, program: Program, images: np.ndarray, *, stalls_seed: int | None = None,
    progress: Progress | None = None,
) -> SimResult:
    """Runs `program` on integer images [n, c, h, w] as a host would, and reads its results back.

    BadImages for images of the wrong shape, type or range; SimulationFailed as in run_job.
    """
    batches = program.batches(len(images))
    inputs = program.pack_inputs(images)
    output_bytes = batches * program.output_batch_bytes
    beats = (len(program.image()) + len(inputs) + output_bytes) * 8 // program.config.axi_data_bits
    job = Job(program=program.image(), inputs=inputs, output_bytes=output_bytes, batches=batches,
              config=program.config.digest, axi_data_bits=program.config.axi_data_bits, stalls_seed=stalls_seed,
              max_cycles=STALL_FACTOR * (program.cycles(batches) + beats) + 10_000)
    result = run_job(executable, engine, job, progress)
    return SimResult(outputs=program.unpack_outputs(result.output, len(images)), cycles=result.cycles,
                     stall_cycles=result.stall_cycles, batch_cycles=result.batch_cycles)


def run_job(executable: Path, engine: Engine, job: Job, progress: Progress | None = None) -> JobResult:
    """Runs `job` on a simulator that build_simulator made for `engine`.

    SimulationFailed if the engine reports an error, leaves its buffers or does not finish in job.max_cycles.
    """
    with tempfile.TemporaryDirectory(prefix="shifthw-job-") as scratch:
        folder = Path(scratch)
        job.write(folder)
        argument = f"+job={folder}" if engine is Engine.COCOTB else str(folder)
        environment = cocotb_environment() if engine is Engine.COCOTB else None
        log = folder / "log.txt"
        with log.open("w") as output:
            process = subprocess.Popen([str(executable), argument], cwd=folder, env=environment, stdout=output,
                                       stderr=subprocess.STDOUT)
            try:
                _watch(process, folder, progress or (lambda done: None))
            finally:
                process.kill()
                process.wait()
        try:
            return JobResult.read(folder)
        except SimulationFailed as error:
            raise SimulationFailed(str(error) + _last_error(log.read_text(errors="replace"))) from None


def _watch(process: subprocess.Popen[bytes], folder: Path, progress: Progress) -> None:
    shown, running = 0, True
    while running:
        try:
            process.wait(POLL_SECONDS)
            running = False
        except subprocess.TimeoutExpired:
            pass
        shown = max(shown, batches_done(folder))    # a file that is just being rewritten reads as 0
        progress(shown)


def _last_error(log: str) -> str:
    """The line that tells why a simulator died without a result: the last that names an error."""
    lines = [line.strip() for line in log.splitlines() if "rror" in line]
    return f" ({lines[-1]})" if lines else ""


def cocotb_environment() -> dict[str, str]:
    """What cocotb's libraries read when the simulator loads them, as its own runner sets it."""
    interpreter = ";".join([str(find_shared_libpython()), cocotb_tools.config.pygpi_entry_point()])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COCOTB_")}
    return inherited | {
        "GPI_USERS": interpreter,
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "COCOTB_TOPLEVEL": "",
        "COCOTB_TEST_MODULES": "shifthw.sim.bench",
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "COCOTB_LOG_LEVEL": "WARNING",
        "COCOTB_ANSI_OUTPUT": "0",
    }
