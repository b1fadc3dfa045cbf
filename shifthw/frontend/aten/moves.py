"""Moves of ATen: values that are found elsewhere; and maps that are joined."""

from typing import Any

import torch

from ..exported import Step, Stored
from ..plain_layers import Layer
from ..rearranged import places
from .steps import one, pair, refuse, shown

KINDS = ("expand", "repeat", "repeat_interleave", "roll", "flip", "index_select", "index",
         "channel_shuffle", "native_channel_shuffle", "split", "split_with_sizes", "chunk", "tensor_split", "unbind")


def moved(step: Step) -> list[Layer]:
    """Where each value is found in the tensor that is read; joined with the moves around it before it is judged."""
    if len(step.inputs) != 1:
        refuse(step, "takes values from places that depend on the images; they must be fixed")
    options = {name: _value(given) for name, given in step.options.items() if name != "part"}
    result = getattr(torch.ops.aten, step.kind)(places(step.input_shapes[0]), **options)
    return one(step, "move", index=result[step.options["part"]] if "part" in step.options else result)


def spread(step: Step, name: str, source: str, before: tuple[int, ...]) -> Layer:
    """A map of one channel as one with the channels of the step's result, all alike."""
    shape = (*step.shape[:2], *before[2:])
    return Layer(name, "move", step, (source,), shape, {"index": places(before).expand(shape)})


def joined(step: Step) -> list[Layer]:
    """Channels one behind the other."""
    dimension, channels = step.options["dim"] % len(step.shape), sum(shape[1] for shape in step.input_shapes)
    if dimension != 1 or len(step.shape) not in (2, 4):
        refuse(step, f"joins dimension {dimension} of {shown(step.input_shapes[0])}, must be the channels, dimension 1 "
                     f"of [N, C, H, W] or [N, features]")
    if channels != step.shape[1]:
        refuse(step, "joins constants to values that depend on the images, which is not supported")
    return one(step, "concat") if len(step.inputs) > 1 else []


def enlarged(step: Step) -> list[Layer]:
    """Pixels repeated a whole number of times, or bilinear by two; a map of one pixel in either way."""
    before, after = step.input_shapes[0][2:], step.shape[2:]
    if before == after:
        return []
    if "bilinear" in step.kind and before != (1, 1):
        if step.options["align_corners"] or after != (2 * before[0], 2 * before[1]):
            refuse(step, f"makes {shown(after)} pixels of {shown(before)}; bilinear must be by 2, with "
                         f"align_corners=False, or nearest by whole numbers")
        return one(step, "bilinear")
    if any(new % old for new, old in zip(after, before, strict=True)):
        refuse(step, f"makes {shown(after)} pixels of {shown(before)}; nearest must be by whole numbers")
    return one(step, "upsample", factor=pair([new // old for new, old in zip(after, before, strict=True)]))


def _value(given: Any) -> Any:
    if isinstance(given, list | tuple):
        return [_value(item) for item in given]
    return given.value if isinstance(given, Stored) else given
