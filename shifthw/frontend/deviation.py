"""How far integer multipliers may be from the real factors that they were fitted to; which grids need no rounding."""

from typing import Protocol

import numpy as np

from ..ir.graph import Graph, Node, Requantize, Rounding, SumOp
from ..ir.ranges import accumulator_range
from ..ir.types import IntType
from .draft import Draft, Grid, Sum
from .fit import MULTIPLIER_LIMIT

MAX_OUTPUT_BITS = 32


class _Nodes(Protocol):
    def __getitem__(self, name: str) -> Node: ...


def span(nodes: _Nodes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest integer of each channel of a tensor, float64[channels] each."""
    node = nodes[name]
    if isinstance(node.op, SumOp):
        lo, hi = accumulator_range(node.op, *(nodes[source].output for source in node.inputs))
        return lo.astype(np.float64), hi.astype(np.float64)
    limits = (node.op.lo, node.op.hi) if isinstance(node.op, Requantize) else (node.output.dtype.lo,
                                                                               node.output.dtype.hi)
    return np.full(node.output.channels, float(limits[0])), np.full(node.output.channels, float(limits[1]))


def bounds(draft: Draft, value: Sum) -> tuple[float, float]:
    """Smallest and largest real value of a sum, over all inputs of the network."""
    lo, hi = value.offset, value.offset
    for name, factor in zip(value.tensors, value.factors, strict=True):
        ends = [factor * end for end in span(draft, name)]
        lo, hi = lo + np.minimum(*ends), hi + np.maximum(*ends)
    return max(float(lo.min()), value.lo), min(float(hi.max()), value.hi)


def exact_grid(draft: Draft, value: Sum) -> Grid | None:
    """A grid that holds every multiple of the sum's factors without rounding; None if 32 bits are not enough.

    One step is the largest power of two that all factors are multiples of. The offset may lie between two steps.
    """
    factors = np.concatenate(value.factors)
    if not factors.any():
        return None
    step = min(_lowest_bit(float(factor)) for factor in factors if factor)
    lo, hi = (int(np.rint(end / step)) for end in bounds(draft, value))
    bits = max(2, IntType.holding(lo, hi).bits)
    if bits > MAX_OUTPUT_BITS or np.abs(factors).max() / step > MULTIPLIER_LIMIT:
        return None
    dtype = IntType(bits, True)
    return Grid(dtype, step, dtype.lo, dtype.hi, Rounding.HALF_UP)


def _lowest_bit(value: float) -> float:
    """The largest power of two that `value`, which is not 0, is a multiple of."""
    numerator, denominator = abs(value).as_integer_ratio()
    return (numerator & -numerator) / denominator


def deviations(draft: Draft, graph: Graph) -> dict[str, float]:
    """Of each requantization that is not exact: steps of its output, at most, that its sum is off before rounding.

    draft  that `graph` is the result of
    """
    found = {}
    for name, (value, grid) in draft.pending.items():
        op = graph[name].op
        assert isinstance(op, Requantize)
        unit = 2.0**-op.shift
        ratios = [factor / grid.scale for factor in value.factors]
        off = np.zeros(len(op.bias))
        for tensor, ratio, multiplier in zip(value.tensors, ratios, op.multiplier, strict=True):
            off += np.abs(multiplier * unit - ratio) * np.abs(span(graph, tensor)).max(axis=0)
        if off.any() or not _bias_is_exact(op, value.offset / grid.scale * 2.0**op.shift):
            found[name] = float((off + np.abs(op.bias * unit - value.offset / grid.scale)).max())
    return found


def _bias_is_exact(op: Requantize, offset: np.ndarray) -> bool:
    """Whether the bias rounds as the real `offset`, in units of 2**-shift, would: its fraction is never carried."""
    if op.rounding is Rounding.FLOOR or (op.rounding is Rounding.HALF_UP and op.shift > 0):
        return np.array_equal(op.bias, np.floor(offset))
    if op.rounding is Rounding.HALF_UP:
        return np.array_equal(op.bias, np.floor(offset + 0.5))
    even = op.shift > 1 and not any((multiplier & 1).any() for multiplier in op.multiplier)
    apart = (op.bias & 1 == 1) & (np.abs(op.bias - offset) < 1) & even  # stands for all between two even numbers
    return bool(((op.bias == offset) | apart).all())
