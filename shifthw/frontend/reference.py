"""The real-valued networks behind an integer graph: the same nodes, before their numbers were made integer.

Two of them are kept with a graph. The fake-quantized one is what the torch module computes: rounded
weights, real batch-norm factors, every activation rounded to its grid. The float one is the network that
was quantized: its weights as they were, no grids. All values are in real units: integer * scale.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ..errors import UnsupportedModel
from ..ir.distances import negative_distances
from ..ir.graph import (
    AdderConv2d,
    BilinearUpsample2d,
    Convolution,
    Graph,
    Input,
    Lookup,
    MaxPool2d,
    Multiply,
    Node,
    Requantize,
    ShiftConv2d,
    SpatialShift2d,
    SumPool2d,
)
from ..ir.moves import bilinear_sums, move
from ..ir.types import TensorType
from ..ir.windows import Area
from ..nn.quantizers import rounded
from .activations import function


@dataclass(frozen=True, eq=False)
class RealRequantize:
    """Real numbers of one Requantize: y[c] = clamp(sum_k gain[k][c] * x_k[c] + offset[c], lo, hi).

    gain    one float64[channels] per input: real units of the output per real unit of the input
    offset  float64[channels], real units of the output
    lo, hi  limits of the activation function, -inf and inf where it has none; the quantizer's are the node's
    """

    gain: tuple[np.ndarray, ...]
    offset: np.ndarray
    lo: float
    hi: float


@dataclass(frozen=True, eq=False)
class Reference:
    """Real numbers for the nodes of a graph, by their names.

    weight  of each ShiftConv2d: float[out, in/groups, kh, kw], real units of its output per one of its input;
            of each AdderConv2d: the same shape, real units of its input
    affine  of each Requantize
    """

    weight: dict[str, np.ndarray]
    affine: dict[str, RealRequantize]


@dataclass(frozen=True, eq=False)
class Model:
    """An integer graph and the real-valued networks that it stands for; None where one is not known."""

    graph: Graph
    fake_reference: Reference | None = None
    float_reference: Reference | None = None


def rounded_weights(nodes: Sequence[Node]) -> dict[str, np.ndarray]:
    """The weights of the fake-quantized network, float64, which follow from the integer ones and the scales."""
    scales = {node.name: node.output.scale for node in nodes}
    weights = {}
    for node in nodes:
        if isinstance(node.op, ShiftConv2d):
            weights[node.name] = node.op.weight.integer * (node.output.scale / scales[node.inputs[0]])
        elif isinstance(node.op, AdderConv2d):
            weights[node.name] = node.op.weight * scales[node.inputs[0]]
    return weights


def verify_reference(graph: Graph, reference: Reference) -> None:
    """Raise UnsupportedModel, naming the node, unless the reference has finite numbers for `graph`'s nodes, and no
    others."""
    convolutions = {node.name: node.op for node in graph.nodes if isinstance(node.op, Convolution)}
    requantizations = {node.name: node for node in graph.nodes if isinstance(node.op, Requantize)}
    for what, found, nodes in (("weights", set(reference.weight), set(convolutions)),
                               ("factors", set(reference.affine), set(requantizations))):
        if found != nodes:
            name = min(found ^ nodes)
            raise UnsupportedModel(f"{name}: has {what} in {'the reference' if name in found else 'the graph'} only; "
                                   f"the reference must be of this network")
    for name, op in convolutions.items():
        _check_array(name, "weights", reference.weight[name], op.weight_shape)
    for name, node in requantizations.items():
        affine, channels = reference.affine[name], (node.output.channels,)
        if len(affine.gain) != len(node.inputs):
            raise UnsupportedModel(f"{name}: has {len(affine.gain)} real factors, must have {len(node.inputs)}, one "
                                   f"per input")
        for array in (*affine.gain, affine.offset):
            _check_array(name, "factors and offset", array, channels)
        if not affine.lo <= affine.hi:
            raise UnsupportedModel(f"{name}: has the limits {affine.lo}..{affine.hi}; they must ascend")
    for node in graph.nodes:
        if isinstance(node.op, Lookup):
            _check_function(node.name, node.op.function)


def _check_function(where: str, name: str) -> None:
    try:
        function(name)
    except ValueError as error:
        raise UnsupportedModel(f"{where}: the function of its table, {error}") from None


def _check_array(name: str, what: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.dtype.kind != "f" or array.shape != shape or not np.isfinite(array).all():
        raise UnsupportedModel(f"{name}: has real {what} {array.dtype}{list(array.shape)}; must be finite real "
                               f"numbers of shape {list(shape)}")


def evaluate(graph: Graph, reference: Reference, images: torch.Tensor, *, quantized: bool,
             keep: Collection[str] | None = None) -> dict[str, torch.Tensor]:
    """Real values of a reference on real images float[N, C, H, W]: name to [N, C', H', W'], in the images' type.

    quantized  round every activation to its grid; the images are taken as they are
    keep       names of the tensors wanted; by default the graph's outputs
    """
    wanted = set(graph.outputs if keep is None else keep)
    last_use = {name: node.name for node in graph.nodes for name in node.inputs}
    live: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for node in graph.nodes:
            inputs = [live[name] for name in node.inputs]
            if isinstance(node.op, Lookup) and quantized:
                value = _looked_up(node.op, inputs[0], graph[node.inputs[0]].output, node.output)
            else:
                value = _evaluate(node, reference, inputs, images)
            live[node.name] = _on_grid(node, value) if quantized else value
            for name in set(node.inputs) - wanted:
                if last_use[name] == node.name:
                    del live[name]
    return {name: live[name] for name in wanted}


def _evaluate(node: Node, reference: Reference, inputs: list[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    match node.op:
        case Input():
            return images
        case ShiftConv2d() as op:
            weight = torch.from_numpy(reference.weight[node.name]).to(images.dtype)
            return functional.conv2d(_padded(inputs[0], op.padding, 0.0), weight, None, op.stride, 0, op.dilation,
                                     op.groups)
        case AdderConv2d() as op:
            weight = torch.from_numpy(reference.weight[node.name]).to(images.dtype)
            return negative_distances(weight, inputs[0], Area.of(op))
        case SumPool2d() as op:
            return functional.avg_pool2d(_padded(inputs[0], op.padding, 0.0), op.kernel, op.stride, divisor_override=1)
        case MaxPool2d() as op:
            return functional.max_pool2d(_padded(inputs[0], op.padding, -torch.inf), op.kernel, op.stride)
        case BilinearUpsample2d():
            return bilinear_sums(inputs[0])
        case Multiply():
            return inputs[0] * inputs[1]
        case Lookup() as op:
            return function(op.function)(inputs[0])
        case Requantize():
            return _affine(reference.affine[node.name], inputs)
        case _ as op:   # a Move; half-pixel shifts give fourfold means in steps of a quarter
            moved = move(op, inputs)
            return moved / 4 if isinstance(op, SpatialShift2d) and op.per_pixel == 2 else moved


def _looked_up(op: Lookup, x: torch.Tensor, source: TensorType, result: TensorType) -> torch.Tensor:
    """The table's values, of a real-valued activation that is on its grid."""
    steps = torch.round(x / source.scale).to(torch.int64) - source.dtype.lo
    return torch.tensor(op.table)[steps].to(x.dtype) * result.scale


def _padded(x: torch.Tensor, padding: tuple[int, int, int, int], value: float) -> torch.Tensor:
    top, left, bottom, right = padding
    return functional.pad(x, (left, right, top, bottom), value=value) if any(padding) else x


def _affine(affine: RealRequantize, inputs: list[torch.Tensor]) -> torch.Tensor:
    def per_channel(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(inputs[0].dtype).reshape(1, -1, 1, 1)

    total = per_channel(affine.offset) + inputs[0] * per_channel(affine.gain[0])
    for x, gain in zip(inputs[1:], affine.gain[1:], strict=True):
        total = total + x * per_channel(gain)
    return total.clamp_(affine.lo, affine.hi)


def _on_grid(node: Node, value: torch.Tensor) -> torch.Tensor:
    """A value that is on the grid already, as a shortcut's copy is, must not lose a step to the division's last bit."""
    if not isinstance(node.op, Requantize):
        return value
    op, scale = node.op, node.output.scale
    steps = value / scale
    nearest = steps.round()
    last_bits = 4 * torch.finfo(steps.dtype).eps * max(-op.lo, op.hi)
    steps = torch.where((steps - nearest).abs() < last_bits, nearest, steps)
    return rounded(steps, op.rounding).clamp_(op.lo, op.hi) * scale
