"""Reshapes, transpositions and selections, followed value by value until they are moves of channels, or a flatten."""

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
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
    index   int64[images, ...]: which value of the image of `tensor`, counted in order, stands where
    """

    tensor: str
    step: str
    index: torch.Tensor

    @classmethod
    def of(cls, tensor: str, shape: tuple[int, ...]) -> "Rearranged":
        """In its own order; shape: as torch has it, with images."""
        one = torch.arange(math.prod(shape[1:])).reshape(1, *shape[1:])
        return cls(tensor, "", one.repeat(shape[0], *[1] * (len(shape) - 1)))

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
    if len(index) != len(value.index) or (index != index[:1]).any():
        raise UnsupportedModel(f"{label}: moves values from one image to another; only values of the same image can be "
                               f"moved")
    if not index.numel():
        raise UnsupportedModel(f"{label}: leaves nothing of a map of {list(value.shape)}; it must keep some channels")
    return Rearranged(value.tensor, label, index)


def settled(draft: Draft, where: str, value: Rearranged) -> "str | Rearranged":
    """The activation, if it is one again: the same, some of its channels, or all of it flattened."""
    channels, height, width = draft[value.tensor].output.shape
    index = value.index[0].numpy()
    pixels = height * width
    if _flat(index) and index.size == channels * pixels and (index.ravel() == np.arange(index.size)).all():
        return value.tensor if pixels == 1 else draft.add(where, Flatten(), value.tensor)
    map_shape = index.shape if index.ndim == 3 else (*index.shape, 1, 1) if index.ndim == 1 else (0, 0, 0)
    if map_shape[1:] != (height, width):
        return value
    taken = index.reshape(-1, pixels)
    if (taken != taken[:, :1] + np.arange(pixels)).any() or (taken[:, 0] % pixels).any():
        return value
    order = taken[:, 0] // pixels
    if len(order) == channels and (order == np.arange(channels)).all():
        return value.tensor
    return draft.add(where, SelectChannels(order.astype(np.int64)), value.tensor)


def _flat(index: np.ndarray) -> bool:
    return index.ndim == 1 or index.ndim == 3 and index.shape[1:] == (1, 1)
