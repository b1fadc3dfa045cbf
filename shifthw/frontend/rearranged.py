"""Reshapes, transpositions and selections, followed value by value until they are moves of channels, or a flatten."""

import math
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from ..errors import UnsupportedModel
from ..ir.graph import Flatten, SelectChannels
from .draft import Draft
from .trace import Trace, attempt

FUNCTIONS = (operator.getitem, torch.flatten, torch.flip, torch.index_select, torch.narrow, torch.permute,
             torch.reshape, torch.roll, torch.squeeze, torch.swapaxes, torch.transpose, torch.unflatten,
             torch.unsqueeze)
METHODS = ("contiguous", "flatten", "flip", "index_select", "narrow", "permute", "reshape", "roll", "squeeze",
           "swapaxes", "transpose", "unflatten", "unsqueeze", "view")
MOVES = (*FUNCTIONS, *METHODS)
"""What only moves values, as a function of torch or a method of tensors."""


@dataclass(frozen=True, eq=False)
class Rearranged:
    """An activation whose values stand in other places.

    tensor  its name
    step    the step of the trace that left it so, for messages
    index   int64[images, ...]: which value of `tensor`, counted in order over all images, stands where
    """

    tensor: str
    step: str
    index: torch.Tensor

    @classmethod
    def of(cls, tensor: str, shape: tuple[int, ...]) -> "Rearranged":
        """In its own order; shape: as torch has it, with images."""
        return cls(tensor, "", places(shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        return tuple(self.index.shape[1:])


def moved(traced: Trace, node: fx.Node, source: fx.Node, value: Rearranged, label: str) -> Rearranged:
    """What a step of MOVES, `label` in messages, makes of `value`, which stands for its operand `source`."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs),
                                   lambda each: value.index if each is source else traced.values[each])
    function: Any = getattr(torch.Tensor, node.target) if isinstance(node.target, str) else node.target
    index = attempt(lambda: function(*args, **kwargs), f"{label}: cannot be followed")
    numbers = value.index.numel() // len(value.index)
    if len(index) != len(value.index) or (index.flatten(1) // numbers != torch.arange(len(index))[:, None]).any():
        raise UnsupportedModel(f"{label}: moves values from one image to another; only values of the same image can be "
                               f"moved")
    if not index.numel():
        raise UnsupportedModel(f"{label}: leaves nothing of a map of {list(value.shape)}; it must keep some channels")
    return Rearranged(value.tensor, label, index)


def settled(draft: Draft, where: str, value: Rearranged) -> "str | Rearranged":
    """The activation, if it is one again: the same, some of its channels, or all of it flattened."""
    before, index = (len(value.index), *draft[value.tensor].output.shape), value.index
    pixels = math.prod(before[2:])
    if index.ndim == 2 or index.shape[2:] == (1, 1):
        index = index.reshape(*index.shape[:2], 1, 1)
        if index.shape[1] == math.prod(before[1:]) and torch.equal(index.flatten(), places(before).flatten()):
            return value.tensor if pixels == 1 else draft.add(where, Flatten(), value.tensor)
    channels = whole_channels(index, before)
    if channels is None:
        return value
    if torch.equal(channels, torch.arange(before[1])):
        return value.tensor
    return draft.add(where, SelectChannels(channels.numpy()), value.tensor)


def places(shape: tuple[int, ...]) -> torch.Tensor:
    """The number of each value of a tensor."""
    return torch.arange(math.prod(shape)).reshape(shape)


def whole_channels(index: torch.Tensor, before: tuple[int, ...]) -> torch.Tensor | None:
    """Which channels of a tensor of shape `before`, [images, channels, ...], numbers as of `places` stand for; None if
    they are not whole channels."""
    if index.ndim != len(before) or index.shape[0] != before[0] or index.shape[2:] != before[2:]:
        return None
    channels = index.reshape(*index.shape[:2], -1)[0, :, 0] // math.prod(before[2:])
    whole = int(channels.max()) < before[1] and torch.equal(places(before)[:, channels], index)
    return channels if whole else None
