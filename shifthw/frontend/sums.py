"""What layers make of activations, as real values that wait for their quantizer: common to all front ends."""

from dataclasses import replace

import numpy as np

from ..errors import UnsupportedModel
from ..ir.graph import BilinearUpsample2d, Convolution, Multiply, SumPool2d
from ..ir.types import TensorType
from ..ir.verify import is_accumulator
from .draft import Draft, Sum


def real_value(draft: Draft, tensor: str, factor: np.ndarray, offset: np.ndarray | None = None) -> Sum:
    """tensor * factor[c] + offset[c]"""
    return Sum(draft[tensor].output.shape, (tensor,), (factor,), np.zeros(len(factor)) if offset is None else offset)


def convolved(draft: Draft, where: str, op: Convolution, source: str, factor: np.ndarray,
              offset: np.ndarray | None = None) -> Sum:
    """Append a convolution of `source`; one step of its output channel c is worth factor[c]."""
    name = draft.add(where, op, source, float(factor.min()))
    return real_value(draft, name, factor, offset)


def averaged(draft: Draft, where: str, op: SumPool2d, source: str, scale: float, divisor: int) -> Sum:
    """Append a pool of `source`, one step of which is worth `scale`.

    The division by the window's size joins the factor; the Requantize behind it does both.
    """
    name = draft.add(where, op, source, scale)
    return real_value(draft, name, np.full(draft[name].output.channels, scale / divisor))


def multiplied(draft: Draft, where: str, left: str, right: str) -> Sum:
    """Append the product of two activations, of one shape or one of them of one pixel per channel.

    Behind goes the one pixel, or else the operand with the smaller values: see Draft.quantize.
    """
    tensors = (draft[left].output, draft[right].output)
    if _weight_as_factor(tensors[0]) < _weight_as_factor(tensors[1]):
        left, right = right, left
    scale = tensors[0].scale * tensors[1].scale
    name = draft.add(where, Multiply(), (left, right), scale)
    return real_value(draft, name, np.full(draft[name].output.channels, scale))


def _weight_as_factor(tensor: TensorType) -> tuple[int, int]:
    """Pixels and largest magnitude: of two operands, the one with less of them goes second."""
    return tensor.height * tensor.width, max(-tensor.dtype.lo, tensor.dtype.hi)


def doubled(draft: Draft, where: str, source: str) -> Sum:
    """Append a bilinear enlargement by two; the division of its sums by 16 joins the factor."""
    name = draft.add(where, BilinearUpsample2d(), source)
    tensor = draft[name].output
    return real_value(draft, name, np.full(tensor.channels, tensor.scale / 16))


def added(draft: Draft, where: str, left: Sum, right: Sum) -> Sum:
    """left + right, of one shape. Raises UnsupportedModel, naming `where`, for more than the engine adds at once."""
    if left.is_clamped or right.is_clamped:
        raise UnsupportedModel(f"{where}: an operand is an activation function's result; quantize it first")
    if left.shape[1:] == (1, 1) != right.shape[1:]:
        left, right = right, left
    broadcast = left.shape != right.shape
    if broadcast and right.shape != (left.shape[0], 1, 1):
        raise UnsupportedModel(f"{where}: adds shapes {left.shape} and {right.shape}; they must be equal, or one of "
                               f"them of one pixel")
    if any(isinstance(draft[name].op, Multiply) for name in left.tensors + right.tensors):
        raise UnsupportedModel(f"{where}: an operand is a product; quantize it first")
    if broadcast and (len(right.tensors) > 1 or is_accumulator(draft[right.tensors[0]]) or len(left.tensors) > 1):
        raise UnsupportedModel(f"{where}: adds one pixel's values to a map; quantize both first")
    terms: dict[str, np.ndarray] = {}
    for tensor, factor in zip(left.tensors + right.tensors, left.factors + right.factors, strict=True):
        terms[tensor] = terms[tensor] + factor if tensor in terms else factor
    names = sorted(terms, key=lambda name: not is_accumulator(draft[name]))     # stable: a map stays first
    if len(names) > 2 or len([name for name in names if is_accumulator(draft[name])]) > 1:
        raise UnsupportedModel(f"{where}: at most one operand may be unquantized, and two in all be added; put a "
                               f"quantizer on the other operand")
    return replace(left, tensors=tuple(names), factors=tuple(terms[name] for name in names),
                   offset=left.offset + right.offset)
