"""Delays between instructions, and the exact cycles of a program."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..arch import ArrayConfig
from ..errors import DoesNotFit
from ..isa import PER_INSTRUCTION_CYCLES, Opcode
from .instructions import Draft
from .layout import write_places
from .taps import ROTATION, ROW, X_HI, X_LO, Y_HI, Y_LO
from .task import Task

_MAX_DELAY = 255


@dataclass(frozen=True)
class _Landing:
    """Data on its way: the cycle in which it is at the write port, by row and bank."""

    cycle: int
    cells: frozenset[tuple[int, int]]


@dataclass
class _Tables:
    """When results were last looked up in a table, and when its last entry is written."""

    config: ArrayConfig
    last_lookup: int = -1
    loaded: int = -1

    def earliest(self, draft: Draft) -> int:
        """First cycle in which a TABLE spoils no lookup, and in which a layer finds its table whole."""
        if draft.opcode is Opcode.TABLE:
            return self.last_lookup + 1 - self.config.table_load_latency
        if draft.task and draft.fields.get("lookup"):
            return self.loaded - self.config.code_latency - draft.task.last_step
        return 0

    def note(self, draft: Draft, first: int) -> None:
        """Take an instruction that begins in cycle `first` into account."""
        if draft.opcode is Opcode.TABLE:
            self.loaded = first + self.config.table_load_latency + self.config.table_words - 1
        elif draft.task and draft.fields.get("lookup"):
            task = draft.task
            self.last_lookup = (first + (task.out_groups * task.tiles - 1) * task.duration + task.last_step
                                + self.config.code_latency)


def schedule(drafts: list[Draft], config: ArrayConfig) -> list[Draft]:
    """The instructions with the smallest delays with which no read sees stale data and write beats keep their order."""
    clock = 0
    landings: list[_Landing] = []
    tables = _Tables(config)
    made = []
    for draft in drafts:
        earliest = clock + PER_INSTRUCTION_CYCLES
        first = max(earliest + draft.fields.get("delay", 0), tables.earliest(draft))
        landings = [landing for landing in landings if landing.cycle >= earliest]
        if landings:
            first = max(first, _first_step(draft, landings, earliest, config))
        delay = first - earliest
        if delay > _MAX_DELAY:
            raise DoesNotFit(f"{draft.opcode.name}: waits {delay} cycles for its operands, at most {_MAX_DELAY} can be "
                             f"encoded: use a smaller simd")
        made.append(draft.with_fields(delay=delay))
        clock = first + draft.cycles
        tables.note(draft, first)
        if draft.task:
            landings += _last_writes(draft.task, first, config)
    return made


def _first_step(draft: Draft, landings: list[_Landing], earliest: int, config: ArrayConfig) -> int:
    """First cycle in which the instruction may start, given the data on its way."""
    first = earliest
    when = {cell: landing.cycle for landing in sorted(landings, key=lambda one: one.cycle) for cell in landing.cells}
    last = max(landing.cycle for landing in landings)
    if draft.task:
        latency = config.write_latency(draft.opcode is Opcode.POOL)
        first = max(first, last + 1 - latency - draft.task.last_step)
    horizon = last - earliest - config.address_latency
    for offset, cells in _reads(draft, horizon, config):
        landed = max((when[cell] for cell in cells if cell in when), default=-1)
        first = max(first, landed + 1 - config.address_latency - offset)
    return first


def _reads(draft: Draft, horizon: int, config: ArrayConfig) -> Iterator[tuple[int, set[tuple[int, int]]]]:
    """The rows and banks that the steps up to `horizon` cycles after the first read: (cycle, cells)."""
    if draft.opcode is Opcode.STORE:
        for k in range(min(draft.rows, horizon + 1)):
            yield k, {(draft.fields["in_row"] + k, bank) for bank in range(config.pixels)}
        return
    if not draft.task:
        return
    task = draft.task
    for index in range(min(task.out_groups * task.tiles, horizon // task.duration + 1)):
        og, t = divmod(index, task.tiles)
        group = og // task.slots(config.pe)
        start = index * task.duration
        for k in range(min(task.group_steps, horizon + 1 - start)):
            yield start + k, _operands(draft, task, t, group, k)
        if task.residual:
            yield start + task.last_step + 1, _residual_cells(task, t, group)


def _residual_cells(task: Task, t: int, group: int) -> set[tuple[int, int]]:
    """Row and banks of the residual of tile t."""
    row = task.residual_row + group * task.residual_stride
    if task.layer.broadcast:
        return {(row, 0)}
    y, x = task.positions(np.array([t]))
    lanes = np.flatnonzero((x[0] < task.size[1]) & (y[0] < task.size[0]))
    return {(row + t, int(lane)) for lane in lanes}


def _operands(draft: Draft, task: Task, t: int, group: int, k: int) -> set[tuple[int, int]]:
    """Rows and banks that step k of tile t reads in lanes that are not masked."""
    tap, g = divmod(k // task.layer.terms, task.in_groups)
    base = draft.fields["in_row"] + t + draft.fields["in_group_stride"] * (group if task.advance else g)
    step = np.unique(task.steps[tap], axis=0)[:, :, None]
    y, x = task.positions(np.array([t]))
    seen = (step[:, X_LO] <= x) & (x < step[:, X_HI]) & (step[:, Y_LO] <= y) & (y < step[:, Y_HI])
    index = np.arange(task.source.pixels) + step[:, ROTATION]
    row = base + step[:, ROW] + index // task.source.pixels
    bank = index % task.source.pixels
    return set(zip(row[seen].tolist(), bank[seen].tolist(), strict=True))


def _last_writes(task: Task, first: int, config: ArrayConfig) -> list[_Landing]:
    """The write beats that are at the port after the instruction's last cycle."""
    out = task.out
    landings: list[_Landing] = []
    latency = config.write_latency(task.opcode is Opcode.POOL)
    count = task.out_groups * task.tiles
    end = first + task.cycles
    for index in range(count - 1, -1, -1):
        cycle = first + index * task.duration + task.last_step + latency
        if cycle + task.beats - 1 < end:
            break
        og, t = divmod(index, task.tiles)
        base = out.row + (task.first + og // task.slots(config.pe)) * out.group_rows
        landings += [_Landing(cycle + beat, cells) for beat, cells in enumerate(_written(task, t, base))]
    return landings


def _written(task: Task, t: int, base: int) -> list[frozenset[tuple[int, int]]]:
    """Rows and banks that each beat of tile t writes, of the channel group whose rows begin at `base`."""
    out, phase, spread = task.out, task.phase, task.layer.spread
    y, x = task.positions(np.array([t]))
    inside = ((y < task.size[0]) & (x < task.size[1]))[0]
    beat, index = write_places(y, x, out.stride, out.pitch, out.pixels, spread)
    beat, index, plane = beat[0][inside], index[0][inside], beat[0][inside]
    if spread != (1, 1):
        plane = np.full_like(beat, (phase[0] * spread[1] + phase[1]) * (out.stride == spread))
        index = index + (phase[0] * out.pitch + phase[1]) * (out.stride != spread)
    row, bank = base + plane * out.plane_rows + index // out.pixels, index % out.pixels
    return [frozenset(zip(row[beat == turn].tolist(), bank[beat == turn].tolist(), strict=True))
            for turn in range(task.beats)]


@dataclass(frozen=True)
class Cycles:
    """Exact cycles of a program, stalls not counted."""

    prologue: int
    """The first LOAD."""
    batch: int
    """One turn of the loop."""

    def total(self, batches: int) -> int:
        """Cycles of `batches` batches."""
        return self.prologue + batches * self.batch


def instruction_cycles(draft: Draft) -> int:
    """Cycles of an instruction with the gap before it."""
    return PER_INSTRUCTION_CYCLES + draft.fields.get("delay", 0) + draft.cycles


def count_cycles(drafts: list[Draft]) -> Cycles:
    """Cycles of a scheduled program."""
    return Cycles(instruction_cycles(drafts[0]), sum(instruction_cycles(draft) for draft in drafts[1:]))
