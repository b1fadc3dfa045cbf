"""Instruction fields of the tasks and of the program around them, as plain values by field name."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from ..arch import ArrayConfig
from ..isa import PER_INSTRUCTION_CYCLES, Opcode
from ..tensor_layout import TensorLayout
from .network import Kind, Network
from .tables import tables_of
from .task import Task


@dataclass(frozen=True, eq=False)
class Draft:
    """An instruction before it is encoded; `task` is None for LOAD, STORE, LOOP."""

    opcode: Opcode
    fields: dict[str, int]
    task: Task | None = None
    rows: int = 0
    """Rows of a LOAD or STORE, words of a TABLE."""

    @property
    def cycles(self) -> int:
        """Cycles with steps or rows, those of the gap before it not counted."""
        if self.task:
            return self.task.cycles
        return self.rows if self.opcode in (Opcode.STORE, Opcode.TABLE) else 0

    def with_fields(self, **fields: int) -> "Draft":
        return dataclasses.replace(self, fields={**self.fields, **fields})


@dataclass(frozen=True)
class Bases:
    """Where a task's words are: step, weight, start and scale memory."""

    step: int
    weight: int
    scale: int
    shift_select: int


LOOP_TARGET = 1
"""The instruction behind the first LOAD."""


def draft_program(network: Network, layouts: dict[str, TensorLayout], tasks: list[Task], bases: list[Bases],
                  config: ArrayConfig) -> list[Draft]:
    """LOAD, the loop body with the LOAD of the next batch behind the input's last reader, STORE, LOOP.

    A TABLE is ahead of the layers that look up results in another table than the layer before them that looks up any.
    """
    source, result = layouts[network.source], layouts[network.result]
    load = Draft(Opcode.LOAD, {"out_row": source.row, "tiles_last": source.rows - 1}, rows=source.rows)
    last_reader = max(i for i, task in enumerate(tasks) if source.name in task.layer.reads)
    drafts = [load]
    numbers = tables_of(network)[1]
    loaded: int | None = None
    for i, (task, base) in enumerate(zip(tasks, bases, strict=True)):
        number = numbers.get(task.layer.output, loaded)
        if number != loaded:
            loaded = number
            drafts.append(Draft(Opcode.TABLE, {"table": numbers[task.layer.output]}, rows=config.table_words))
        drafts.append(Draft(task.opcode, {**task_fields(task, base, config), "wait_load": int(i == 0)}, task))
        if i == last_reader:
            drafts.append(load.with_fields(delay=max(0, config.address_latency - PER_INSTRUCTION_CYCLES)))
    drafts.append(Draft(Opcode.STORE, {"in_row": result.row, "tiles_last": result.rows - 1}, rows=result.rows))
    drafts.append(Draft(Opcode.LOOP, {"target": LOOP_TARGET}))
    return drafts


def task_fields(task: Task, bases: Bases, config: ArrayConfig) -> dict[str, int]:
    """All fields of a CONV or POOL, but its delay. Strides of loops with one turn are 0."""
    source, layer = task.source, task.layer
    several = task.out_groups > 1
    fields = {
        "out_groups_last": task.out_groups - 1, "tiles_last": task.tiles - 1, "taps_last": len(task.steps) - 1,
        "in_groups_last": task.in_groups - 1, "terms_last": layer.terms - 1, "idle": task.idle,
        "reduce": int(task.reduce_steps > 0), "step_base": bases.step,
        "in_row": task.in_row, "in_group_stride": task.in_group_stride,
        "in_advance": int(task.advance), "in_signed": int(source.dtype.signed),
        **_write_fields(task),
    }
    if task.opcode is Opcode.POOL:
        return fields
    scale = layer.scale
    assert scale is not None
    shared = layer.kind in (Kind.IDENTITY, Kind.SUM_POOL) and shares_word(task, config.pe)
    fields |= {
        "mask_high": int(source.dtype.signed), "weight_base": bases.weight,
        "weight_stride": task.group_words if several and not shared else 0, "weight_hold": int(task.hold),
        "adder": int(task.adder), "lookup": int(layer.lookup is not None),
        "scale_base": bases.scale, "shift_select": bases.shift_select,
        "ties_to_even": int(scale.ties_to_even), "clamp_lo": scale.lo, "clamp_hi": scale.hi,
    }
    if task.residual:
        fields |= {
            "residual": 1, "residual_row": task.residual_row, "residual_group_stride": task.residual_stride,
            "residual_signed": int(task.residual.dtype.signed),
            "residual_multiplier": scale.residual_multiplier >> (0 if scale.factor else config.residual_shift),
            "product": int(scale.factor is not None), "broadcast": int(layer.broadcast),
        }
    return fields


def shares_word(task: Task, pe: int) -> bool:
    """Whether a diagonal task needs the same weight word for every output group."""
    return task.slots(pe) == 1 and bool(((task.outputs >= 0) == (task.outputs[0] >= 0)).all())


def _write_fields(task: Task) -> dict[str, int]:
    """Where results go. Lanes whose banks meet in an enlarged map take turns: each has its turn for a phase plane."""
    out, pitch, pixels, spread = task.out, task.pitch, task.source.pixels, task.layer.spread
    sy, sx = (1, task.beats) if spread != (1, 1) else out.stride
    fy, fx = (1, 1) if out.stride == spread else spread
    x_step, y_step = pixels % pitch, pixels // pitch
    x_split, x_rest = _split(sx, spread), _rest(sx, spread)
    fields = {
        "out_row": out.row + task.first * out.group_rows + _phase_rows(task),
        "out_group_stride": out.group_rows if task.count > 1 else 0,
        "plane_rows": out.plane_rows if spread == (1, 1) and out.planes > 1 else 0, "beats_last": task.beats - 1,
        "stride_x": sx, "stride_y": sy, "out_width": task.size[1], "out_height": task.size[0],
        "x_step": x_step, "x_wrap": pitch, "y_step": y_step,
        "xq0": fx * x_split(x_step), "xr0": x_rest(x_step), "xq1": fx * x_split(x_step - pitch),
        "xr1": x_rest(x_step - pitch),
        "yb0": fy * (y_step // sy) * out.pitch, "yr0": y_step % sy,
        "yb1": fy * ((y_step + 1) // sy) * out.pitch, "yr1": (y_step + 1) % sy, "out_pitch": out.pitch,
    }
    first_y, first_x = (0, 0) if out.stride == spread else task.phase
    for p in range(pixels):
        y, x = divmod(p, pitch)
        turn = p // (pixels // task.beats) if spread != (1, 1) else x_rest(x)
        fields |= {f"lane{p}_x": x, f"lane{p}_y": y, f"lane{p}_xq": fx * x_split(x) + first_x, f"lane{p}_xr": turn,
                   f"lane{p}_yb": (fy * (y // sy) + first_y) * out.pitch, f"lane{p}_yr": y % sy}
    return fields


def _split(stride: int, spread: tuple[int, int]) -> Callable[[int], int]:
    """Pixels of a phase plane before x; an enlarged map's phases count in pixels of the loop."""
    return (lambda x: x // stride) if spread == (1, 1) else (lambda x: x)


def _rest(stride: int, spread: tuple[int, int]) -> Callable[[int], int]:
    return (lambda x: x % stride) if spread == (1, 1) else (lambda x: 0)


def _phase_rows(task: Task) -> int:
    """Rows from a channel group's first to the phase plane of the task, if each phase has one."""
    if task.out.stride != task.layer.spread:
        return 0
    return (task.phase[0] * task.layer.spread[1] + task.phase[1]) * task.out.plane_rows


def bits_of(drafts: list[Draft], belongs: Callable[[str], bool], signed: frozenset[str]) -> int:
    """Bits that hold every field that `belongs`; two's complement for the names in `signed`."""
    need = 1
    for draft in drafts:
        for name, value in draft.fields.items():
            if belongs(name):
                need = max(need, (value if value >= 0 else -value - 1).bit_length() + (name in signed))
    return need
