"""Convolutions, linear layers and pools."""

import math

import numpy as np

from ...errors import UnsupportedModel
from ...ir.graph import MaxPool2d, ShiftConv2d, SumPool2d
from ..signed_digits import shift_weight
from ..sums import averaged, convolved
from .builder import Builder
from .quantizers import annotated, weights
from .reader import Step
from .values import Activation, Constant, Value
from .window import Window, window


def conv(build: Builder, step: Step) -> Value:
    source = build.activation(step)
    integers, unit = weights(step.where, _weights(build, step))
    if integers.ndim != 4:
        raise UnsupportedModel(f"{step.where}: has weights of {integers.ndim} dimensions, must have 4")
    area = window(step, build.shape(source)[1:], integers.shape[2:], source.padding)
    weight, exponent = shift_weight(integers, step.where)
    op = ShiftConv2d(weight, area.stride, area.padding, area.dilation, int(step.attributes.get("group", 1)))
    return _layer(build, step, op, source, unit * 2.0**exponent, build.optional(step, 2))


def gemm(build: Builder, step: Step) -> Value:
    alpha, beta = (float(step.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    if step.attributes.get("transA", 0) or not alpha > 0 or not math.isfinite(alpha * beta):
        raise UnsupportedModel(f"{step.where}: must have transA=0, a positive alpha and a finite beta")
    matrix = _weights(build, step)
    if not step.attributes.get("transB", 0):
        matrix = matrix.moved(np.transpose)
    bias = build.optional(step, 2)
    return _linear(build, step, matrix, alpha, None if bias is None else bias * beta)


def matmul(build: Builder, step: Step) -> Value:
    return _linear(build, step, _weights(build, step).moved(np.transpose), 1.0, None)


def _weights(build: Builder, step: Step) -> Constant:
    value, name = build.value(step, 1), step.inputs[1]
    if not isinstance(value, Constant):
        raise UnsupportedModel(f"{step.where}: its weights are computed, must be constant")
    if value.integers is None and name in build.model.annotated:
        return annotated(step.where, value.values, build.model.annotated[name])
    return value


def _linear(build: Builder, step: Step, matrix: Constant, alpha: float, bias: np.ndarray | None) -> Value:
    source = build.activation(step)
    build.refuse_padding(step, source)
    integers, unit = weights(step.where, matrix)
    if integers.ndim != 2 or build.shape(source) != (integers.shape[1], 1, 1):
        raise UnsupportedModel(f"{step.where}: has weights of shape {list(matrix.values.shape)} for an input of shape "
                               f"{build.shape(source)}; must be a matrix, for a flattened input")
    weight, exponent = shift_weight(integers[:, :, None, None], step.where)
    return _layer(build, step, ShiftConv2d(weight), source, unit * (alpha * 2.0**exponent), bias)


def _layer(build: Builder, step: Step, op: ShiftConv2d, source: Activation, unit: np.ndarray,
           bias: np.ndarray | None) -> Value:
    outputs = len(unit)
    shapes = [(outputs,), *([(1, outputs), (1, 1), (1,), ()] if step.op == "Gemm" else [])]
    if bias is not None and bias.shape not in shapes:
        raise UnsupportedModel(f"{step.where}: has a bias of shape {list(bias.shape)}, must be [{outputs}], one number "
                               f"per output channel")
    offset = np.zeros(outputs) if bias is None else np.broadcast_to(bias.ravel(), outputs).copy()
    return convolved(build.draft, step.path, op, source.name, source.scale * unit, offset)


def max_pool(build: Builder, step: Step) -> Value:
    """Zeros of a Pad count as positions of the map; they never win either where nothing is below 0."""
    source = build.activation(step)
    area = _pool_window(build, step, source)
    if len(step.outputs) > 1 or (any(source.padding) and build.range(source.name)[0] < 0):
        raise UnsupportedModel(f"{step.where}: must have one result, and no Pad before it unless its input is unsigned")
    op = MaxPool2d(area.kernel, area.stride, area.padding)
    return Activation(build.draft.add(step.path, op, source.name, source.scale), source.scale)


def average_pool(build: Builder, step: Step) -> Value:
    source = build.activation(step)
    area = _pool_window(build, step, source)
    if area.padding != source.padding and not step.attributes.get("count_include_pad", 0):
        raise UnsupportedModel(f"{step.where}: pads the map but leaves the padding out of the mean; it must have "
                               f"count_include_pad=1 or no pads")
    return _average(build, step, source, SumPool2d(area.kernel, area.stride, area.padding))


def _pool_window(build: Builder, step: Step, source: Activation) -> Window:
    area = window(step, build.shape(source)[1:], (), source.padding)
    if area.dilation != (1, 1):
        raise UnsupportedModel(f"{step.where}: has dilations {list(area.dilation)}, must be 1")
    return area


def global_pool(build: Builder, step: Step) -> Value:
    source = build.activation(step)
    build.refuse_padding(step, source)
    size = build.shape(source)[1:]
    return _average(build, step, source, SumPool2d(size, size))


def reduce_mean(build: Builder, step: Step) -> Value:
    axes = step.attributes.get("axes", build.constant(step, 1).ravel() if build.has(step, 1) else ())
    if len(build.model.shapes[step.inputs[0]]) != 4 or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
        raise UnsupportedModel(f"{step.where}: must be the mean over axes 2 and 3 of [N, C, H, W]")
    return global_pool(build, step)


def _average(build: Builder, step: Step, source: Activation, op: SumPool2d) -> Value:
    return averaged(build.draft, step.path, op, source.name, source.scale, op.kernel[0] * op.kernel[1])
