"""The engine, seen through its registers: is it the right one, load a program, run batches, recover from errors."""

from dataclasses import dataclass
from typing import Optional

from . import registers
from .backend import Backend, Buffer
from .errors import DriverError, EngineError, EngineHang, WrongHardware
from .job import Job
from .registers import Control, ErrorCode, Register, Status

STALL_FACTOR = 40
"""A run may take this many times the cycles that it needs without waiting for the memory."""
LONGEST_PAUSE = 1e-3
"""Seconds between two looks at STATUS when the engine should be done."""
RESET_CYCLES = 100_000
"""A reset waits for the bus transfers that are under way; so many cycles are plenty."""

ADVICE = {
    ErrorCode.BUS_READ: "the memory refused a read, it must hold the buffers where the engine looks for them: check "
                        "the port's width and the address map",
    ErrorCode.BUS_WRITE: "the memory refused a write, it must hold the buffers where the engine looks for them: check "
                         "the port's width and the address map",
    ErrorCode.CHECKSUM: "the program must arrive as it was sent: the processor's memory port must be as wide as built, "
                        "a boot loader may have set it otherwise",
    ErrorCode.ILLEGAL_INSTRUCTION: "the program must be one of this engine: copy bitstream and driver folder of one "
                                   "build",
}


@dataclass(frozen=True)
class Counters:
    """What the engine counted of a run, in clock cycles, and how long it took, in seconds of Backend.now."""

    cycles: int
    stall_cycles: int
    batch_cycles: int
    batches: int
    seconds: float

    @property
    def working_cycles(self) -> int:
        """Cycles without those spent waiting for the memory."""
        return self.cycles - self.stall_cycles


class Engine:
    """One engine behind a backend, whose CONFIG register must hold `config`, on a bus of `bus_bits`.

    loaded : the job whose program the engine holds
    stuck : a reset did not help, so that the engine may still write to its buffers
    """

    def __init__(self, backend: Backend, config: int, bus_bits: int) -> None:
        self.backend = backend
        self.config = config
        self.bus_bits = bus_bits
        self.loaded: Optional[Job] = None
        self.stuck = False

    def identify(self) -> None:
        """WrongHardware unless the registers are those of this build's engine."""
        expected = [("ID", Register.ID, registers.ID, "the bitstream of a build must be loaded first"),
                    ("VERSION", Register.VERSION, registers.VERSION,
                     "bitstream and driver must be of the same version of shifthw"),
                    ("CONFIG", Register.CONFIG, self.config,
                     "the bitstream is another build's: copy bitstream and driver folder of one build")]
        for name, register, value, advice in expected:
            found = self.backend.read(register)
            if found != value:
                raise WrongHardware(f"engine: register {name} is {found:#010x}, must be {value:#010x}: {advice}")

    def load(self, job: Job) -> None:
        """Makes the engine read the job's program, whose checksum it verifies."""
        self.loaded = None
        self._recover_if_stopped()
        buffer = self.backend.allocate(len(job.program))
        try:
            buffer.data[:len(job.program)] = bytearray(job.program)
            buffer.to_device(len(job.program))
            self.backend.write(Register.PROGRAM_ADDRESS, buffer.address)
            self.backend.write(Register.PROGRAM_BEATS, len(job.program) * 8 // self.bus_bits)
            self.backend.write(Register.CONTROL, Control.LOAD_PROGRAM)
            self._wait_for(Status.PROGRAM_LOADED, len(job.program) // 4, f"loading the program of {job.name}")
        finally:
            if not self.stuck:
                buffer.free()
        self.loaded = job

    def run(self, source: Buffer, target: Buffer, batches: int) -> Counters:
        """Runs the loaded program on `batches` batches that lie packed in `source`; results are in `target`."""
        if self.loaded is None:
            raise DriverError("engine: has no program, must load one before it runs")
        job, write = self.loaded, self.backend.write
        self._recover_if_stopped()
        write(Register.INPUT_ADDRESS, source.address)
        write(Register.OUTPUT_ADDRESS, target.address)
        write(Register.BATCHES, batches)
        write(Register.STATUS, Status.DONE)
        write(Register.IRQ_ENABLE, 1)
        source.to_device(batches * job.input_batch_bytes)
        target.to_device(batches * job.output_batch_bytes)
        begin = self.backend.now()
        write(Register.CONTROL, Control.START)
        self._wait_for(Status.DONE, job.cycles(batches), f"running {batches} batches of {job.name}")
        seconds = self.backend.now() - begin
        write(Register.STATUS, Status.DONE)
        target.from_device(batches * job.output_batch_bytes)
        counters = self._counters(seconds)
        if counters.batches != batches:
            raise WrongHardware(f"engine: register BATCHES_DONE is {counters.batches}, must be {batches} after a run: "
                                "the clock may be too fast for the design; see the timing report of the bitstream")
        return counters

    def reset(self) -> None:
        """Aborts what is on and clears errors; EngineHang if the engine does not get idle."""
        self.backend.write(Register.CONTROL, Control.RESET)
        seconds = RESET_CYCLES / self._hertz()
        end = self.backend.now() + seconds + self.backend.late_seconds
        while not self.backend.read(Register.STATUS) & Status.IDLE:
            if self.backend.now() > end:
                self.loaded, self.stuck = None, True
                raise EngineHang("engine: is not idle after a reset, a transfer on its bus never ended: load the "
                                 "bitstream again, and if that does not help start the board again")
            self._pause(seconds / 50)
        self.stuck = False

    def _recover_if_stopped(self) -> None:
        status = self.backend.read(Register.STATUS)
        if not status & Status.IDLE or status & Status.ERROR:
            self.reset()

    def _wait_for(self, bit: Status, cycles: int, doing: str) -> None:
        """Until STATUS has `bit`; EngineError or EngineHang, the engine reset, if it does not come to that."""
        try:
            self._watch(bit, cycles, doing)
        except DriverError:
            raise                           # reset where it was raised
        except BaseException:
            self.reset()                    # nothing may write to buffers that are about to be given back
            raise

    def _watch(self, bit: Status, cycles: int, doing: str) -> None:
        expected = cycles / self._hertz()
        limit = STALL_FACTOR * expected + RESET_CYCLES / self._hertz() + self.backend.late_seconds
        end = self.backend.now() + limit
        pause = expected - self.backend.shortest_wait
        while True:
            self._pause(pause)
            late = self.backend.now() > end         # looked at first: this process may be stopped at any point
            status = self.backend.read(Register.STATUS)
            if status & Status.ERROR:
                self._raise_error(doing)
            if status & bit:
                return
            if late:
                self.reset()
                raise EngineHang(f"engine: {doing} must take {1e3 * expected:.3g} ms ({cycles:,} cycles), it was not "
                                 f"done after {1e3 * limit:.3g} ms, was reset and works again: run `check`; if it "
                                 "comes back, the memory is too busy or does not answer")
            pause = min(expected / 100, LONGEST_PAUSE)

    def _pause(self, seconds: float) -> None:
        """Lets time pass, but for stretches that Linux would make longer."""
        if seconds > 0 and seconds >= self.backend.shortest_wait:
            self.backend.wait(seconds)

    def _raise_error(self, doing: str) -> None:
        code = self.backend.read(Register.ERROR)
        self.reset()
        known = code in set(ErrorCode)
        name = ErrorCode(code).name if known else str(code)
        advice = ADVICE.get(ErrorCode(code)) if known else None
        raise EngineError(f"engine: {doing} ended with the error {name}, it was reset and works again: "
                          f"{advice or 'copy bitstream and driver folder of one build'}", code)

    def _counters(self, seconds: float) -> Counters:
        read = self.backend.read
        cycles = read(Register.CYCLES) | read(Register.CYCLES_HIGH) << 32
        stalls = read(Register.STALL_CYCLES) | read(Register.STALL_CYCLES_HIGH) << 32
        return Counters(cycles=cycles, stall_cycles=stalls, batch_cycles=read(Register.BATCH_CYCLES),
                        batches=read(Register.BATCHES_DONE), seconds=seconds)

    def _hertz(self) -> float:
        return self.backend.clock_mhz() * 1e6
