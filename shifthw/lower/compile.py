"""Graph to Program: the passes of the back end in order."""

import dataclasses
from dataclasses import dataclass

from ..arch import ArrayConfig
from ..ir.graph import Graph
from ..isa import InstructionLayout, Opcode
from ..program import LayerReport, Program
from ..tensor_layout import TensorLayout
from .adder import double_sums
from .allocate import allocate, rows_used
from .derive import derive, derive_numbers, skeleton
from .encode import scale_words, step_words, table_words, weight_and_start_words
from .fuse import fuse
from .instructions import Bases, Draft, draft_program
from .layout import insert_copies, lay_out, take_phases
from .network import Network
from .order import renumber
from .scaling import share_shifts
from .schedule import count_cycles, instruction_cycles, schedule
from .tables import tables_of
from .task import Task, tasks
from .work import useful_macs

DELAY_GAIN = 1.03
"""Tasks that take this factor more cycles for want of delay lines get them; the lines take 1 to 2 % of the LUTs."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A program in all but its memory words: what the search compares."""

    network: Network
    layouts: dict[str, TensorLayout]
    config: ArrayConfig
    tasks: list[Task]
    bases: list[Bases]
    drafts: list[Draft]

    @property
    def cycles_per_batch(self) -> int:
        return count_cycles(self.drafts).batch


def prepare(graph: Graph) -> Network:
    """The part of the compilation that does not depend on the array: layers with the scales that the graph has."""
    return insert_copies(take_phases(fuse(graph)))


def scaled(network: Network) -> Network:
    """The network with the scales of the hardware; which, depends on all layers, those that an array adds included."""
    network = double_sums(network)
    return dataclasses.replace(network, layers=share_shifts(network.layers, network.activation_bits))


def plan(network: Network, shape: ArrayConfig) -> Plan:
    """Layouts, configuration and schedule of a prepared network on an array of this shape."""
    network, positions = renumber(network, shape.simd)
    network = scaled(network)
    layouts = allocate(network, lay_out(network, shape.pixels, shape.simd, positions))
    numbers = derive_numbers(network, shape)
    work = tasks(network, layouts, shape.pe)
    waiting = [task.waiting(numbers.residual_period) for task in work]
    if _cycles(waiting) > DELAY_GAIN * _cycles(work):
        numbers = dataclasses.replace(numbers, residual_delay=True)
    else:
        work = waiting
    config, bases = derive(network, layouts, work, numbers)
    drafts = schedule(draft_program(network, layouts, work, bases, config), config)
    return Plan(network, layouts, config, work, bases, drafts)


def _cycles(work: list[Task]) -> int:
    return sum(task.cycles for task in work)


def compile_graph(graph: Graph, *, images: int, pixels: int, simd: int, pe: int, axi_data_bits: int = 64) -> Program:
    """Compile a graph for an array of images x pixels x simd x pe lanes.

    UnsupportedModel if a node has no mapping onto the engine; DoesNotFit if the array is impossible.
    """
    return finish(plan(prepare(graph), skeleton(images, pixels, simd, pe, axi_data_bits)))


def finish(made: Plan) -> Program:
    """Encode a plan."""
    config, network = made.config, made.network
    layout = InstructionLayout(config)
    cycles = count_cycles(made.drafts)
    weights, starts = weight_and_start_words(made.tasks, made.bases, config)
    tables = table_words(tables_of(network)[0], config)
    return Program(
        name=network.name, config=config,
        instructions=tuple(layout.encode(opcode=draft.opcode, **_encodable(draft, config)) for draft in made.drafts),
        targets=tuple(_target(draft, network) for draft in made.drafts),
        step_words=step_words(made.tasks, made.bases, config), weight_words=weights, start_words=starts,
        scale_words=scale_words(made.tasks, config), table_words=tables, source=made.layouts[network.source],
        result=made.layouts[network.result], result_shape=network.result_shape, tensors=made.layouts,
        layers=layer_table(made), rows_used=rows_used(made.layouts), cycles_prologue=cycles.prologue,
        cycles_per_batch=cycles.batch)


def _encodable(draft: Draft, config: ArrayConfig) -> dict[str, int]:
    """Without multipliers the residual's is 1 and has no field."""
    return draft.fields if config.multiplier_bits else {**draft.fields, "residual_multiplier": 0}


def _target(draft: Draft, network: Network) -> str:
    if draft.task:
        return draft.task.layer.output
    return network.source if draft.opcode is Opcode.LOAD else ""


def layer_table(made: Plan) -> tuple[LayerReport, ...]:
    """Steps, cycles and useful work of each layer."""
    rows = []
    for layer in made.network.layers:
        drafts = [draft for draft in made.drafts if draft.task and draft.task.layer is layer]
        work = [draft.task for draft in drafts if draft.task]
        cycles = sum(instruction_cycles(draft) for draft in drafts)
        macs = useful_macs(layer, made.network)
        rows.append(LayerReport(
            layer.name, layer.kind.value, layer.output, len(drafts),
            sum(task.out_groups * task.tiles * (task.last_step + 1) for task in work), cycles, macs,
            macs * made.config.images / (cycles * made.config.lanes), layer.copy))
    return tuple(rows)
