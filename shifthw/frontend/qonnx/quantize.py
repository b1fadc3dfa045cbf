"""Quantizers of values, and the two ends of the network: its input and its outputs."""

import math
from dataclasses import replace

import numpy as np

from ...errors import UnsupportedModel
from ...ir.graph import Rounding
from ...ir.types import IntType
from ...ir.verify import is_accumulator
from ..deviation import bounds, exact_grid
from ..draft import Grid, Sum
from .builder import Builder
from .quantizers import bits_input, described, power_of_two, quantizer, scale_input, zero_input
from .reader import LONGEST_NAME, Step
from .values import Activation, Constant, RawInput, Value

OUTPUT_BITS = 16
"""Of an output that is not quantized and cannot be held exactly."""
SHOWN = 16
"""Channels that a note lists."""


def model_input(build: Builder) -> Value:
    """The input as the model has it: real numbers, or integers if it is annotated so."""
    name, dtype = build.model.input, build.model.annotated.get(build.model.input)
    if dtype is None:
        channels = build.model.shapes[name][1]
        return RawInput(np.ones(channels), np.zeros(channels))
    readable = name.isprintable() and 0 < len(name) <= LONGEST_NAME
    return build.network_input(name if readable else "input", Grid(dtype, 1.0, dtype.lo, dtype.hi, Rounding.HALF_UP),
                               1.0)


def quant(build: Builder, step: Step) -> Value:
    """Quant, IntQuant, BipolarQuant: of a constant, of the network's input, of a value."""
    value, found = build.value(step), quantizer(step, build.model.constants)
    if isinstance(value, Constant):
        return found.constant(value)
    if isinstance(value, RawInput):
        return _quantized_input(build, step, value, found.grid())
    return build.quantized(step, value, found.grid())


def _quantized_input(build: Builder, step: Step, raw: RawInput, grid: Grid) -> Activation:
    grid = replace(grid, lo=grid.step_of(raw.lo), hi=grid.step_of(raw.hi))
    factor = float(raw.factor[0])
    plain = not raw.offset.any() and bool((raw.factor == factor).all())
    if not plain:
        factors, offsets = (", ".join(f"{item:.9g}" for item in items[:SHOWN]) for items in (raw.factor, raw.offset))
        build.notes.append(f"input: images must be given as x * ({factors}) + ({offsets}) per channel, which the model "
                           f"computes before {step.path}")
    value = build.network_input(step.path, grid, grid.scale / factor if plain else grid.scale)
    return build.flattened(f"{step.path}.flatten", value) if raw.flat else value


def trunc(build: Builder, step: Step) -> Value:
    """Drops low bits of integers: a Quant, since its input is in whole steps of its input scale already.

    The older form (5 inputs) divides the integers by 2**(bits in - bits out), keeps their scale and limits nothing.
    """
    constants = build.model.constants
    scales = scale_input(step, constants, 1)
    zero_input(step, constants, 2)
    bits, newer = bits_input(step, constants, 3), len(step.inputs) > 5
    found = described(step, scale_input(step, constants, 4) if newer else scales,
                      bits_input(step, constants, 5 if newer else 4))
    scale = replace(found, scale=scales).step()
    value = build.sum(step, build.value(step))
    steps = [item / scale for item in (*value.factors, value.offset)]
    if value.is_clamped or any(np.any(item != np.rint(item)) for item in steps):
        raise UnsupportedModel(f"{step.where}: its input is not in whole steps of its scale {scale:g}, so that it "
                               f"rounds twice; use a Quant")
    if not newer:
        return _divided(build, step, value, scale, 2.0 ** (found.bits - bits), found.rounding())
    if not power_of_two(found.step() / scale):
        raise UnsupportedModel(f"{step.where}: has scales {scale:g} and {found.step():g}, whose ratio must be a power "
                               f"of two")
    return build.quantized(step, value, found.grid())


def _divided(build: Builder, step: Step, value: Sum, scale: float, factor: float, rounding: Rounding) -> Value:
    value = replace(value, factors=tuple(item * factor for item in value.factors), offset=value.offset * factor)
    lo, hi = (end / scale for end in bounds(build.draft, value))
    dtype = IntType.holding(math.floor(lo), math.ceil(hi))
    return build.quantized(step, value, Grid(dtype, scale, dtype.lo, dtype.hi, rounding))


def outputs(build: Builder) -> tuple[str, ...]:
    """The nodes that hold the outputs of the model. Constant ones, such as scales, are left out."""
    names = [name for name in build.model.outputs if not build.is_constant(name)]
    if not names:
        raise UnsupportedModel("output: is constant, must be what the network computes of its input")
    if len(names) < len(build.model.outputs):
        constant = len(build.model.outputs) - len(names)
        build.notes.append(f"output: {constant} of the model's outputs are constant and left out")
    return tuple(_output(build, Step("output", "output", (name,), (name,), {})) for name in names)


def _output(build: Builder, step: Step) -> str:
    """One that is not quantized gets a quantizer."""
    value = build.value(step)
    if isinstance(value, Activation):
        build.refuse_padding(step, value)
        tensor = build.draft[value.name].output
        if tensor.scale == value.scale:
            return value.name
        grid = Grid(tensor.dtype, value.scale, *build.range(value.name), Rounding.FLOOR)
        return build.draft.quantize(step.path, build.sum(step, value), grid)
    return _quantized_output(build, step, build.sum(step, value))


def _quantized_output(build: Builder, step: Step, value: Sum) -> str:
    """Exact, if 32 bits can hold it and bias and limits are in whole steps; the note says what became of it."""
    grid, how = exact_grid(build.draft, value), "kept"
    if grid is None:
        dtype = IntType(OUTPUT_BITS, True)
        largest = max(map(abs, bounds(build.draft, value)))
        grid, how = Grid(dtype, (largest or 1.0) / dtype.hi, dtype.lo, dtype.hi, Rounding.HALF_UP), "rounded"
        off = 0.5
    else:
        ends = [end for end in bounds(build.draft, value) if end in (value.lo, value.hi)]
        steps = np.append(value.offset, ends) / grid.scale
        off = float(np.abs(steps - np.rint(steps)).max())
    name = build.draft.quantize(step.path, value, grid)
    if off:
        build.rounded[name] = off
    note = f"{name}: is not quantized in the model; {how} in {grid.dtype.bits} bits, in steps of {grid.scale:.6g}"
    widest = max(node.output.dtype.bits for node in build.draft.nodes if not is_accumulator(node) and node.name != name)
    if widest < grid.dtype.bits:
        note += f"; the whole engine becomes as wide: a Quant of {widest} bits behind it makes a smaller one"
    build.notes.append(note)
    return name
