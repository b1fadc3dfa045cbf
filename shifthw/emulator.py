"""Emulator: runs an encoded Program on integers and counts its cycles. What the RTL must equal.

Everything is decoded from the program's memories: instructions, step words, weight codes, start and
scale words. Cycles follow docs/architecture.md; a read of data that is still on its way, a write out
of order or a field without meaning raises EmulationError.
"""

from dataclasses import dataclass, field

import numpy as np

from .arch import ArrayConfig
from .isa import PER_INSTRUCTION_CYCLES, Opcode
from .program import Program
from .tile_loop import EmulationError, EngineState, TileLoop

__all__ = ["Emulation", "EmulationError", "Emulator"]


@dataclass(frozen=True)
class Emulation:
    """What a run gives: outputs int64[n, c, h, w], cycles, and the tensors that were asked for."""

    outputs: np.ndarray
    cycles: int
    cycles_per_batch: tuple[int, ...]
    """Cycles of each batch, stalls not counted; the prologue is in `cycles` alone."""
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    """By name int64[n, c, h, w]."""


class Emulator:
    """One engine with its memories. `run` may be called again; feature memory is then as the last run left it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._engine = EngineState(program)

    def run(self, images: np.ndarray, capture: tuple[str, ...] = ()) -> Emulation:
        """Run whole batches of images int[n, c, h, w]; `capture` names tensors to read out after they are written."""
        return _Run(self._engine, images, capture).run()


class _Run:
    """The state of one run: the cycle counter and the streams."""

    def __init__(self, engine: EngineState, images: np.ndarray, capture: tuple[str, ...]) -> None:
        self.e = engine
        self.c: ArrayConfig = engine.config
        self.program = engine.program
        self.images = len(images)
        self.batches = self.program.batches(len(images))
        self.stream = self.program.pack_inputs(images)
        self.loaded = 0
        self.pending: tuple[int, np.ndarray] | None = None
        self.results: list[bytes] = []
        self.capture = capture
        self.tensors: dict[str, list[np.ndarray]] = {name: [] for name in capture}
        self.clock = 0
        engine.restart()

    def run(self) -> Emulation:
        pc, done, marks = 0, 0, []
        while done < self.batches:
            f = self.e.instructions[pc]
            first = self.clock + PER_INSTRUCTION_CYCLES + f["delay"]
            self.clock = first + self._execute(f, first, self.program.targets[pc])
            for name in self.capture:
                if name == self.program.targets[pc] and f["opcode"] != Opcode.LOAD:
                    self._capture(name, last=name not in self.program.targets[pc + 1:])
            pc += 1
            if f["opcode"] == Opcode.LOAD and pc == 1:
                marks.append(self.clock)
            if f["opcode"] == Opcode.LOOP:
                done += 1
                pc = f["target"]
                marks.append(self.clock)
        outputs = self.program.unpack_outputs(b"".join(self.results), self.images)
        return Emulation(outputs, self.clock, tuple(np.diff(marks).tolist()),
                         {name: np.concatenate(parts)[:self.images] for name, parts in self.tensors.items()})

    def _execute(self, f: dict[str, int], first: int, target: str) -> int:
        """One instruction; the cycles from its first step on."""
        if f["wait_load"]:
            self._finish_load()
        match f["opcode"]:
            case Opcode.CONV | Opcode.POOL:
                return TileLoop(self.e, f, first, target).run()
            case Opcode.LOAD:
                self._load(f, first)
                return 0
            case Opcode.STORE:
                return self._store(f, first)
            case Opcode.TABLE:
                return self.e.load_table(f["table"], first)
            case Opcode.LOOP:
                return 0
        raise EmulationError(f"opcode {f['opcode']} is illegal")

    # -- input and output ----------------------------------------------------------------------
    def _load(self, f: dict[str, int], first: int) -> None:
        """Start loading: the rows are unusable until somebody waits for the loader."""
        if first <= self.e.last_read + self.c.address_latency:
            raise EmulationError(f"cycle {first}: LOAD while rows are read")
        if self.loaded == self.batches:
            return
        rows, c = f["tiles_last"] + 1, self.c
        size = c.images * rows * self.program.input_row_bytes
        data = self.stream[self.loaded * size:(self.loaded + 1) * size]
        self.loaded += 1
        records = np.frombuffer(data, np.uint8).reshape(c.images, rows, -1)
        payload = np.ascontiguousarray(records[..., :c.pixels * c.input_channels * c.wire_bits // 8])
        codes = payload.view(f"<u{c.wire_bits // 8}").reshape(c.images, rows, c.pixels, c.input_channels)
        codes = codes.astype(np.int64) & ((1 << c.activation_bits) - 1)
        lanes = np.zeros((rows, c.pixels, c.simd, c.images), np.int64)
        used = c.simd // c.input_channels * c.input_channels
        lanes[:, :, :used] = np.tile(codes, c.simd // c.input_channels).transpose(1, 2, 3, 0)
        self.e.written[f["out_row"]:f["out_row"] + rows] = False
        self.pending = (f["out_row"], lanes)

    def _finish_load(self) -> None:
        if self.pending:
            row, lanes = self.pending
            self.e.memory[row:row + len(lanes)] = lanes
            self.e.written[row:row + len(lanes)] = True
            self.pending = None

    def _store(self, f: dict[str, int], first: int) -> int:
        c, rows = self.c, f["tiles_last"] + 1
        span = slice(f["in_row"], f["in_row"] + rows)
        seen = first + np.arange(rows)[:, None, None] + c.address_latency
        if (self.e.landed[span] >= seen).any():
            raise EmulationError(f"cycle {first}: STORE reads data on its way")
        if not self.program.result.gather(self.e.written[span][None].astype(np.int64)).all():
            raise EmulationError(f"cycle {first}: STORE reads data that nobody wrote")
        codes = self.e.memory[span, :c.output_pixels].transpose(0, 3, 1, 2)  # row, image, pixel, channel
        payload = np.ascontiguousarray(codes).astype(f"<u{c.wire_bits // 8}").reshape(rows * c.images, -1)
        payload = payload.view(np.uint8)
        spare = self.program.output_row_bytes - payload.shape[1]
        self.results.append(np.pad(payload, ((0, 0), (0, spare))).tobytes())
        self.e.last_read = max(self.e.last_read, first + rows - 1)
        return rows

    def _capture(self, name: str, last: bool) -> None:
        if last:
            tensor = self.program.tensors[name]
            rows = self.e.memory[tensor.row:tensor.row + tensor.rows]
            self.tensors[name].append(tensor.gather(rows.transpose(3, 0, 1, 2)))
