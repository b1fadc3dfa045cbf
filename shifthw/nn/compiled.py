"""Adder layers for long training runs: kernels that torch.compile makes, several times faster than those of torch.

They need torch 2.13 and a C++ compiler when they first run. Images are the last dimension, the one that vector
instructions run along, so that windows are views of the map and nothing is copied. Sums are in another order, so that
the last bits of real numbers differ.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch import nn
from torch.nn.grad import conv2d_weight

from ..ir.windows import Area
from .adder import AdderConv2d

TOGETHER = 8
"""Sums in registers at a time, which read a window's number once."""
SHAPES = 256
"""Of layers, each compiled once; torch's own limit of 8 is less than a network has."""


def compile_adders(model: nn.Module) -> None:
    """From now on the adder convolutions of `model` that have one group run compiled."""
    for module in model.modules():
        if isinstance(module, AdderConv2d) and module.groups == 1:
            module.function = CompiledDistances


class CompiledDistances(torch.autograd.Function):
    """shifthw.nn.distances.Distances, results and gradients, of a layer with one group."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, area: Area, eta: float | None) -> torch.Tensor:
        padded = area.images_last(x)
        ctx.save_for_backward(padded, weight)
        ctx.area, ctx.eta = area, eta
        return _sums()(_any_count(area.taps(padded)), weight).permute(3, 0, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        padded, weight = ctx.saved_tensors
        slopes = grads[0].to(padded.dtype)
        to_x = _to_x(padded, weight, slopes, ctx.area) if ctx.needs_input_grad[0] else None
        to_weight = _to_weight(padded, weight, slopes, ctx.area) if ctx.needs_input_grad[1] else None
        if to_weight is not None and ctx.eta is not None:
            to_weight *= ctx.eta * math.sqrt(weight.numel()) / to_weight.norm().clamp(min=1e-12)
        return to_x, to_weight, None, None


def _to_weight(padded: torch.Tensor, weight: torch.Tensor, slopes: torch.Tensor, area: Area) -> torch.Tensor:
    """sum (x - w) dL/dy: a convolution's gradient - w * sum dL/dy."""
    of_convolution = conv2d_weight(padded.permute(3, 0, 1, 2), weight.shape, slopes, area.stride, 0, area.dilation)
    return of_convolution - weight * slopes.sum((0, 2, 3))[:, None, None, None]


def _to_x(padded: torch.Tensor, weight: torch.Tensor, slopes: torch.Tensor, area: Area) -> torch.Tensor:
    """Each position gathers from the windows that it is in: those of a convolution of dL/dy, stretched by the stride,
    with the kernel turned round."""
    top, left, bottom, right = area.padding
    height, width, count = padded.shape[1:]
    reach = [apart * (size - 1) for size, apart in zip(area.kernel, area.dilation, strict=True)]
    spread = padded.new_zeros(len(weight), height + reach[0], width + reach[1], count)
    windows = spread[:, reach[0]:, reach[1]:]
    windows[:, :slopes.shape[2] * area.stride[0]:area.stride[0],
            :slopes.shape[3] * area.stride[1]:area.stride[1]] = slopes.permute(1, 2, 3, 0)
    rows, columns = slice(top, height - bottom), slice(left, width - right)
    around = Area(area.kernel, (1, 1), area.padding, area.dilation, 1).taps(spread)[:, :, :, rows, columns]
    inside = padded[:, rows, columns]
    return _clipped()(_any_count(inside), weight.flip(2, 3), _any_count(around)).permute(3, 0, 1, 2)


def _any_count(images_last: torch.Tensor) -> torch.Tensor:
    """One compilation serves any number of images, the last dimension."""
    torch._dynamo.maybe_mark_dynamic(images_last, images_last.ndim - 1)
    return images_last


def _compiled(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return cast(Any, torch.compile)(function, recompile_limit=SHAPES)   # its type hints do not know the limit


@cache
def _sums() -> Callable[..., torch.Tensor]:
    """-sum |w - x| of taps [C, kh, kw, rows, columns, N] and weight [out, C, kh, kw]: [out, rows, columns, N]."""
    def sums(taps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        some = weight.unflatten(0, (-1, math.gcd(TOGETHER, len(weight)))).unbind(1)
        parts = [(each[..., None, None, None] - taps).abs().sum((1, 2, 3)) for each in some]
        return -torch.stack(parts, 1).flatten(0, 1)
    return _compiled(sums)


@cache
def _clipped() -> Callable[..., torch.Tensor]:
    """sum over outputs and taps of hardtanh(w - x) * slope, of x[C, H, W, N], weight [out, C, kh, kw] and slopes
    [out, kh, kw, H, W, N]: [C, H, W, N]."""
    def clipped(x: torch.Tensor, weight: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        def part(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            apart = weight.transpose(0, 1)[..., None, None, None] - x[:, None, None, None]
            return (apart.clamp(-1, 1) * slopes).sum((1, 2, 3))

        together = math.gcd(TOGETHER, len(x))
        pairs = zip(x.unflatten(0, (-1, together)).unbind(1), weight.unflatten(1, (-1, together)).unbind(2),
                    strict=True)
        return torch.stack([part(*pair) for pair in pairs], 1).flatten(0, 1)
    return _compiled(clipped)
