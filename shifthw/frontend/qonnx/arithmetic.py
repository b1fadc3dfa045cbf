"""Additions, factors, batch norms and limits, which join the requantization behind a layer."""

import math
from dataclasses import replace

import numpy as np

from ...errors import UnsupportedModel
from ..draft import Sum
from ..sums import added
from .builder import Builder
from .reader import Step
from .values import Activation, Constant, RawInput, Value


def add(build: Builder, step: Step) -> Value:
    return _added(build, step, 1.0)


def sub(build: Builder, step: Step) -> Value:
    return _added(build, step, -1.0)


def _added(build: Builder, step: Step, sign: float) -> Value:
    left, right = build.value(step, 0), build.value(step, 1)
    if isinstance(left, Constant) and isinstance(right, Constant):
        return Constant(left.values + sign * right.values)
    if isinstance(right, Constant):
        return _affine(build, step, left, step.inputs[0], 1.0, sign * build.constant(step, 1))
    if isinstance(left, Constant):
        return _affine(build, step, right, step.inputs[1], sign, build.constant(step, 0))
    first, second = (build.sum(step, _settled(build, step, value)) for value in (left, right))
    if sign < 0 and not second.is_clamped:
        second = replace(second, factors=tuple(-factor for factor in second.factors), offset=-second.offset)
    return added(build.draft, step.where, first, second)


def _settled(build: Builder, step: Step, value: Value) -> Value:
    return build.settled(step, value) if isinstance(value, Sum) and value.is_clamped else value


def mul(build: Builder, step: Step) -> Value:
    left, right = build.value(step, 0), build.value(step, 1)
    if isinstance(left, Constant) and isinstance(right, Constant):
        constant, index = (left, 1) if left.integers is not None else (right, 0)
        return _scaled(step, constant, build.constant(step, index))
    if isinstance(right, Constant):
        return _affine(build, step, left, step.inputs[0], build.constant(step, 1), 0.0)
    if isinstance(left, Constant):
        return _affine(build, step, right, step.inputs[1], build.constant(step, 0), 0.0)
    raise UnsupportedModel(f"{step.where}: multiplies two activations; one factor must be constant")


def div(build: Builder, step: Step) -> Value:
    if not isinstance(build.value(step, 1), Constant) or not build.constant(step, 1).all():
        raise UnsupportedModel(f"{step.where}: must divide by a constant other than 0")
    value, reciprocal = build.value(step), 1.0 / build.constant(step, 1)
    if isinstance(value, Constant):
        return _scaled(step, value, reciprocal)
    return _affine(build, step, value, step.inputs[0], reciprocal, 0.0)


def _scaled(step: Step, constant: Constant, factor: np.ndarray) -> Constant:
    """A constant times another; the integers of a quantized one stay."""
    if np.broadcast_shapes(constant.values.shape, factor.shape) != constant.values.shape:
        return Constant(constant.values * factor)
    if constant.integers is not None and not (factor > 0).all():
        raise UnsupportedModel(f"{step.where}: scales weights by {factor.min():g}, must be above 0")
    return constant.scaled(factor)


def batch_norm(build: Builder, step: Step) -> Value:
    gamma, beta, mean, variance = (build.constant(step, index) for index in range(1, 5))
    if step.attributes.get("training_mode", 0):
        raise UnsupportedModel(f"{step.where}: is in training mode; export the model in evaluation mode")
    spread = variance + float(step.attributes.get("epsilon", 1e-5))
    if not (spread > 0).all():
        raise UnsupportedModel(f"{step.where}: has variance {variance.min():g}, must be 0 or more")
    gain = gamma / np.sqrt(spread)
    shape = (-1, *[1] * (len(build.model.shapes[step.inputs[0]]) - 2))
    return _affine(build, step, build.value(step), step.inputs[0], gain.reshape(shape),
                   (beta - mean * gain).reshape(shape))


def _affine(build: Builder, step: Step, value: Value, tensor: str, gain: np.ndarray | float,
            offset: np.ndarray | float) -> Value:
    """value * gain + offset, both constant; `tensor` is the value's name in the model."""
    factor, term = (build.per_channel(step, np.asarray(item), tensor) for item in (gain, offset))
    if isinstance(value, RawInput):
        return _affine_input(step, value, factor, term)
    if isinstance(value, Activation) and (factor == factor[0]).all() and factor[0] > 0 and not term.any():
        return replace(value, scale=value.scale * float(factor[0]))
    value = build.sum(step, value)
    lo, hi = (_moved(step, end, factor, term) for end in (value.lo, value.hi)) if value.is_clamped else \
        (value.lo, value.hi)
    return Sum(value.shape, value.tensors, tuple(item * factor for item in value.factors), value.offset * factor + term,
               lo, hi)


def _moved(step: Step, end: float, factor: np.ndarray, term: np.ndarray) -> float:
    """A limit of an activation function behind a factor and an offset."""
    moved = end * factor + term if math.isfinite(end) else np.full(len(factor), end)
    if np.any(moved != moved[0]) or not (factor > 0).all():
        raise UnsupportedModel(f"{step.where}: follows an activation function; put a Quant between them, or the "
                               f"operation right behind its convolution")
    return float(moved[0])


def _affine_input(step: Step, value: RawInput, factor: np.ndarray, term: np.ndarray) -> Value:
    if value.flat:  # a channel has many features
        if np.any(factor != factor[0]) or np.any(term != term[0]):
            raise UnsupportedModel(f"{step.where}: changes the features of the network's input one by one; put a Quant "
                                   f"before it")
        factor, term = factor[:1], term[:1]
    if value.is_clamped or not (factor > 0).all():
        raise UnsupportedModel(f"{step.where}: turns the network's input round, or moves it behind an activation "
                               f"function; put a Quant before it")
    return replace(value, factor=value.factor * factor, offset=value.offset * factor + term)


def relu(build: Builder, step: Step) -> Value:
    return _clamped(build, step, 0.0, math.inf)


def clip(build: Builder, step: Step) -> Value:
    """Its limits are attributes, inputs in newer versions."""
    lo, hi = _limit(build, step, 1, "min", -math.inf), _limit(build, step, 2, "max", math.inf)
    if lo > hi:
        raise UnsupportedModel(f"{step.where}: has limits {lo:g}..{hi:g}, which must ascend")
    return _clamped(build, step, lo, hi)


def _limit(build: Builder, step: Step, index: int, name: str, default: float) -> float:
    if not build.has(step, index):
        return float(step.attributes.get(name, default))
    value = build.value(step, index)
    if not isinstance(value, Constant) or value.values.size != 1 or np.isnan(value.values).any():
        raise UnsupportedModel(f"{step.where}: its {name} must be one constant number")
    return float(value.values.flat[0])


def _clamped(build: Builder, step: Step, lo: float, hi: float) -> Value:
    value = build.value(step)
    if isinstance(value, RawInput):
        return value.clamped(lo, hi)
    if isinstance(value, Activation):
        smallest, largest = (end * value.scale for end in build.range(value.name))
        if lo <= smallest and largest <= hi:
            return value
    return build.sum(step, value).clamped(lo, hi)
