"""A job: what the host side of a simulation gets and gives, as files that Python and C++ both read.

Folder of a job: `job.txt` (lines `name value`, decimal), `program.bin`, `input.bin`; the simulation adds
`progress.txt` (batches done, rewritten as it goes), `output.bin` and, last, `result.txt` (lines `name value`,
or one line `failure <text>`).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from shifthw.errors import ShifthwError
from shifthw.registers import ErrorCode

PAGE = 4096
PROGRAM_ADDRESS = 0x1000_0000


class SimulationFailed(ShifthwError):
    """The simulated engine stopped, reported an error, or never finished."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of an engine on `batches` batches.

    program, inputs   bytes as they lie in the host's memory
    output_bytes      size of the output buffer
    config            expected contents of the CONFIG register
    stalls_seed       None: a memory that is always ready; else random pauses on all channels of the memory bus, and
                      from the cocotb bench on those of the registers
    max_cycles        clock cycles after which the run is given up
    """

    program: bytes
    inputs: bytes
    output_bytes: int
    batches: int
    config: int
    axi_data_bits: int
    max_cycles: int
    stalls_seed: int | None = None

    @property
    def input_address(self) -> int:
        """First page behind the program, one page left free so that reads past the end are noticed."""
        return PROGRAM_ADDRESS + _pages(len(self.program))

    @property
    def output_address(self) -> int:
        """First page behind the inputs, one page left free."""
        return self.input_address + _pages(len(self.inputs))

    def write(self, folder: Path) -> None:
        """The job's files into an existing folder."""
        fields = {
            "program_address": PROGRAM_ADDRESS,
            "program_bytes": len(self.program),
            "program_beats": len(self.program) * 8 // self.axi_data_bits,
            "input_address": self.input_address,
            "input_bytes": len(self.inputs),
            "output_address": self.output_address,
            "output_bytes": self.output_bytes,
            "batches": self.batches,
            "config": self.config,
            "max_cycles": self.max_cycles,
            "stalls": int(self.stalls_seed is not None),
            "seed": self.stalls_seed or 0,
        }
        (folder / "program.bin").write_bytes(self.program)
        (folder / "input.bin").write_bytes(self.inputs)
        (folder / "job.txt").write_text(format_fields(fields))


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """Counters after a run, in clock cycles, and the output buffer."""

    output: bytes
    cycles: int
    stall_cycles: int
    batch_cycles: int
    batches_done: int
    clocks: int
    """Clock cycles of the whole simulation, program load and register traffic included."""

    @classmethod
    def read(cls, folder: Path) -> "JobResult":
        """The result in a job's folder; SimulationFailed says what went wrong in there."""
        path = folder / "result.txt"
        text = path.read_text() if path.exists() else "failure the simulator ended without a result"
        if text.startswith("failure "):
            raise SimulationFailed(f"simulation: {text.removeprefix('failure ').strip()}")
        fields = parse_fields(text)
        if error := fields.pop("error"):
            name = ErrorCode(error).name if error in set(ErrorCode) else str(error)
            raise SimulationFailed(f"simulation: the engine's ERROR register must be NONE, not {name}")
        return cls(output=(folder / "output.bin").read_bytes(), **fields)


def format_fields(fields: dict[str, int]) -> str:
    """Lines `name value`."""
    return "".join(f"{name} {value}\n" for name, value in fields.items())


def parse_fields(text: str) -> dict[str, int]:
    """The inverse of format_fields."""
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def batches_done(folder: Path) -> int:
    """Progress of a running job: batches that the engine has finished."""
    try:
        return int((folder / "progress.txt").read_text() or 0)
    except FileNotFoundError:
        return 0


RESULT_FIELDS = tuple(f.name for f in dataclasses.fields(JobResult) if f.name != "output")


def _pages(size: int) -> int:
    return (-(-size // PAGE) + 1) * PAGE
