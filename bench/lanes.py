"""What a lane costs: shift, adder, dual and multiplier lanes in one array, counted by Yosys.

    python -m bench.lanes [BITS ...]

For activations of each number of bits (default 8 16 32) and both families, the parts of an array of 1 x 8 x 16 x 16
lanes are synthesized, each once, and counted as often as they stand there: the dots (lanes and adder tree), and what
the lanes share, which is weight decoding, accumulators and, with adder layers, the sum of the operands. Shifts are
0..7 with weight 0. `primitives` are the bodies in LUT and carry primitives; the others are plain logic, in which
Vivado finds more to merge than Yosys. The multiplier lanes are a yardstick (bench/multiplier_lane.py), forced into
LUTs: whatever Yosys makes of `x * w`, and radix-4 Booth in primitives; up to 16 bits: the time that Yosys takes
grows with the square. No place and route. Prints Markdown tables.
"""

import sys
from dataclasses import dataclass
from functools import cache

from amaranth.lib import wiring

from shifthw.arch import ArrayConfig
from shifthw.rtl.accumulator import Accumulator
from shifthw.rtl.adder_decode import AdderDecode
from shifthw.rtl.dot import Dot
from shifthw.rtl.dot_primitive import PrimitiveDot, has_primitives
from shifthw.rtl.module_library import ModuleLibrary, emit_module
from shifthw.rtl.operand_sum import OperandSum
from shifthw.rtl.shift_lane import WeightDecode

from .multiplier_lane import MultiplierDot
from .resources import synthesize

FAMILIES = ("xc7", "xcup")
WIDEST_MULTIPLIER = 16
STEPS_BITS = 6
"""Bits that an accumulator has for the steps of a tile: 64 of 16 lanes."""


@dataclass(frozen=True)
class Lane:
    """A row: `kind` is shift, adder, dual or multiplier, `levels` those of the exponents."""

    kind: str
    bits: int
    primitives: bool
    levels: int = 8

    @property
    def config(self) -> ArrayConfig:
        """The array with these lanes; for a multiplier its shape is what counts."""
        adder = self.kind in ("adder", "dual")
        return ArrayConfig(images=1, pixels=8, simd=16, pe=16, activation_bits=self.bits, adder=adder,
                           exponent_levels=0 if self.kind == "adder" else self.levels)


@dataclass(frozen=True)
class Cost:
    """LUTs and flip-flops per lane: in the dot, and with what the lanes share."""

    lut: float
    ff: float
    array_lut: float
    array_ff: float


def count(family: str, component: wiring.Component, name: str) -> tuple[float, float]:
    """LUTs and flip-flops of a component, submodules in its library included."""
    library = getattr(component, "library", None)
    files = {f"{name}.v": emit_module(component, name)}
    if library is not None:
        files |= {f"{each}.v": text for each, text in library.emit().items()}
    return _count(family, name, tuple(files.items()))


@cache
def _count(family: str, name: str, files: tuple[tuple[str, str], ...]) -> tuple[float, float]:
    total = synthesize(dict(files), family, name, "-nodsp")["total"]
    if total["dsp"] or total["bram36"]:
        raise ValueError(f"{name}: {total}")
    return total["lut"], total["ff"]


def dot_of(lane: Lane, family: str) -> wiring.Component:
    """The lanes of an output and their tree."""
    c = lane.config
    if lane.kind == "multiplier":
        return MultiplierDot(bits=lane.bits, simd=c.simd, family=family if lane.primitives else "",
                             library=ModuleLibrary())
    parameters = dict(activation_bits=c.activation_bits, exponent_levels=c.exponent_levels,
                      zero_weights=c.zero_weights, simd=c.simd, adder=c.adder)
    return PrimitiveDot(**parameters, family=family) if lane.primitives else Dot(**parameters)


def shared_parts(lane: Lane, dot_bits: int) -> list[tuple[int, wiring.Component]]:
    """How many there are in the array, and the component."""
    c = lane.config

    def accumulator(bits: int) -> Accumulator:
        return Accumulator(pixels=c.pixels, dot_bits=bits, accumulator_bits=dot_bits + STEPS_BITS, lane_sum=False)

    parts: list[tuple[int, wiring.Component]] = [(c.pe, accumulator(dot_bits))]
    if c.adder:
        operand_sum = OperandSum(activation_bits=c.activation_bits, simd=c.simd)
        parts += [(c.pixels, operand_sum), (1, accumulator(operand_sum.output_bits)),
                  (c.pe, AdderDecode(lanes=c.simd, activation_bits=c.activation_bits,
                                     exponent_levels=c.exponent_levels, zero_weights=c.zero_weights))]
    elif lane.kind == "shift":
        parts.append((c.pe, WeightDecode(lanes=c.simd, exponent_levels=c.exponent_levels,
                                         zero_weights=c.zero_weights)))
    return parts


@cache
def measure(lane: Lane, family: str) -> Cost:
    """Counts of one row."""
    c = lane.config
    dot = dot_of(lane, family)
    lut, ff = count(family, dot, "dot")
    # A multiplier's weights are what they are: a register for each.
    array_lut, array_ff = 0.0, float(c.pe * c.simd * lane.bits if lane.kind == "multiplier" else 0)
    for number, component in [(c.pe * c.pixels, dot), *shared_parts(lane, len(dot.o))]:
        part = count(family, component, "dot" if component is dot else "part")
        array_lut, array_ff = array_lut + number * part[0], array_ff + number * part[1]
    return Cost(lut / c.simd, ff / c.simd, array_lut / c.lanes, array_ff / c.lanes)


def lanes_of(bits: int) -> list[Lane]:
    """The rows of one number of bits, those in primitives before plain ones."""
    return [Lane(kind, bits, primitives) for kind in ("shift", "adder", "dual", "multiplier")
            for primitives in (True, False)
            if (bits <= WIDEST_MULTIPLIER if kind == "multiplier" else
                not primitives or has_primitives("xc7", bits, 0 if kind == "adder" else 8))]


def row(lane: Lane) -> str:
    """One row of the first table."""
    cells = [str(lane.bits), lane.kind, "primitives" if lane.primitives else "plain"]
    for family in FAMILIES:
        cost = measure(lane, family)
        cells += [f"{each:.1f}" for each in (cost.lut, cost.ff, cost.array_lut, cost.array_ff)]
    return "| " + " | ".join(cells) + " |"


def passes(bits: int) -> list[tuple[str, int, Lane]]:
    """Ways to run a shift layer of wide activations: what it is, cycles, the lane."""
    parts = bits // 8
    return [(f"{bits}-bit lanes", 1, Lane("shift", bits, False)),
            ("8-bit lanes, accumulators shift between passes", parts, Lane("shift", 8, True)),
            ("8-bit lanes, plain, accumulators shift between passes", parts, Lane("shift", 8, False)),
            *([("8-bit lanes with shifts up to 15, plain", parts, Lane("shift", 8, False, 16))] if parts == 2 else [])]


def main() -> None:
    """Prints the tables."""
    widths = [int(each) for each in sys.argv[1:]] or [8, 16, 32]
    titles = [f"{family} {what}" for family in FAMILIES
              for what in ("LUT per lane", "FF", "LUT with shared parts", "FF with them")]
    print("| " + " | ".join(["bits", "lane", "body", *titles]) + " |\n|" + "---|" * (3 + len(titles)), flush=True)
    for bits in widths:
        for lane in lanes_of(bits):
            print(row(lane), flush=True)
    wide = [bits for bits in widths if bits > 8]
    if wide:
        print("\n| shift layer | lanes | cycles | LUT x cycles (xc7) | LUT x cycles (xcup) |\n|" + "---|" * 5)
    for bits in wide:
        for what, cycles, lane in passes(bits):
            products = [f"{cycles * measure(lane, family).array_lut:.1f}" for family in FAMILIES]
            print("| " + " | ".join([f"{bits} bits", what, str(cycles), *products]) + " |", flush=True)


if __name__ == "__main__":
    main()
