"""The graph while it is being built: values between layers, and requantizations with real factors."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import UnsupportedModel
from ..ir.graph import Graph, Multiply, Node, Op, Requantize, Rounding, ShiftConv2d, SumOp
from ..ir.ranges import accumulator_type
from ..ir.shapes import output_shape
from ..ir.types import IntType, ShiftWeight, TensorType
from ..ir.verify import verify
from .fit import MULTIPLIER_LIMIT, Factors, fit, multiplierless
from .reference import RealRequantize


@dataclass(frozen=True, eq=False)
class Sum:
    """Real value of a tensor that is not quantized yet: clamp(sum_k factor[k][c] * tensor[k] + offset[c], lo, hi).

    `tensors` are node names; an accumulator comes first.
    """

    shape: tuple[int, int, int]
    tensors: tuple[str, ...]
    factors: tuple[np.ndarray, ...]
    offset: np.ndarray
    lo: float = -math.inf
    hi: float = math.inf

    def clamped(self, lo: float, hi: float) -> "Sum":
        """This value limited to lo..hi."""
        return replace(self, lo=min(max(self.lo, lo), hi), hi=max(min(self.hi, hi), lo))

    @property
    def is_clamped(self) -> bool:
        return self.lo > -math.inf or self.hi < math.inf


@dataclass(frozen=True, eq=False)
class Table:
    """Real value function(tensor * scale) of an activation, which is not quantized yet."""

    tensor: str
    function: str


@dataclass(frozen=True, eq=False)
class Pieces:
    """Maps one behind the other along their channels that are not all quantized yet, or not to one grid."""

    values: tuple["Sum | Table | str", ...]


@dataclass(frozen=True)
class Expanded:
    """A 1x1 map that stands for one of this height and width with the same value everywhere."""

    tensor: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """The integer grid of a quantizer: real = integer * scale, clamped to lo..hi."""

    dtype: IntType
    scale: float
    lo: int
    hi: int
    rounding: Rounding

    def step_of(self, value: float) -> int:
        """The step that the quantizer rounds a real value to."""
        if math.isinf(value):
            return self.hi if value > 0 else self.lo
        steps = value / self.scale
        nearest = round(steps) if self.rounding is Rounding.HALF_EVEN else \
            math.floor(steps + (0.5 if self.rounding is Rounding.HALF_UP else 0.0))
        return min(max(nearest, self.lo), self.hi)


@dataclass(eq=False)
class Draft:
    """Nodes in order; requantizations wait in `pending` until all are known, since they share shifts."""

    name: str
    nodes: list[Node] = field(default_factory=list)
    pending: dict[str, tuple[Sum, Grid]] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)
    """Convolutions that only copy channels: their one-hot weights may have any exponent."""

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def unique(self, name: str) -> str:
        """`name`, or with a number behind it if it is taken: a module may be called twice."""
        taken = {node.name for node in self.nodes}
        candidates = [name, *(f"{name}:{n}" for n in range(2, len(taken) + 3))]
        return next(candidate for candidate in candidates if candidate not in taken)

    def add(self, name: str, op: Op, source: str | tuple[str, ...], scale: float | None = None) -> str:
        """Append an operation that reads `source`; its shape and type follow from the operation.

        scale  real value of one step; None: the source's
        """
        sources = (source,) if isinstance(source, str) else source
        tensors = tuple(self[each].output for each in sources)
        try:
            shape = output_shape(op, tensors)
            dtype = accumulator_type(op, *tensors) if isinstance(op, SumOp) else tensors[0].dtype
        except (UnsupportedModel, ValueError) as error:
            raise UnsupportedModel(f"{name}: {error}") from None
        name = self.unique(name)
        self.nodes.append(Node(name, op, sources, TensorType(shape, dtype, scale or tensors[0].scale)))
        return name

    def add_typed(self, name: str, op: Op, source: str, dtype: IntType, scale: float) -> str:
        """Append an operation whose output has a type of its own."""
        name = self.unique(name)
        tensor = TensorType(output_shape(op, (self[source].output,)), dtype, scale)
        self.nodes.append(Node(name, op, (source,), tensor))
        return name

    def quantize(self, name: str, value: Sum, grid: Grid) -> str:
        """Append a Requantize of `value` to `grid`; its integers are fitted in finish.

        Raises UnsupportedModel for a product with factors per channel: the engine has one multiplier for all.
        """
        if self._is_product(value) and np.ptp(value.factors[0]) > 0:
            raise UnsupportedModel(f"{name}: reads a product that is scaled by channel, must have one factor for all; "
                                   f"put a quantizer right behind the product")
        name = self.unique(name)
        grid = replace(grid, lo=grid.step_of(value.lo), hi=grid.step_of(value.hi))
        self.pending[name] = (value, grid)
        channels = np.zeros(value.shape[0], np.int64)
        op = Requantize(tuple(channels for _ in value.tensors), channels, 0, grid.lo, grid.hi, grid.rounding)
        self.nodes.append(Node(name, op, value.tensors, TensorType(value.shape, grid.dtype, grid.scale)))
        return name

    def finish(self, outputs: tuple[str, ...], metadata: dict[str, object]) -> Graph:
        """The verified graph: nodes that no output depends on dropped, all multipliers fitted."""
        self.drop_unused(outputs)
        factors = self._factors()
        if not multiplierless(factors):
            self._raise_copies()
            factors = self._factors()
        fitted = dict(zip((item.where for item in factors), fit(factors), strict=True))
        nodes = []
        for node in self.nodes:
            if isinstance(node.op, Requantize):
                integers = fitted[node.name]
                node = replace(node, op=replace(node.op, multiplier=integers.multipliers, bias=integers.bias,
                                                shift=integers.shift))
            nodes.append(node)
        graph = Graph(self.name, tuple(nodes), outputs, metadata)
        verify(graph)
        return graph

    def affine(self) -> dict[str, RealRequantize]:
        """The requantizations in real units, before their integers are fitted."""
        result = {}
        for name, (value, _) in self.pending.items():
            gain = tuple(factor / self[tensor].output.scale
                         for tensor, factor in zip(value.tensors, value.factors, strict=True))
            result[name] = RealRequantize(gain, value.offset, value.lo, value.hi)
        return result

    def _factors(self) -> list[Factors]:
        """Ratios and offsets in steps of each quantizer's grid."""
        return [Factors(name, tuple(factor / grid.scale for factor in value.factors), value.offset / grid.scale,
                        grid.rounding, self._multiplier_limit(value))
                for name, (value, grid) in self.pending.items()]

    def _is_product(self, value: Sum) -> bool:
        return isinstance(self[value.tensors[0]].op, Multiply)

    def _multiplier_limit(self, value: Sum) -> int:
        """Largest multiplier; of a product, its own with the second operand must fit the engine's multiplier."""
        if not self._is_product(value):
            return MULTIPLIER_LIMIT
        dtype = self[self[value.tensors[0]].inputs[1]].output.dtype
        return MULTIPLIER_LIMIT // max(-dtype.lo, dtype.hi)

    def drop_unused(self, outputs: tuple[str, ...]) -> None:
        """Drop the nodes that no output depends on."""
        used = set(outputs)
        for node in reversed(self.nodes):
            if node.name in used:
                used.update(node.inputs)
        self.nodes = [node for node in self.nodes if node.name in used or not node.inputs]
        self.pending = {name: item for name, item in self.pending.items() if name in used}
        self.copies = [name for name in self.copies if name in used]

    def _raise_copies(self) -> None:
        """Give copying convolutions the largest exponent in use, so that their multipliers suit larger shifts."""
        exponents = [int(node.op.weight.exponent.max()) for node in self.nodes if isinstance(node.op, ShiftConv2d)]
        level = max(exponents, default=0)
        for name in self.copies if level else ():
            node = self[name]
            assert isinstance(node.op, ShiftConv2d)
            sign = node.op.weight.sign
            op = replace(node.op, weight=ShiftWeight(sign, (sign * level).astype(np.int8)))
            source, scale = self[node.inputs[0]].output, node.output.scale / 2**level
            raised = replace(node, op=op, output=replace(node.output, dtype=accumulator_type(op, source), scale=scale))
            self.nodes[self.nodes.index(node)] = raised
            for reader, (value, grid) in self.pending.items():
                factors = tuple(factor / 2**level if tensor == name else factor
                                for tensor, factor in zip(value.tensors, value.factors, strict=True))
                self.pending[reader] = (replace(value, factors=factors), grid)
