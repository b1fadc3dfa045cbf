"""What an engine takes of a chip: closed forms of the ArrayConfig, part by part.

The coefficients are fitted to Yosys counts of the parts (synth_xilinx of Yosys 0.70, xc7 and xcup);
`python -m bench.resources` compares whole engines with them. No place and route.
"""

from dataclasses import dataclass
from math import log2

from ..arch import ArrayConfig
from ..isa import InstructionLayout


@dataclass(frozen=True)
class Resources:
    """Look-up tables, flip-flops, block RAMs of 36 Kbit (halves count), DSP slices."""

    lut: float
    ff: float
    bram36: float = 0
    dsp: float = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.lut + other.lut, self.ff + other.ff, self.bram36 + other.bram36, self.dsp + other.dsp)

    def __mul__(self, count: float) -> "Resources":
        return Resources(self.lut * count, self.ff * count, self.bram36 * count, self.dsp * count)


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """What differs between the families."""

    dsp_operand_bits: int
    """Widest accumulator that one product takes one DSP slice for."""
    scale_lut: float
    """A requantize pipeline with a multiplier, one shift, 8-bit activations, no residual."""
    scale_ff: float
    residual_lut: float
    """More with a residual; on xc7 only with a left shift or products, where the sum is not in the DSP."""
    residual_ff: float
    ram_cell_lut: int
    """LUTs of a distributed RAM cell: one writes, each of the others reads a bit of 64 words, or two bits of 32."""

    @property
    def ram64_lut(self) -> float:
        """Per bit of a distributed RAM of 33..64 words; one of up to 32 words takes RAM32_LUT."""
        return self.ram_cell_lut / (self.ram_cell_lut - 1)


FAMILIES = {
    "xc7": Coefficients(dsp_operand_bits=25, scale_lut=29, scale_ff=58, residual_lut=24, residual_ff=-10,
                        ram_cell_lut=4),
    "xcup": Coefficients(dsp_operand_bits=27, scale_lut=69, scale_ff=203, residual_lut=24, residual_ff=4,
                         ram_cell_lut=8),
}
"""By the family name of a board's part."""

BANK_MUX_LUT = 0.8
"""Per bit of a feature bank and choice between its block RAMs."""
RAM32_LUT = 2 / 3
LANE_LUT = {1: 1.0, 2: 1.0, 4: 1.4, 8: 1.71, 16: 1.9}
"""Per bit of a lane's output, by exponent levels up to the key."""
MINIMUM_LUT = 1.7
"""Per bit of an operand, as plain logic."""
WRITE_LUT = {2: 1.5, 4: 1.6, 8: 2.9, 16: 9.5, 32: 20, 64: 40}
"""Per bit of a written word of one pixel lane, by the pixel lanes that it may come from."""


def resources(config: ArrayConfig, coefficients: Coefficients = FAMILIES["xc7"]) -> Resources:
    """Estimate for a whole engine."""
    c, k = config, coefficients
    outputs = c.images * c.pixels * c.pe
    lanes = primitive_dot(c) if has_primitives(c) else dot(c)
    return (lanes * outputs + accumulators(c) * (c.images * c.pe) + requantize(c, k) * outputs
            + operand_sums(c) * c.images + operands(c) * c.simd + control(c) + memories(c, k))


def dot(c: ArrayConfig) -> Resources:
    """The lanes of one output and their adder tree."""
    bits = c.lane_bits
    tree = tree_lut(c.simd, bits)
    per_bit = next(value for most, value in LANE_LUT.items() if c.exponent_levels <= most)
    minimum = c.adder * c.activation_bits
    return Resources(c.simd * (bits * per_bit + MINIMUM_LUT * minimum) + tree,
                     c.simd * (bits + minimum) + 0.74 * tree)


def tree_lut(simd: int, bits: int) -> float:
    """Adder bits of a tree of pairs."""
    return sum(simd / 2**level * (bits + level - 1) for level in range(1, simd.bit_length()))


def has_primitives(c: ArrayConfig) -> bool:
    """Whether synthesis gets the lanes in LUT and carry primitives (rtl/dot_primitive.py)."""
    return c.exponent_levels == 0 or (c.activation_bits <= 8 and c.exponent_levels <= 8)


def primitive_dot(c: ArrayConfig) -> Resources:
    """As dot, in primitives: half a LUT per bit of each rotation and result, one of a minimum, ternary adders."""
    minimum = c.adder * c.activation_bits
    if not c.exponent_levels:
        bits = c.activation_bits
        return Resources(c.simd * minimum + (c.simd - 1) / 2 * (bits + 2.5), c.simd * (minimum + bits / 2 + 4))
    bits = c.lane_bits
    rotations = (c.exponent_levels - 1).bit_length()
    lane = minimum + c.activation_bits * min(2, rotations) / 2 + bits / 2
    return Resources(c.simd * lane + (c.simd - 1) / 2 * (bits + 3.5),
                     c.simd * (minimum + 2 * c.activation_bits + 1.5 * bits))


def accumulators(c: ArrayConfig) -> Resources:
    """Those of one output channel: an adder bit per LUT, one more in lane 0 for the lane sum."""
    return Resources((c.pixels + c.lane_sum) * c.accumulator_bits, c.pixels * c.accumulator_bits)


def operand_sums(c: ArrayConfig) -> Resources:
    """Those of one image, with their accumulators; registers at the end of a tree are shift registers."""
    if not c.adder:
        return Resources(0, 0)
    tree = tree_lut(c.simd, c.activation_bits)
    last = (c.activation_bits + c.simd.bit_length() - 1) * (c.simd > 4)
    return Resources(tree + last, 0.74 * tree) * c.pixels + accumulators(c)


def products(c: ArrayConfig, k: Coefficients) -> Resources:
    """What they add to a pipeline: choices of the factor, of what is added to the bias, and of the pixel's residual."""
    if not c.product:
        return Resources(0, 0)
    gate = c.multiplier_bits + c.activation_bits + 1
    register = c.multiplier_bits * (k.dsp_operand_bits <= 25)   # the factor's, ahead of the choice and not in the DSP
    return Resources(c.multiplier_bits + gate + 2 + c.activation_bits * (1 - 1 / c.pixels), register + 2)


def tables(c: ArrayConfig, k: Coefficients) -> Resources:
    """A pipeline's: four distributed memories, a choice of one of them or of none, a register."""
    if not c.tables:
        return Resources(0, 0)
    bits = (k.ram_cell_lut - 1) * (1 if c.table_words > 32 else 2)
    quarter = -(-c.activation_bits // bits) * k.ram_cell_lut
    return Resources(4 * quarter + 3 * c.activation_bits - 2, c.activation_bits)


def requantize(c: ArrayConfig, k: Coefficients) -> Resources:
    """One pipeline. The subtraction of an operands' sum wraps around, so that a narrow one cannot be left to the
    pre-adder of a DSP slice (Yosys 0.70 does so on xc7).
    """
    line = c.activation_bits * c.residual_delay      # shift registers, with a register behind each
    return (_scaling(c, k) + Resources((c.accumulator_bits + 1) * c.adder + line, line) + products(c, k)
            + tables(c, k))


def _scaling(c: ArrayConfig, k: Coefficients) -> Resources:
    if not c.multiplier_bits:
        return Resources(c.accumulator_bits + 29 + 12 * c.residual + 5 * (len(c.shifts) - 1),
                         4 * c.activation_bits + 49) + tie_detection(c, in_dsp=False)
    products = (1 + c.residual) * (1 + (c.accumulator_bits > k.dsp_operand_bits))
    shifted = c.residual and (k.dsp_operand_bits > 25 or c.residual_shift > 0 or c.product)
    lut = k.scale_lut + 3 * (c.activation_bits - 8) + 6 * (len(c.shifts) - 1) + k.residual_lut * shifted
    in_dsp = c.accumulator_bits <= k.dsp_operand_bits <= 25
    return Resources(lut, k.scale_ff + k.residual_ff * c.residual, 0, products) + tie_detection(c, in_dsp)


def tie_detection(c: ArrayConfig, in_dsp: bool) -> Resources:
    """What ties_to_even adds to a pipeline; a sum that is not in a DSP slice has its lowest bits for nothing else."""
    if not c.ties_to_even:
        return Resources(0, 0)
    return Resources(2 + sum(c.shifts) / 8, 0 if in_dsp else min(c.shifts))


def operands(c: ArrayConfig) -> Resources:
    """Addresses, masks, rotation and registers of one channel lane."""
    bits = c.images * c.pixels * c.activation_bits
    addresses = c.pixels * (3.3 * c.coordinate_bits + 0.3 * c.row_bits + 1)
    return Resources(addresses + bits * (0.05 + 0.85 * log2(c.pixels)),
                     2 * bits + c.row_bits + c.pixel_bits + c.pixels * (1 + c.row_bits))


def control(c: ArrayConfig) -> Resources:
    """Sequencer, writer, weight decoding, bus: what is in the engine's top module."""
    stored = c.images * c.pixels * c.simd * c.activation_bits
    results = c.images * c.pixels * c.pe * c.activation_bits
    decoded = c.pe * c.simd * decoded_bits(c)
    return Resources(25, 130) * (c.tables > 0) + Resources(
        2300 + 180 * c.pixels + stored * (WRITE_LUT[c.pixels] + c.max_pool),
        1900 + 60 * c.pixels + stored * (1 + c.max_pool) + results * (1 + c.residual) + decoded)


def decoded_bits(c: ArrayConfig) -> int:
    """Registers of a decoded weight; shifts wait for the minimum."""
    shift = (c.exponent_bits + 2) * (c.exponent_levels > 0)
    return shift + c.adder * (c.activation_bits + (c.exponent_bits + 1) * (c.exponent_levels > 0))


def memories(c: ArrayConfig, k: Coefficients) -> Resources:
    """Feature banks, and the program's memories in columns of axi_data_bits."""
    bits = c.images * c.activation_bits
    banks = Resources(BANK_MUX_LUT * bits * choices(c.feature_rows), bits,
                      ram18(bits, c.feature_rows) / 2) * (c.pixels * c.simd)
    shapes = ((c.instruction_words, InstructionLayout(c).width, 1), (c.step_words, c.step_word_bits, 1),
              (c.weight_words, c.weight_word_bits, 1), (c.scale_words, c.start_word_bits, 2),
              (c.scale_words, c.scale_word_bits, 2), (c.tables * c.table_words, 4 * c.activation_bits, 1))
    total = banks
    for words, width, latency in shapes[:None if c.tables else -1]:
        columns, rest = divmod(width, c.axi_data_bits)
        total += ram(c.axi_data_bits, words, latency, k) * columns
        total += ram(rest, words, latency, k) if rest else Resources(0, 0)
    return total


def ram(width: int, words: int, latency: int, k: Coefficients) -> Resources:
    """One column of a program memory; distributed up to 64 words."""
    if words <= 64:
        return Resources(width * (RAM32_LUT if words <= 32 else k.ram64_lut), width * latency)
    return Resources(width * choices(words) / 2, width * (latency - 1), ram18(width, words) / 2)


def choices(words: int) -> int:
    """Choices between block RAMs for a bit of a memory of so many words: none if one of them is as deep."""
    deep = -(-words // 512)
    return 0 if deep & (deep - 1) == 0 else deep - 1


def ram18(width: int, depth: int) -> int:
    """RAMB18 blocks of a memory with one read and one write port."""
    shapes = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
    return min(-(-width // wide) * -(-depth // deep) for wide, deep in shapes)
