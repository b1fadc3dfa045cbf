"""Sums of distances with the gradients of AdderNet."""

import math
from typing import Any

import torch

from ..ir.distances import grouped, negative_distances
from ..ir.windows import WHOLE, Area

ELEMENTS_PER_BLOCK = 1 << 16
"""Clipped differences in work at a time: they, the windows and the sums stay in the cache together."""
LEARNING_RATE = 0.2
"""AdderNet's eta: the norm of a layer's weight gradient over the square root of its number of weights."""


@torch.library.custom_op("shifthw::negative_distances", mutates_args=())
def exported_distances(x: torch.Tensor, weight: torch.Tensor, stride: list[int], padding: list[int],
                       dilation: list[int], groups: int) -> torch.Tensor:
    """What torch.export writes for an adder layer of x[N, C, H, W], or of x[N, C] and weight[out, C]."""
    kernel = weight if weight.ndim == 4 else weight[:, :, None, None]
    area = Area((kernel.shape[2], kernel.shape[3]), (stride[0], stride[1]),
                (padding[0], padding[1], padding[2], padding[3]), (dilation[0], dilation[1]), groups)
    y = negative_distances(kernel, x if x.ndim == 4 else x[:, :, None, None], area)
    return y if x.ndim == 4 else y.flatten(1)


@exported_distances.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, stride: list[int], padding: list[int], dilation: list[int],
      groups: int) -> torch.Tensor:
    if weight.ndim == 2:
        return x.new_empty(x.shape[0], weight.shape[0])
    sizes = [(x.shape[2 + axis] + padding[axis] + padding[2 + axis] - dilation[axis] * (weight.shape[2 + axis] - 1) - 1)
             // stride[axis] + 1 for axis in range(2)]
    return x.new_empty(x.shape[0], weight.shape[0], *sizes)


class Distances(torch.autograd.Function):
    """y = -sum |w - x|; see ir.distances. Gradients of AdderNet (https://arxiv.org/abs/1912.13200):

    dL/dw = sum over windows of (x - w) * dL/dy, made eta * sqrt(number of weights) long; as it is where eta is None
    dL/dx = sum over windows and outputs of hardtanh(w - x) * dL/dy
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, area: Area, eta: float | None) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.area, ctx.eta = area, eta
        return negative_distances(weight, x, area)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        gradient, area = grads[0].to(x.dtype), ctx.area
        to_x = _input_gradient(x, weight, gradient, area) if ctx.needs_input_grad[0] else None
        to_weight = _weight_gradient(x, weight, gradient, area) if ctx.needs_input_grad[1] else None
        if to_weight is not None and ctx.eta is not None:
            to_weight *= ctx.eta * math.sqrt(weight.numel()) / to_weight.norm().clamp(min=1e-12)
        return to_x, to_weight, None, None


def _slopes(gradient: torch.Tensor, area: Area) -> torch.Tensor:
    """dL/dy as [groups, out/groups, rows, columns * N]: windows in the order of Area.matrices."""
    count, outputs, rows, _ = gradient.shape
    return gradient.permute(1, 2, 3, 0).reshape(area.groups, outputs // area.groups, rows, -1)


def _weight_gradient(x: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, area: Area) -> torch.Tensor:
    """sum (x - w) g, as a product of matrices: g x - w * sum g."""
    slopes = _slopes(gradient, area)
    flat = weight.reshape(*slopes.shape[:2], -1)
    total = -flat * slopes.flatten(2).sum(2, keepdim=True)
    for lines, matrix in area.matrices(area.taps(area.images_last(x))):
        total.baddbmm_(slopes[:, :, lines].flatten(2), matrix.transpose(1, 2))
    return total.reshape(weight.shape)


def _input_gradient(x: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, area: Area) -> torch.Tensor:
    slopes, flat, padded = _slopes(gradient, area), grouped(weight, area), area.images_last(x)
    result = torch.zeros_like(padded)
    taps, targets = area.taps(padded), area.taps(result)
    for lines, matrix in area.matrices(taps):
        clipped = _clipped_sums(matrix, flat, slopes[:, :, lines].flatten(2))
        parts = clipped.reshape(targets[:, :, :, lines].shape)
        for row in range(area.kernel[0]):           # windows overlap: no two positions of one tap do
            for column in range(area.kernel[1]):
                targets[:, row, column, lines] += parts[:, row, column]
    top, left = area.padding[:2]
    return result[:, top:top + x.shape[2], left:left + x.shape[3]].permute(3, 0, 1, 2).contiguous()


def _clipped_sums(matrix: torch.Tensor, flat: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """sum over o of hardtanh(flat[o] - matrix) * slopes[:, o], in the shape of the matrix [groups, K, windows]."""
    result = torch.empty_like(matrix)
    width = WHOLE * max(1, ELEMENTS_PER_BLOCK // (matrix.shape[0] * matrix.shape[1] * WHOLE))
    for start in range(0, matrix.shape[2], width):
        part = matrix[:, :, start:start + width].contiguous()
        total, difference = torch.zeros_like(part), torch.empty_like(part)
        slope = slopes[:, :, None, start:start + width].unbind(1)
        for weight, factor in zip(flat, slope, strict=True):
            total.addcmul_(torch.sub(weight, part, out=difference).clamp_(-1, 1), factor)
        result[:, :, start:start + width] = total
    return result
