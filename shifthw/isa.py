"""The instruction set: one wide instruction per layer, its fields defined once.

The layout depends on the ArrayConfig; compiler, emulator and RTL decoder all read it from here.
docs/architecture.md describes how the engine runs each opcode.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from .arch import ArrayConfig, bits_for


class Opcode(IntEnum):
    """What an instruction does. Any other value stops the engine with ILLEGAL_INSTRUCTION."""

    CONV = 1
    """Accumulate steps in the array, requantize, write."""
    POOL = 2
    """Maximum over steps, write."""
    LOAD = 3
    """Start the input loader: the next batch of images into rows. Does nothing after the last batch."""
    STORE = 4
    """Send rows to the output buffer."""
    LOOP = 5
    """End of a batch: jump to `target` while batches remain, else finish."""
    TABLE = 6
    """Copy a table of an activation function to the requantize pipelines, a word per cycle."""


class Section(IntEnum):
    """Destinations of the records of a program image."""

    INSTRUCTION = 0
    STEP = 1
    WEIGHT = 2
    START = 3
    SCALE = 4
    TABLE = 5
    END = 255


PER_INSTRUCTION_CYCLES = 3
"""Cycles from an instruction's last step to the next instruction's first, its `delay` not counted."""


@dataclass(frozen=True)
class Field:
    """A bit field: `width` bits at `offset`, two's complement if `signed`."""

    name: str
    offset: int
    width: int
    signed: bool = False

    def encode(self, value: int) -> int:
        """The field's bits in place; ValueError if `value` is out of range."""
        lo, hi = (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1) if self.signed else (0, (1 << self.width) - 1)
        if not lo <= value <= hi:
            raise ValueError(f"instruction field {self.name} must be {lo}..{hi}, not {value}")
        return (value & ((1 << self.width) - 1)) << self.offset

    def decode(self, word: int) -> int:
        """The field's value in an instruction word."""
        value = (word >> self.offset) & ((1 << self.width) - 1)
        return value - (1 << self.width) if self.signed and value >> (self.width - 1) else value


LANE_FIELDS = ("x", "y", "xq", "xr", "yb", "yr")
"""Start position of a pixel lane: see InstructionLayout."""


class InstructionLayout:
    """Fields of an instruction for one engine. Counts are stored minus one (`*_last`).

    Loops, outermost first: out_groups, tiles, then the steps of a tile: taps, in_groups, terms;
    then `reduce` adds pixels-1 steps, `residual` one, and `idle` cycles follow.

    Reading: a step of tile t, channel group g, reads for channel lane i row
    in_row + t + g*in_group_stride + step[i].row (rows wrap at the memory's depth).
    Writing: pixel lane p goes to plane (yr, xr), pixel index yb + xq of that plane, that is row
    out_row + plane*plane_rows + index // pixels of bank index % pixels, plane = yr*stride_x + xr.

    Pixel positions: each lane's x, y start at lane{p}_x, lane{p}_y; a tile further
    x += x_step; if x >= x_wrap: x -= x_wrap, y += y_step + 1, else y += y_step.
    Beside them x = xq*stride_x + xr and y = (yb/out_pitch)*stride_y + yr advance by (xq0, xr0) or,
    on a wrap, (xq1, xr1), and (yb0, yr0) or (yb1, yr1), with a carry from xr into xq and from yr
    into yb (of out_pitch).
    """

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        c = config
        row, coord = c.row_bits, c.coordinate_bits
        index = row + c.pixel_bits
        stride = bits_for(c.max_stride + 1)
        code = c.activation_bits
        spec: list[tuple[str, int, bool]] = [
            ("opcode", 3, False),
            ("wait_load", 1, False),            # stall until the loader is idle
            ("wait_store", 1, False),           # stall until the storer is idle
            ("delay", 8, False),                # cycles before the first step, for data on its way
            ("target", bits_for(c.instruction_words), False),
            ("out_groups_last", bits_for(c.scale_words), False),
            ("tiles_last", row, False),         # also: rows of a LOAD or STORE, minus one
            ("taps_last", bits_for(c.step_words), False),
            ("in_groups_last", row, False),
            ("terms_last", 2, False),
            ("idle", max(6, bits_for(c.max_stride**2)), False),     # results may wait for a beat per phase plane
            ("reduce", 1, False),
            ("step_base", bits_for(c.step_words), False),
            ("in_row", row, False),             # also: first row of a STORE
            ("in_group_stride", row, False),
            ("in_advance", 1, False),           # in_row moves to the next channel group with the outputs
            ("in_signed", 1, False),
            ("mask_high", 1, False),            # masked operands: 0 or 2**(activation_bits-1)
            ("weight_base", bits_for(c.weight_words), False),
            ("weight_stride", bits_for(c.weight_words), False),  # words per output group
            ("adder", int(c.adder), False),     # codes are operands; the sum of the operands is taken from the result
            ("weight_hold", 1, False),          # all steps use the group's first word, reduce steps its second
            ("scale_base", bits_for(c.scale_words), False),      # in start and scale memory alike
            ("shift_select", c.shift_select_bits, False),
            ("ties_to_even", int(c.ties_to_even), False),  # no bit where no layer needs it
            ("clamp_lo", code + 1, True),
            ("clamp_hi", code + 1, True),
            ("residual", 1, False),
            ("residual_row", row, False),
            ("residual_group_stride", row, False),
            ("residual_signed", 1, False),
            ("product", int(c.product), False),     # the residual is multiplied with the accumulator
            ("broadcast", int(c.product), False),   # the residual is a 1x1 map
            ("lookup", int(c.tables > 0), False),   # results pass the table that was copied last
            ("table", bits_for(c.tables) if c.tables else 0, False),
            ("residual_multiplier", max(1, c.multiplier_bits), True),
            ("out_row", row, False),            # also: first row of a LOAD
            ("out_group_stride", row, False),
            ("plane_rows", row, False),
            ("beats_last", bits_for(c.max_stride**2), False),
            ("stride_x", stride, False),
            ("stride_y", stride, False),
            ("out_width", coord, False),        # lanes with x >= out_width or y >= out_height do not write
            ("out_height", coord, False),
            ("x_step", coord, False),
            ("x_wrap", coord, False),
            ("y_step", coord, False),
            ("xq0", coord, True), ("xr0", stride, False), ("xq1", coord, True), ("xr1", stride, False),
            ("yb0", index, False), ("yr0", stride, False), ("yb1", index, False), ("yr1", stride, False),
            ("out_pitch", coord, False),
        ]
        for p in range(c.pixels):
            spec += [(f"lane{p}_x", coord, False), (f"lane{p}_y", coord, False), (f"lane{p}_xq", coord, False),
                     (f"lane{p}_xr", stride, False), (f"lane{p}_yb", index, False), (f"lane{p}_yr", stride, False)]
        offset = 0
        fields = {}
        for name, width, signed in spec:
            fields[name] = Field(name, offset, width, signed)
            offset += width
        self.fields: dict[str, Field] = fields
        self.width = offset
        """Bits of an instruction."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.fields)

    def encode(self, **values: int) -> int:
        """An instruction word; fields not named are 0."""
        word = 0
        for name, value in values.items():
            word |= self.fields[name].encode(int(value))
        return word

    def decode(self, word: int) -> dict[str, int]:
        """All fields of an instruction word."""
        return {name: field.decode(word) for name, field in self.fields.items()}

    def disassemble(self, word: int) -> str:
        """One line: opcode and the fields that are not 0, lane positions left out."""
        values = self.decode(word)
        opcode = values.pop("opcode")
        name = Opcode(opcode).name if opcode in set(Opcode) else f"?{opcode}"
        shown = [f"{key}={value}" for key, value in values.items() if value and not key.startswith("lane")]
        return " ".join([name, *shown])
