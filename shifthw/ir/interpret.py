"""The golden model: runs an integer graph on images, exactly, in PyTorch.

Integers are held in the fastest type that is exact for them: float32 while every partial sum is below
2**24, float64 below 2**53, int64 above. The bounds are proven from the weights and the types, not
measured on the images.
"""

from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from ..errors import BadImages
from .distances import negative_distances
from .graph import (
    AdderConv2d,
    BilinearUpsample2d,
    Graph,
    Input,
    Lookup,
    MaxPool2d,
    Multiply,
    Node,
    Requantize,
    Rounding,
    ShiftConv2d,
    SumPool2d,
)
from .moves import bilinear_sums, move
from .ranges import largest_partial_sum
from .types import TensorType
from .verify import verify
from .windows import Area

FLOAT32_EXACT, FLOAT64_EXACT = 1 << 24, 1 << 53
ELEMENTS_PER_BATCH = 1 << 18
"""Elements of a batch's largest tensor: its windows still fit the caches; larger batches measured slower."""


def interpret(graph: Graph, images: np.ndarray, *, keep: Literal["outputs", "all"] = "outputs",
              batch: int | None = None) -> dict[str, np.ndarray]:
    """Integer results of `graph` for images int[N, C, H, W]: name to int64[N, C', H', W'].

    keep   "outputs": the graph's outputs; "all": every tensor, accumulators included
    batch  images at a time; by default as many as suit the caches

    Raises BadImages where the images do not suit the graph's Input, UnsupportedModel where the graph
    is not consistent.
    """
    verify(graph)
    check_images(images, graph.nodes[0].output)
    batch = batch or max(1, ELEMENTS_PER_BATCH // max(int(np.prod(node.output.shape)) for node in graph.nodes))
    names = [node.name for node in graph.nodes] if keep == "all" else list(dict.fromkeys(graph.outputs))
    count = len(images)
    results = {name: np.empty((count, *graph[name].output.shape), np.int64) for name in names}
    with torch.inference_mode():
        for start in range(0, count, batch):
            for name, tensor in _run(graph, images[start:start + batch], set(names)).items():
                results[name][start:start + batch] = tensor.to(torch.int64).numpy()
    return results


def check_images(images: np.ndarray, expected: TensorType) -> None:
    """Raise BadImages unless `images` is an integer array [N, C, H, W] of the shape and range of `expected`."""
    if images.dtype.kind not in "iu":
        raise BadImages(f"images: have type {images.dtype}, must be integers in {expected.dtype.lo}.."
                        f"{expected.dtype.hi}; quantize them first")
    if images.ndim != 4 or images.shape[1:] != expected.shape or len(images) == 0:
        raise BadImages(f"images: have shape {list(images.shape)}, must be [N, "
                        f"{', '.join(map(str, expected.shape))}] with N at least 1")
    lo, hi = int(images.min()), int(images.max())
    if lo < expected.dtype.lo or hi > expected.dtype.hi:
        raise BadImages(f"images: hold {lo}..{hi}, must be within {expected.dtype.lo}..{expected.dtype.hi} "
                        f"({expected.dtype})")


def _run(graph: Graph, images: np.ndarray, names: set[str]) -> dict[str, torch.Tensor]:
    last_use = {name: node.name for node in graph.nodes for name in node.inputs}
    live: dict[str, torch.Tensor] = {}
    for node in graph.nodes:
        inputs = [live[name] for name in node.inputs]
        live[node.name] = _evaluate(graph, node, inputs, images)
        for name in set(node.inputs) - names:
            if last_use[name] == node.name:
                del live[name]
    return {name: live[name] for name in names}


def _evaluate(graph: Graph, node: Node, inputs: list[torch.Tensor], images: np.ndarray) -> torch.Tensor:
    match node.op:
        case Input():
            return torch.from_numpy(images.astype(np.int64)).to(_float_type(node.output))
        case ShiftConv2d() as op:
            weight = torch.from_numpy(op.weight.integer)
            return _windows_sum(op, weight, inputs[0], largest_partial_sum(op, graph[node.inputs[0]].output))
        case AdderConv2d() as op:
            bound = largest_partial_sum(op, graph[node.inputs[0]].output)
            kind = torch.float32 if bound < FLOAT32_EXACT else torch.float64  # wide enough by verify
            return negative_distances(torch.tensor(op.weight, dtype=kind), inputs[0].to(kind), Area.of(op))
        case SumPool2d() as op:
            source = graph[node.inputs[0]].output
            weight = torch.ones((source.channels, 1, *op.kernel), dtype=torch.int64)
            return _windows_sum(op, weight, inputs[0], largest_partial_sum(op, source))
        case MaxPool2d() as op:
            top, left, bottom, right = op.padding
            padded = functional.pad(inputs[0], (left, right, top, bottom), value=-torch.inf)
            return functional.max_pool2d(padded, op.kernel, op.stride)
        case BilinearUpsample2d():
            return bilinear_sums(inputs[0].to(torch.float64))
        case Multiply():
            return inputs[0].to(torch.int64) * inputs[1].to(torch.int64)
        case Lookup() as op:
            steps = inputs[0].to(torch.int64) - graph[node.inputs[0]].output.dtype.lo
            return torch.tensor(op.table)[steps].to(_float_type(node.output))
        case Requantize() as op:
            return _requantize(op, inputs, [graph[name].output for name in node.inputs]).to(_float_type(node.output))
        case _ as op:  # a Move
            return move(op, [x.to(_float_type(node.output)) for x in inputs])


def _float_type(tensor: TensorType) -> torch.dtype:
    return torch.float32 if max(-tensor.dtype.lo, tensor.dtype.hi) < FLOAT32_EXACT else torch.float64


def _windows_sum(op: ShiftConv2d | SumPool2d, weight: torch.Tensor, x: torch.Tensor, bound: int) -> torch.Tensor:
    """Convolution of integers; `bound` is that of the partial sums. int64 only where float64 is too narrow."""
    if bound < FLOAT32_EXACT and torch.get_float32_matmul_precision() == "highest":
        return _matrix_product(op, weight.to(torch.float32), x.to(torch.float32))
    if bound < FLOAT64_EXACT:
        return _matrix_product(op, weight.to(torch.float64), x.to(torch.float64))
    # Of 60 bits at most 32 are the input's: both halves of the input stay below 2**53 by themselves.
    high = torch.floor(x.to(torch.float64) / (1 << 16))
    low = x.to(torch.float64) - high * (1 << 16)
    sums = [_matrix_product(op, weight.to(torch.float64), part).to(torch.int64) for part in (high, low)]
    return (sums[0] << 16) + sums[1]


def _matrix_product(op: ShiftConv2d | SumPool2d, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Windows times weights as one matrix product. torch's conv2d may pick an algorithm (Winograd) that rounds."""
    groups = op.groups if isinstance(op, ShiftConv2d) else len(weight)
    dilation = op.dilation if isinstance(op, ShiftConv2d) else (1, 1)
    top, left, bottom, right = op.padding
    x = functional.pad(x, (left, right, top, bottom))
    kernel = (weight.shape[2], weight.shape[3])
    rows = (x.shape[2] - dilation[0] * (kernel[0] - 1) - 1) // op.stride[0] + 1
    columns = (x.shape[3] - dilation[1] * (kernel[1] - 1) - 1) // op.stride[1] + 1
    if kernel == (1, 1):
        windows = x[:, :, ::op.stride[0], ::op.stride[1]].flatten(2)
    else:
        windows = functional.unfold(x, kernel, dilation, 0, op.stride)
    windows = windows.reshape(len(x), groups, -1, rows * columns)
    product = torch.matmul(weight.reshape(groups, len(weight) // groups, -1), windows)
    return product.reshape(len(x), len(weight), rows, columns)


def _requantize(op: Requantize, inputs: list[torch.Tensor], types: list[TensorType]) -> torch.Tensor:
    magnitude = int(np.abs(op.bias).max()) + op.half
    for m, source in zip(op.multiplier, types, strict=True):
        magnitude += int(np.abs(m).max()) * max(-source.dtype.lo, source.dtype.hi)
    if magnitude < FLOAT64_EXACT:
        return _requantize_float(op, inputs)
    return _requantize_wide(op, inputs)


def _per_channel(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).reshape(1, -1, 1, 1)


def _requantize_float(op: Requantize, inputs: list[torch.Tensor]) -> torch.Tensor:
    """All sums are below 2**53, and dividing by a power of two is exact in float64."""
    step = 2.0 ** -op.shift
    total = inputs[0].to(torch.float64, copy=True).mul_(_per_channel(op.multiplier[0] * step))
    for x, m in zip(inputs[1:], op.multiplier[1:], strict=True):
        total.add_(x.to(torch.float64, copy=True).mul_(_per_channel(m * step)))
    if op.rounding is Rounding.HALF_EVEN:  # as torch.round does
        return total.add_(_per_channel(op.bias * step)).round_().clamp_(op.lo, op.hi)
    return total.add_(_per_channel((op.bias + op.half) * step)).floor_().clamp_(op.lo, op.hi)


def _requantize_wide(op: Requantize, inputs: list[torch.Tensor]) -> torch.Tensor:
    """Sums of up to 94 bits as high * 2**32 + low, with 0 <= low < 2**32."""
    bias = _per_channel(op.bias)
    high, low = bias >> 32, (bias & 0xFFFFFFFF) + op.half
    high, low = high + (low >> 32), low & 0xFFFFFFFF
    for x, m in zip(inputs, op.multiplier, strict=True):
        x, factor = x.to(torch.int64), _per_channel(m)
        product = (x & 0xFFFFFFFF) * factor
        low = low + (product & 0xFFFFFFFF)
        high = high + (x >> 32) * factor + (product >> 32) + (low >> 32)
        low = low & 0xFFFFFFFF
    if op.shift >= 32:
        total = high >> (op.shift - 32)
    else:
        limit = 1 << (op.shift + 3)  # beyond it the result is past every clamp, and the shift below would overflow
        total = (high.clamp(-limit, limit) << (32 - op.shift)) + (low >> op.shift)
    if op.rounding is Rounding.HALF_EVEN and op.shift:
        fraction = (low & ((1 << min(op.shift, 32)) - 1)) | (high & ((1 << max(0, op.shift - 32)) - 1))
        total = torch.where(fraction == 0, total & ~1, total)
    return total.clamp(op.lo, op.hi)
