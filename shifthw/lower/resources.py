"""What an engine takes of a chip: closed forms of the ArrayConfig, with named coefficients."""

import dataclasses
from dataclasses import dataclass

from ..arch import ArrayConfig
from ..isa import InstructionLayout


@dataclass(frozen=True)
class Resources:
    """Look-up tables, flip-flops, block RAMs of 36 Kbit (halves count), DSP slices."""

    lut: float
    ff: float
    bram36: float
    dsp: float

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.lut + other.lut, self.ff + other.ff, self.bram36 + other.bram36, self.dsp + other.dsp)


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Costs of the parts; those of an 8-bit activation and 8 exponent levels where they depend on widths."""

    lane_lut: float = 38
    """Per lane, its share of the adder tree included."""
    lane_ff: float = 34
    output_lut: float = 45
    """Per accumulator and requantize pipeline, besides one per accumulator bit."""
    output_ff: float = 160
    rotate_lut: float = 0.25
    """Per bit of an operand and pixel lane that it may come from."""
    write_lut: float = 0.25
    """Per bit of a result and pixel lane that it may go to."""
    address_lut: float = 12
    """Per pixel lane and channel lane."""
    operand_ff: float = 4
    """Per bit of an operand: registers from the memory to the lanes."""
    fixed_lut: float = 6000
    """Sequencer, loader, storer, registers, bus."""
    fixed_ff: float = 8000
    residual_dsp: float = 1
    """Per output pipeline with a residual, besides the accumulator's product."""
    dsp_operand_bits: int = 25
    """Widest accumulator that one product takes one DSP slice for: 25 on xc7, 27 on xcup."""


FAMILIES = {"xc7": Coefficients(), "xcup": dataclasses.replace(Coefficients(), dsp_operand_bits=27)}
"""By the family name of a board's part."""


def resources(config: ArrayConfig, coefficients: Coefficients = FAMILIES["xc7"]) -> Resources:
    """Estimate for a whole engine."""
    return _array(config, coefficients) + _operands(config, coefficients) + memories(config)


def _array(c: ArrayConfig, k: Coefficients) -> Resources:
    """Lanes, accumulators, requantize."""
    outputs = c.images * c.pixels * c.pe
    size = (c.activation_bits + c.exponent_levels - 1) / 15
    products = (1 + k.residual_dsp * c.residual) * (1 + (c.accumulator_bits > k.dsp_operand_bits))
    return Resources(c.lanes * k.lane_lut * size + outputs * (k.output_lut + c.accumulator_bits),
                     c.lanes * k.lane_ff * size + outputs * (k.output_ff + c.accumulator_bits), 0,
                     outputs * products if c.multiplier_bits else 0)


def _operands(c: ArrayConfig, k: Coefficients) -> Resources:
    """Addresses, rotation, write crossbar, and what there is once."""
    places = c.pixels * c.simd
    bits = places * c.images * c.activation_bits
    pool = 2 if c.max_pool else 0
    return Resources(places * k.address_lut + bits * (c.pixels * (k.rotate_lut + k.write_lut) + pool) + k.fixed_lut,
                     bits * k.operand_ff + k.fixed_ff, 0, 0)


def memories(c: ArrayConfig) -> Resources:
    """Feature banks, and the program's memories in columns of axi_data_bits."""
    banks = c.pixels * c.simd * ram18(c.images * c.activation_bits, c.feature_rows)
    return Resources(0, 0, banks / 2, 0) + program_memories(c)


def program_memories(c: ArrayConfig) -> Resources:
    """Instruction, step, weight, start and scale memory; those of up to 64 words are LUTs."""
    shapes = ((c.instruction_words, InstructionLayout(c).width), (c.step_words, c.step_word_bits),
              (c.weight_words, c.weight_word_bits), (c.scale_words, c.start_word_bits),
              (c.scale_words, c.scale_word_bits))
    lut, halves = 0.0, 0
    for words, bits in shapes:
        if words <= 64:
            lut += bits * (4 / 6 if words <= 32 else 4 / 3)
        else:
            columns, rest = divmod(bits, c.axi_data_bits)
            halves += columns * ram18(c.axi_data_bits, words) + (ram18(rest, words) if rest else 0)
    return Resources(lut, 0, halves / 2, 0)


def ram18(width: int, depth: int) -> int:
    """RAMB18 blocks of a memory with one read and one write port."""
    shapes = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
    return min(-(-width // wide) * -(-depth // deep) for wide, deep in shapes)
