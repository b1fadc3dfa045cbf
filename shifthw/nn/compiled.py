"""Adder layers for long training runs: kernels that torch.compile makes, several times faster than those of torch.

They need a C++ compiler when they first run. Sums are in another order, so that the last bits of real numbers differ.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..ir.windows import Area
from .adder import AdderConv2d


def compile_adders(model: nn.Module) -> None:
    """From now on the adder convolutions of `model` that have one group run compiled."""
    for module in model.modules():
        if isinstance(module, AdderConv2d) and module.groups == 1:
            module.function = CompiledDistances


class CompiledDistances(torch.autograd.Function):
    """shifthw.nn.distances.Distances, results and gradients, of a layer with one group."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, area: Area, eta: float | None) -> torch.Tensor:
        top, left, bottom, right = area.padding
        padded = functional.pad(x, (left, right, top, bottom))
        columns = functional.unfold(padded, area.kernel, area.dilation, 0, area.stride)
        windows = _any_number(columns.transpose(1, 2).flatten(0, 1).contiguous())       # [N * positions, K]
        flat = weight.flatten(1)
        ctx.save_for_backward(windows, flat)
        ctx.area, ctx.eta, ctx.shape, ctx.padded = area, eta, weight.shape, padded.shape
        sums = _sums()(windows, flat)
        return sums.unflatten(0, (len(x), -1)).transpose(1, 2).unflatten(2, area.counts(x))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        windows, flat = ctx.saved_tensors
        slopes = _any_number(grads[0].to(windows.dtype).flatten(2).transpose(1, 2).flatten(0, 1).contiguous())
        to_x = _to_x(ctx, windows, flat, slopes) if ctx.needs_input_grad[0] else None
        to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = slopes.t() @ windows - flat * slopes.sum(0)[:, None]
            if ctx.eta is not None:
                to_weight *= ctx.eta * math.sqrt(flat.numel()) / to_weight.norm().clamp(min=1e-12)
            to_weight = to_weight.reshape(ctx.shape)
        return to_x, to_weight, None, None


def _to_x(ctx: Any, windows: torch.Tensor, flat: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    area, (count, _, height, width) = ctx.area, ctx.padded
    columns = _clipped()(windows, flat, slopes).unflatten(0, (count, -1)).transpose(1, 2)
    image = functional.fold(columns, (height, width), area.kernel, area.dilation, 0, area.stride)
    top, left, bottom, right = area.padding
    return image[:, :, top:height - bottom, left:width - right]


def _any_number(rows: torch.Tensor) -> torch.Tensor:
    """One compilation per shape of the weights is enough: the number of windows does not matter."""
    torch._dynamo.mark_dynamic(rows, 0)
    return rows


@cache
def _sums() -> Callable[..., torch.Tensor]:
    """-sum |w - x| of windows [n, K] and weights [out, K]: [n, out]."""
    return torch.compile(lambda windows, flat: -(windows[:, None] - flat[None]).abs().sum(-1))


@cache
def _clipped() -> Callable[..., torch.Tensor]:
    """sum over outputs of hardtanh(w - x) * slope: [n, K]."""
    return torch.compile(lambda windows, flat, slopes:
                         (slopes[:, :, None] * (flat[None] - windows[:, None]).clamp(-1, 1)).sum(1))
