"""Delays between instructions, and the exact cycles of a program."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..arch import ArrayConfig
from ..errors import DoesNotFit
from ..isa import PER_INSTRUCTION_CYCLES, Opcode
from .instructions import Draft
from .task import ROTATION, ROW, X_HI, X_LO, Y_HI, Y_LO, Task

_MAX_DELAY = 255


@dataclass(frozen=True)
class _Landing:
    """Data on its way: the cycle in which it is at the write port, by row and bank."""

    cycle: int
    cells: frozenset[tuple[int, int]]


def schedule(drafts: list[Draft], config: ArrayConfig) -> list[Draft]:
    """The instructions with the smallest delays with which no read sees stale data and write beats keep their order."""
    clock = 0
    landings: list[_Landing] = []
    made = []
    for draft in drafts:
        earliest = clock + PER_INSTRUCTION_CYCLES
        first = earliest + draft.fields.get("delay", 0)
        landings = [landing for landing in landings if landing.cycle >= earliest]
        if landings:
            first = max(first, _first_step(draft, landings, earliest, config))
        delay = first - earliest
        if delay > _MAX_DELAY:
            raise DoesNotFit(f"{draft.opcode.name}: waits {delay} cycles for its operands, at most {_MAX_DELAY} can be "
                             f"encoded: use a smaller simd")
        made.append(draft.with_fields(delay=delay))
        clock = first + draft.cycles
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
            row = draft.fields["residual_row"] + t + group * draft.fields["residual_group_stride"]
            y, x = task.positions(np.array([t]))
            lanes = np.flatnonzero((x[0] < task.out.shape[2]) & (y[0] < task.out.shape[1]))
            yield start + task.last_step + 1, {(row, int(lane)) for lane in lanes}


def _operands(draft: Draft, task: Task, t: int, group: int, k: int) -> set[tuple[int, int]]:
    """Rows and banks that step k of tile t reads in lanes that are not masked."""
    tap, g = divmod(k // task.layer.terms, task.in_groups)
    base = draft.fields["in_row"] + t + draft.fields["in_group_stride"] * (group if task.run.advance else g)
    step = np.unique(task.steps[tap], axis=0)[:, :, None]
    y, x = task.positions(np.array([t]))
    seen = (step[:, X_LO] <= x) & (x < step[:, X_HI]) & (step[:, Y_LO] <= y) & (y < step[:, Y_HI])
    index = np.arange(task.source.pixels) + step[:, ROTATION]
    row = base + step[:, ROW] + index // task.source.pixels
    bank = index % task.source.pixels
    return set(zip(row[seen].tolist(), bank[seen].tolist(), strict=True))


def _last_writes(task: Task, first: int, config: ArrayConfig) -> list[_Landing]:
    """The write beats that are at the port after the instruction's last cycle."""
    out, landings = task.out, []
    latency = config.write_latency(task.opcode is Opcode.POOL)
    count = task.out_groups * task.tiles
    end = first + task.cycles
    for index in range(count - 1, -1, -1):
        cycle = first + index * task.duration + task.last_step + latency
        if cycle + out.planes - 1 < end:
            break
        og, t = divmod(index, task.tiles)
        base = out.row + (task.run.first + og // task.slots(config.pe)) * out.group_rows
        y, x = task.positions(np.array([t]))
        inside = (y < out.shape[1]) & (x < out.shape[2])
        y, x = y[inside], x[inside]
        plane = y % out.stride[0] * out.stride[1] + x % out.stride[1]
        position = y // out.stride[0] * out.pitch + x // out.stride[1]
        row = base + plane * out.plane_rows + position // out.pixels
        for beat in range(out.planes):
            here = plane == beat
            cells = zip(row[here].tolist(), (position[here] % out.pixels).tolist(), strict=True)
            landings.append(_Landing(cycle + beat, frozenset(cells)))
    return landings


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
