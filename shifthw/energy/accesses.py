"""Memory accesses of a compiled program per batch, read off its instructions.

    DRAM           what goes over AXI, padding of rows and beats included; the program is loaded once and not counted
    global buffer  the on-chip memories: features (all banks of a row in every step, with every residual and with every
                   row that is stored; the lanes that a result is written to; loaded rows, copies of channels included),
                   weights (a word per step), control (a step word per step, a start and a scale word per tile, the
                   instructions, the words of a table when it is loaded)
    NoC            what of the features and weights goes to the array or comes from it
    registers      the accumulators: read and written in every step

With multiplications: the same array with one pass per weight, and weights as wide as its activations. Cycles in which a
memory is clocked without need do not count, and neither do the tables beside the requantization, which are logic.
"""

from dataclasses import dataclass

from ..arch import ArrayConfig
from ..isa import InstructionLayout, Opcode
from ..program import Program
from .units import Memory

TRANSFER = ""
"""Key of what LOAD, STORE, TABLE and LOOP move: no layer's."""


@dataclass(frozen=True)
class Accesses:
    """Bits that are read or written per batch."""

    dram: int = 0
    features_read: int = 0
    features_written: int = 0
    weights: int = 0
    control: int = 0
    array: int = 0
    """Of features and weights, what the array takes and gives."""
    accumulators: int = 0

    def __add__(self, other: "Accesses") -> "Accesses":
        return Accesses(*(mine + vars(other)[name] for name, mine in vars(self).items()))

    @property
    def levels(self) -> dict[Memory, int]:
        """By level of the memory model."""
        on_chip = self.features_read + self.features_written + self.weights + self.control
        return {Memory.DRAM: self.dram, Memory.GLOBAL_BUFFER: on_chip, Memory.NOC: self.array,
                Memory.REGISTERS: self.accumulators}


def program_accesses(program: Program, *, multiplying: bool = False) -> dict[str, Accesses]:
    """By the tensor that a layer writes; TRANSFER: by loads and stores.

    multiplying: as the same network with multiplications would.
    """
    layout = InstructionLayout(program.config)
    made: dict[str, Accesses] = {TRANSFER: Accesses()}
    first = _loop_target(program, layout)
    for word, target in zip(program.instructions[first:], program.targets[first:], strict=True):
        fields = layout.decode(word)
        fetch = Accesses(control=layout.width)
        if fields["opcode"] in (Opcode.CONV, Opcode.POOL):
            moved = _tile_loop(fields, program.config, multiplying)
        else:
            target, moved = TRANSFER, _transfer(fields, program)
        made[target] = made.get(target, Accesses()) + moved + fetch
    return made


def _loop_target(program: Program, layout: InstructionLayout) -> int:
    """What is ahead of the loop happens once."""
    return layout.decode(program.instructions[-1])["target"]


def _transfer(fields: dict[str, int], program: Program) -> Accesses:
    c, rows = program.config, fields["tiles_last"] + 1
    pixel_bits = rows * c.pixels * c.images * c.activation_bits
    match fields["opcode"]:
        case Opcode.LOAD:
            copies = c.simd // c.input_channels
            return Accesses(dram=8 * program.input_batch_bytes,
                            features_written=pixel_bits * copies * c.input_channels)
        case Opcode.STORE:
            return Accesses(dram=8 * program.output_batch_bytes, features_read=pixel_bits * c.simd)
        case Opcode.TABLE:
            return Accesses(control=c.activation_bits << c.activation_bits)
        case _:
            return Accesses()


def _tile_loop(fields: dict[str, int], c: ArrayConfig, multiplying: bool) -> Accesses:
    """CONV or POOL."""
    pool = fields["opcode"] == Opcode.POOL
    terms = 1 if multiplying else fields["terms_last"] + 1
    steps = (fields["taps_last"] + 1) * (fields["in_groups_last"] + 1) * terms
    reduce = fields["reduce"] * (c.pixels - 1)
    out_groups = fields["out_groups_last"] + 1
    tiles = out_groups * (fields["tiles_last"] + 1)
    pixel_bits = c.images * c.activation_bits
    read = tiles * (steps + fields["residual"]) * c.pixels * c.simd * pixel_bits
    written = out_groups * fields["out_width"] * fields["out_height"] * (c.simd if pool else c.pe) * pixel_bits
    control = tiles * steps * c.step_word_bits
    if pool:
        return Accesses(features_read=read, features_written=written, control=control, array=read + written)
    code_bits = c.activation_bits if multiplying else c.code_bits
    weights = tiles * (steps + reduce) * c.pe * c.simd * code_bits
    sums = c.pe + (fields["adder"] and not multiplying)        # adder layers add up the operands beside
    accumulators = tiles * (steps + reduce) * c.images * c.pixels * sums * c.accumulator_bits * 2
    return Accesses(features_read=read, features_written=written, weights=weights, array=read + written + weights,
                    control=control + tiles * (c.start_word_bits + c.scale_word_bits), accumulators=accumulators)
