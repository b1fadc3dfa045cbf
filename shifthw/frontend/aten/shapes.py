"""Shapes, zeros around maps, parts of them; and what changes nothing."""

import math
from dataclasses import replace

import torch

from ..exported import Step, Stored
from ..plain_layers import Layer
from .moves import moved
from .steps import one, refuse


def reshape(step: Step) -> list[Layer]:
    before, after = step.input_shapes[0], step.shape
    if before == after:
        return []
    features = math.prod(before[1:])
    if len(before) == 4 and after == (*before[:2], before[2] * before[3]) and features > before[1]:
        return one(step, "pixels")
    if math.prod(after) != math.prod(before) or after[:2] != (before[0], features):
        return moved(step)
    return one(step, "flatten")


def selected(step: Step) -> list[Layer]:
    """One entry of a dimension; of one that has no other, a change of shape."""
    before = step.input_shapes[0]
    return reshape(step) if before[step.options["dim"]] == 1 else moved(step)


def permute(step: Step) -> list[Layer]:
    """A change of shape alone, if the dimensions that pass each other have one entry."""
    before = step.input_shapes[0]
    order = list(range(len(before)))
    if step.kind == "permute":
        order = [axis % len(before) for axis in step.options["dims"]]
    else:
        first, second = (step.options[name] for name in ("dim0", "dim1"))
        order[first], order[second] = order[second], order[first]
    longer = [axis for axis in order if before[axis] > 1]
    return reshape(step) if longer == sorted(longer) else moved(step)


def pad(step: Step) -> list[Layer]:
    """Zeros around the map are a pad, zero channels a subsample of every pixel."""
    pad = list(step.options["pad"])
    mode, value = step.options.get("mode", "constant"), step.options.get("value")
    if mode != "constant" or value or len(pad) > 6 or min(pad) < 0 or len(step.shape) != 4:
        value = f" of {value}" if value else ""
        refuse(step, f"must add zeros (mode 'constant', value 0) around a map, not {pad} in mode {mode!r}{value}")
    left, right, top, bottom, before, after = pad + [0] * (6 - len(pad))
    layers = []
    if before or after:
        layers += one(step, "subsample", stride=(1, 1), channels=(before, after))
    if left or right or top or bottom:
        layers += one(step, "pad", sides=(top, left, bottom, right))
    if len(layers) == 2:
        shape = (*step.shape[:2], *step.input_shapes[0][2:])
        layers[0] = replace(layers[0], name=f"{step.name}.channels", shape=shape)
        layers[1] = replace(layers[1], inputs=(layers[0].name,))
    return layers


def sliced(step: Step) -> list[Layer]:
    dimension, stride = step.options["dim"] % len(step.shape), step.options["step"]
    size = step.input_shapes[0][dimension]
    if step.shape == step.input_shapes[0]:
        return []
    if step.options.get("start") or step.shape[dimension] != -(-size // stride) or dimension < 2 \
            or len(step.shape) != 4:
        return moved(step)
    return one(step, "subsample", stride=(stride, 1) if dimension == 2 else (1, stride), channels=(0, 0))


def same(step: Step) -> list[Layer]:
    """Values stay as they are, in evaluation mode."""
    return []


def dropout(step: Step) -> list[Layer]:
    if step.options.get("train") or step.kind == "native_dropout":
        refuse(step, "drops values in evaluation mode too; pass training=self.training")
    return []


def cast(step: Step) -> list[Layer]:
    other = step.options.get("other")
    kind = other.value.dtype if isinstance(other, Stored) else step.options.get("dtype")
    if kind not in (None, torch.float32, torch.float64):
        refuse(step, f"casts to {kind}, must be to float32; quantize decides how values are rounded")
    return []


def item(step: Step) -> list[Layer]:
    """An operation's first result of several: batch norms have more, which nothing reads."""
    if step.options.get("1") != 0:
        refuse(step, "takes one of several tensors apart from the first, which is not supported")
    return []
