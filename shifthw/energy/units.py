"""Unit energies, in pJ, as published: not measured here, and not on this engine.

Operations: Table 1 of ShiftAddNet (You et al., NeurIPS 2020, arXiv:2010.12785), a 45 nm ASIC and the ZC706 board. The
table has no 16-bit formats, and none are guessed: what is wider than 8 bits counts as FIX32, the next wider, and so
does what is wider than 32 bits. At 9 to 16 bits that makes multiplications dearer than they are, and ratios too large.

Memory: the four levels of ShiftAddNAS (You et al., ICML 2022; GATECH-EIC/ShiftAddNAS, get_unit_energy in
CV/retraining_hybrid/hw_utils.py), per 16-bit word, proportional to the bits that are moved. They are of an ASIC;
ShiftAddNet gives none for the ZC706, so that these stand beside both columns.
"""

from collections import Counter
from enum import Enum


class Operation(Enum):
    """What the model counts."""

    MULTIPLY = "multiply"
    ADD = "add"
    SHIFT = "shift"


class Format(Enum):
    """Number formats of the table."""

    FP32 = "FP32"
    FIX32 = "FIX32"
    FIX8 = "FIX8"


class Platform(Enum):
    """Columns of the table."""

    ASIC = "asic_45nm"
    FPGA = "fpga_zc706"


class Memory(Enum):
    """Levels of the memory model."""

    DRAM = "dram"
    GLOBAL_BUFFER = "global_buffer"
    NOC = "noc"
    REGISTERS = "registers"


Counts = Counter[tuple[Operation, Format]]
"""How often which operation."""

OPERATION_PJ: dict[Platform, dict[tuple[Operation, Format], float]] = {
    Platform.ASIC: {
        (Operation.MULTIPLY, Format.FP32): 3.7, (Operation.MULTIPLY, Format.FIX32): 3.1,
        (Operation.MULTIPLY, Format.FIX8): 0.2,
        (Operation.ADD, Format.FP32): 0.9, (Operation.ADD, Format.FIX32): 0.1, (Operation.ADD, Format.FIX8): 0.03,
        (Operation.SHIFT, Format.FIX32): 0.13, (Operation.SHIFT, Format.FIX8): 0.024,
    },
    Platform.FPGA: {
        (Operation.MULTIPLY, Format.FP32): 18.8, (Operation.MULTIPLY, Format.FIX32): 19.6,
        (Operation.MULTIPLY, Format.FIX8): 0.2,
        (Operation.ADD, Format.FP32): 0.4, (Operation.ADD, Format.FIX32): 0.1, (Operation.ADD, Format.FIX8): 0.1,
        (Operation.SHIFT, Format.FIX32): 0.1, (Operation.SHIFT, Format.FIX8): 0.025,
    },
}

MEMORY_PJ = {Memory.DRAM: 200.0, Memory.GLOBAL_BUFFER: 22.2, Memory.NOC: 7.4, Memory.REGISTERS: 3.7}
"""Per WORD_BITS bits that are read or written."""

WORD_BITS = 16


def format_for(bits: int) -> Format:
    """The format that an integer of `bits` bits counts as."""
    return Format.FIX8 if bits <= 8 else Format.FIX32


def operations_pj(counts: Counts, platform: Platform) -> float:
    """Energy of operations."""
    return sum(count * OPERATION_PJ[platform][unit] for unit, count in counts.items())


def memory_pj(bits: dict[Memory, int]) -> float:
    """Energy of so many bits read or written at each level."""
    return sum(count * MEMORY_PJ[level] for level, count in bits.items()) / WORD_BITS
