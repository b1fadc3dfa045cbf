"""Consistency of a graph: what every later stage may rely on without asking again."""

import math
from collections.abc import Iterable

import numpy as np

from ..errors import UnsupportedModel
from .graph import (
    AdderConv2d,
    AddressShift2d,
    BilinearUpsample2d,
    Concat,
    Convolution,
    Flatten,
    Graph,
    Input,
    Lookup,
    MaxPool2d,
    Multiply,
    Node,
    Requantize,
    Rounding,
    SelectChannels,
    ShiftConv2d,
    SpatialShift2d,
    SumOp,
    SumPool2d,
    Upsample2d,
)
from .ranges import accumulator_type
from .shapes import output_shape
from .types import IntType, TensorType

MIN_ACTIVATION_BITS, MAX_ACTIVATION_BITS = 2, 32
MAX_MULTIPLIER = (1 << 31) - 1
MAX_BIAS = (1 << 62) - 1
MAX_SHIFT = 47
MAX_EXPONENT = 15
MAX_TERMS = 4
MAX_FAN_IN = 1 << 19
"""Weights per output channel, or window size: keeps the interpreter's float64 sums exact for 32-bit activations."""
MAX_ADDER_WEIGHT = 1 << 31
"""Largest magnitude of an adder layer's weight: no sum of distances to 32-bit activations leaves float64's 53 bits."""
MAX_DISPLACEMENT = 1 << 16
"""Of a spatial shift, and of an address shift in pixels."""
MAX_LOOKUP_BITS = 8
MAX_CONCAT = 256
"""Inputs of a Concat."""
ARITY = {Input: (0,), ShiftConv2d: (1,), AdderConv2d: (1,), SumPool2d: (1,), BilinearUpsample2d: (1,),
         Multiply: (2,), MaxPool2d: (1,), Requantize: (1, 2), Lookup: (1,), SpatialShift2d: (1,), AddressShift2d: (1,),
         SelectChannels: (1,), Concat: range(1, MAX_CONCAT + 1), Upsample2d: (1,), Flatten: (1,)}


def is_accumulator(node: Node) -> bool:
    """Whether the node's output is an exact wide sum that only a Requantize may read."""
    return isinstance(node.op, SumOp)


def verify(graph: Graph) -> None:
    """Raise UnsupportedModel, naming the node, unless the graph is consistent.

    Consistent is: unique names, topological order, one Input and it is first, shapes and integer types
    as the operations give them, accumulators that hold every sum and are read by Requantize only,
    activations of 2..32 bits, parameters in their ranges, outputs that are activations.
    """
    if not _readable(graph.name):
        raise UnsupportedModel(f"graph: has name {graph.name!r:.80}; must be printable text")
    seen: dict[str, Node] = {}
    for position, node in enumerate(graph.nodes):
        if not _readable(node.name):
            raise UnsupportedModel(f"{graph.name}: node {position} has name {node.name!r:.80}; must be printable text")
        _require(node.name not in seen, node, "has a name that occurs before")
        _require(isinstance(node.op, Input) == (position == 0), node, "must be the Input if, and only if, it is first")
        _check_edges(node, seen)
        _check_type(node, tuple(seen[name] for name in node.inputs))
        seen[node.name] = node
    if not graph.nodes or not graph.outputs:
        raise UnsupportedModel(f"{graph.name}: a graph must have nodes and outputs")
    for name in graph.outputs:
        if not isinstance(name, str) or name not in seen:
            raise UnsupportedModel(f"{graph.name}: output {name!r} is not a node of the graph")
        _require(not is_accumulator(seen[name]), seen[name], "is an output but not quantized; add a Requantize")


def _readable(name: object) -> bool:
    return isinstance(name, str) and bool(name) and name.isprintable()


def _require(ok: bool, node: Node, what: str) -> None:
    if not ok:
        raise UnsupportedModel(f"{node.name} ({type(node.op).__name__}): {what}")


def _check_edges(node: Node, seen: dict[str, Node]) -> None:
    _require(type(node.op) in ARITY, node, f"must be one of {', '.join(kind.__name__ for kind in ARITY)}")
    counts = ARITY[type(node.op)]
    _require(len(node.inputs) in counts, node, f"has {len(node.inputs)} inputs, must have {counts[-1]}")
    for index, name in enumerate(node.inputs):
        _require(isinstance(name, str) and name in seen, node, f"reads {name!r}, which no earlier node makes")
        if is_accumulator(seen[name]):
            _require(isinstance(node.op, Requantize), node,
                     f"reads the accumulator {name!r}; only a Requantize may")
            _require(index == 0, node, f"reads the accumulator {name!r} second; it must come first, "
                                       f"and the other operand must be an activation")


def _check_type(node: Node, inputs: tuple[Node, ...]) -> None:
    output = node.output
    _require(len(output.shape) == 3 and all(_whole(size, 1, 1 << 24) for size in output.shape), node,
             f"has output shape {output.shape}; must be three positive sizes")
    _require(isinstance(output.scale, float | int) and math.isfinite(output.scale) and output.scale > 0, node,
             f"has scale {output.scale}; must be positive")
    bits, signed = output.dtype.bits, output.dtype.signed
    _require(_whole(bits, 1, 64) and isinstance(signed, bool), node,
             f"has type (bits={bits!r}, signed={signed!r}); must be an integer and a bool")
    if not is_accumulator(node):
        _require(MIN_ACTIVATION_BITS <= bits <= MAX_ACTIVATION_BITS, node,
                 f"has {bits}-bit activations; must be {MIN_ACTIVATION_BITS}..{MAX_ACTIVATION_BITS} bits")
    sources = tuple(source.output for source in inputs)
    match node.op:
        case ShiftConv2d():
            _check_shift_weight(node, node.op)
            _check_conv(node, node.op)
        case AdderConv2d():
            _check_adder_weight(node, node.op)
            _check_conv(node, node.op)
        case SumPool2d() | MaxPool2d():
            _check_window(node, node.op)
        case SpatialShift2d():
            _check_spatial_shift(node, node.op)
        case AddressShift2d():
            _check_numbers(node, "offsets", node.op.offset, 1, -MAX_DISPLACEMENT, MAX_DISPLACEMENT)
        case SelectChannels():
            _check_numbers(node, "channels", node.op.channels, 1, 0, sources[0].channels - 1)
        case Upsample2d():
            _require(_pair(node.op.factor, 2, 1) and isinstance(node.op.zeros, bool), node,
                     f"has factor {node.op.factor}; must be two whole numbers of 1 or more")
        case Requantize():
            _check_requantize(node, node.op, len(inputs))
    if not sources:
        return
    _check_shape(node, sources)
    match node.op:
        case BilinearUpsample2d() | Multiply() | ShiftConv2d() | AdderConv2d() | SumPool2d():
            _check_accumulator(node, node.op, sources)
        case Lookup():
            _check_lookup(node, node.op, sources[0])
        case Requantize():
            pass
        case _:
            kept = _kept_type(node, sources[0])
            _require(output.dtype == kept, node, f"makes {output.dtype} of {sources[0].dtype}; must make {kept}")


def _kept_type(node: Node, source: TensorType) -> IntType:
    """Type of what a move makes of a tensor."""
    wider = 2 if isinstance(node.op, SpatialShift2d) and node.op.per_pixel == 2 else 0
    return IntType(min(source.dtype.bits + wider, 64), source.dtype.signed)


def _check_numbers(node: Node, what: str, values: np.ndarray, ndim: int, lo: int, hi: int) -> None:
    _require(isinstance(values, np.ndarray) and values.dtype == np.int64 and values.ndim == ndim and values.size > 0,
             node, f"has {what} of another type or shape; must be int64 of {ndim} dimensions, at least one")
    _require(lo <= int(values.min()) and int(values.max()) <= hi, node,
             f"has {what} {values.min()}..{values.max()}; must be within {lo}..{hi}")


def _check_spatial_shift(node: Node, op: SpatialShift2d) -> None:
    _check_numbers(node, "displacements", op.displacement, 2, -MAX_DISPLACEMENT, MAX_DISPLACEMENT)
    _require(op.displacement.shape[1] == 2, node,
             f"has displacements {list(op.displacement.shape)}; must be [channels, 2]")
    _require(_whole(op.per_pixel, 1, 2) and _pair(op.stride, 2, 1), node,
             f"has {op.per_pixel!r} steps per pixel and strides {op.stride}; must be 1 or 2, and 1 or more")


def _check_lookup(node: Node, op: Lookup, source: TensorType) -> None:
    bits = source.dtype.bits
    _require(bits <= MAX_LOOKUP_BITS, node, f"reads {bits}-bit activations; a table takes at most {MAX_LOOKUP_BITS}")
    _check_numbers(node, "entries", op.table, 1, node.output.dtype.lo, node.output.dtype.hi)
    _require(len(op.table) == 1 << bits, node, f"has {len(op.table)} entries; must be {1 << bits}, one per value")
    _require(isinstance(op.function, str), node, f"has the function {op.function!r:.40}; must be a name")


def _check_shape(node: Node, sources: tuple[TensorType, ...]) -> None:
    try:
        shape = output_shape(node.op, sources)
    except UnsupportedModel as error:
        raise UnsupportedModel(f"{node.name} ({type(node.op).__name__}): {error}") from None
    _require(min(shape) > 0, node, f"has a window larger than its padded input {sources[0].shape}")
    _require(tuple(node.output.shape) == shape, node, f"has output shape {node.output.shape}; its inputs give {shape}")


def _whole(value: object, lo: int, hi: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lo <= value <= hi


def _pair(values: Iterable[object], count: int, lo: int) -> bool:
    values = tuple(values)
    return len(values) == count and all(_whole(value, lo, 1 << 16) for value in values)


def _check_shift_weight(node: Node, op: ShiftConv2d) -> None:
    sign, exponent = op.weight.sign, op.weight.exponent
    _require(sign.dtype == np.int8 and exponent.dtype == np.int8, node, "must have int8 signs and exponents")
    _require(sign.size > 0 and 1 <= op.weight.terms <= MAX_TERMS, node,
             f"has weights of shape {sign.shape}; must be 1..{MAX_TERMS} terms of at least one weight")
    _require(bool(np.isin(sign, (-1, 0, 1)).all()), node, "has signs other than -1, 0, 1")
    _require(exponent.min() >= 0 and exponent.max() <= MAX_EXPONENT, node,
             f"has exponents {exponent.min()}..{exponent.max()}; must be 0..{MAX_EXPONENT}")
    _require(not exponent[sign == 0].any(), node, "has an exponent other than 0 where the sign is 0")


def _check_adder_weight(node: Node, op: AdderConv2d) -> None:
    weight = op.weight
    _require(weight.dtype == np.int64 and weight.size > 0, node,
             f"has weights {weight.dtype}{list(weight.shape)}; must be int64 and at least one")
    _require(int(weight.min()) >= -MAX_ADDER_WEIGHT and int(weight.max()) <= MAX_ADDER_WEIGHT, node,
             f"has weights {weight.min()}..{weight.max()}; must be within +-{MAX_ADDER_WEIGHT}")


def _check_conv(node: Node, op: Convolution) -> None:
    channels, fan_in = op.weight_shape[0], math.prod(op.weight_shape[1:])
    _require(fan_in <= MAX_FAN_IN, node, f"has {fan_in} weights per output; at most {MAX_FAN_IN}")
    _require(_pair(op.stride, 2, 1) and _pair(op.dilation, 2, 1), node, "must have strides and dilations of 1 or more")
    _require(_pair(op.padding, 4, 0), node, f"has padding {op.padding}; must be (top, left, bottom, right), 0 or more")
    _require(_whole(op.groups, 1, channels) and channels % op.groups == 0, node,
             f"has {op.groups} groups, which must divide its {channels} output channels")


def _check_window(node: Node, op: SumPool2d | MaxPool2d) -> None:
    _require(_pair(op.kernel, 2, 1) and _pair(op.stride, 2, 1), node, "must have a kernel and strides of 1 or more")
    _require(_pair(op.padding, 4, 0), node, f"has padding {op.padding}; must be (top, left, bottom, right), 0 or more")
    _require(op.kernel[0] * op.kernel[1] <= MAX_FAN_IN, node, f"has window {op.kernel}; at most {MAX_FAN_IN} positions")
    top, left, bottom, right = op.padding
    _require(max(top, bottom) < op.kernel[0] and max(left, right) < op.kernel[1], node,
             f"has padding {op.padding} of kernel {op.kernel}; must be smaller than the kernel")


def _check_accumulator(node: Node, op: SumOp, sources: tuple[TensorType, ...]) -> None:
    try:
        needed = accumulator_type(op, *sources)
    except ValueError as error:
        raise UnsupportedModel(f"{node.name} ({type(node.op).__name__}): {error}") from None
    held = node.output.dtype
    _require(held.signed and held.lo <= needed.lo and needed.hi <= held.hi, node,
             f"has a {held} accumulator; its sums need {needed}")


def _check_requantize(node: Node, op: Requantize, inputs: int) -> None:
    channels, dtype = (node.output.shape[0],), node.output.dtype
    _require(len(op.multiplier) == inputs, node, f"has {len(op.multiplier)} multiplier arrays for {inputs} inputs")
    parameters = [("multiplier", multiplier, MAX_MULTIPLIER) for multiplier in op.multiplier]
    for name, array, limit in [*parameters, ("bias", op.bias, MAX_BIAS)]:
        _require(array.dtype == np.int64 and array.shape == channels, node,
                 f"has {name} {array.dtype}{list(array.shape)}; must be int64{list(channels)}")
        _require(-limit <= int(array.min()) and int(array.max()) <= limit, node,
                 f"has {name} {array.min()}..{array.max()}; must be within +-{limit}")
    _require(_whole(op.shift, 0, MAX_SHIFT), node, f"has shift {op.shift}; must be 0..{MAX_SHIFT}")
    _require(isinstance(op.rounding, Rounding), node, f"has rounding {op.rounding!r}; must be a Rounding")
    _require(_whole(op.lo, dtype.lo, dtype.hi) and _whole(op.hi, op.lo, dtype.hi), node,
             f"clamps to {op.lo}..{op.hi}; must be an ascending range inside {dtype} ({dtype.lo}..{dtype.hi})")
