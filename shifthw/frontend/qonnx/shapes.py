"""Operators that move values or leave them as they are."""

import math
from dataclasses import replace

import numpy as np

from ...errors import UnsupportedModel
from .builder import Builder
from .reader import Step
from .values import Constant, Padding, RawInput, Value
from .window import summed


def reshape(build: Builder, step: Step) -> Value:
    """Reshape, Flatten, Squeeze and Unsqueeze: flattening to one dimension, and what changes nothing."""
    value = build.value(step)
    before, after = (build.model.shapes[name] for name in (step.inputs[0], step.outputs[0]))
    if isinstance(value, Constant):
        return value.moved(lambda array: array.reshape(after))
    features = math.prod(before[1:])
    if after not in (before, (before[0], features), (before[0], features, 1, 1)):
        raise UnsupportedModel(f"{step.where}: reshapes {list(before)} to {list(after)}; only flattening to one "
                               f"dimension is supported")
    if after == before or before[2:] in ((), (1, 1)):
        return value
    if isinstance(value, RawInput):
        return replace(value, flat=True)
    source = build.activation(step)
    build.refuse_padding(step, source)
    return build.flattened(step.path, source)


def transpose(build: Builder, step: Step) -> Value:
    value, rank = build.value(step), len(build.model.shapes[step.inputs[0]])
    axes = tuple(step.attributes.get("perm", range(rank)[::-1]))
    if isinstance(value, Constant):
        return value.moved(lambda array: array.transpose(axes))
    if axes != tuple(range(rank)):
        raise UnsupportedModel(f"{step.where}: changes the order of dimensions to {list(axes)}; activations must stay "
                               f"[N, C, H, W], channels last (NHWC) is not supported")
    return value


def pad(build: Builder, step: Step) -> Value:
    """Zeros around a map join the padding of the layer that reads it."""
    source = build.activation(step)
    fill = build.constant(step, 2) if build.has(step, 2) else np.asarray(step.attributes.get("value", 0.0))
    if step.attributes.get("mode", "constant") != "constant" or fill.any():
        raise UnsupportedModel(f"{step.where}: must pad with a constant 0")
    return replace(source, padding=summed(source.padding, _zeros(build, step)))


def _zeros(build: Builder, step: Step) -> Padding:
    rank = len(build.model.shapes[step.inputs[0]])
    pads = step.attributes["pads"] if "pads" in step.attributes else build.constant(step, 1).ravel()
    axes = [int(axis) % rank for axis in build.constant(step, 3).ravel()] if build.has(step, 3) else list(range(rank))
    first, last = pads[:len(axes)], pads[len(axes):]
    sizes = {axis: (int(begin), int(end)) for axis, begin, end in zip(axes, first, last, strict=True)}
    (top, bottom), (left, right) = sizes.pop(2, (0, 0)), sizes.pop(3, (0, 0))
    if rank != 4 or any(any(pair) for pair in sizes.values()) or min(top, bottom, left, right) < 0:
        raise UnsupportedModel(f"{step.where}: must add zeros to the rows and columns of [N, C, H, W] only")
    return top, left, bottom, right


def same(build: Builder, step: Step) -> Value:
    return build.value(step)


def dropout(build: Builder, step: Step) -> Value:
    if build.has(step, 2) and build.constant(step, 2).any():
        raise UnsupportedModel(f"{step.where}: is in training mode; export the model in evaluation mode")
    return build.value(step)


def softmax(build: Builder, step: Step) -> Value:
    """At the end of a network it is left out: the order of the classes stays."""
    read = any(step.outputs[0] in other.inputs for other in build.model.steps)
    rank = len(build.model.shapes[step.inputs[0]])
    axis = step.attributes.get("axis", 1 if build.model.opset < 13 else -1) % rank
    if read or step.outputs[0] not in build.model.outputs or axis != 1:
        raise UnsupportedModel(f"{step.where}: must be the last step, over the channels; only there it can be left to "
                               f"the host")
    build.notes.append(f"output: {step.op} is left out; the largest value, and so the class, stays the same")
    return build.value(step)
