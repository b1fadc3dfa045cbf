"""Maps moved by whole or fractional pixels, each channel by its own displacement; zero comes in from outside."""

from typing import Any

import torch
from torch.nn import functional

MOST_RADIUS = 3
"""In pixels: larger displacements are cheaper by their four neighbours than as a convolution."""


def check_channel_count(kind: str, channels: int) -> None:
    """Raises ValueError, naming the module's `kind`."""
    if channels < 1:
        raise ValueError(f"{kind}: channels must be 1 or more, not {channels}")


def check_maps(kind: str, x: torch.Tensor, channels: int) -> None:
    """Raises ValueError, naming the module's `kind`, for what is no batch of maps with these channels."""
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(f"{kind}: x must be [N, {channels}, H, W], not {list(x.shape)}")


def moved(x: torch.Tensor, displacement: torch.Tensor, stride: tuple[int, int] = (1, 1)) -> torch.Tensor:
    """out[n,c,h,w] = x[n, c, h*sy + dy[c], w*sx + dx[c]], 0 outside of the map.

    x: [N, C, H, W] of any type; displacement: int64[C, 2], (dy, dx), of any size; out: [N, C, ceil(H/sy), ceil(W/sx)].
    """
    count, channels, height, width = x.shape
    rows = torch.arange(0, height, stride[0], device=x.device) + displacement[:, :1]
    columns = torch.arange(0, width, stride[1], device=x.device) + displacement[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    index = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    values = x.flatten(2).gather(2, index.flatten(1).expand(count, -1, -1))
    return torch.where(inside, values.reshape(count, channels, *inside.shape[1:]), 0)


def bilinear(x: torch.Tensor, displacement: torch.Tensor, stride: tuple[int, int] = (1, 1)) -> torch.Tensor:
    """As moved, by real displacements: the four pixels around each point, weighted by their nearness.

    With f = d - floor(d), an axis gives (1 - f) * x[floor(d)] + f * x[floor(d) + 1]; so its gradient to d is the
    difference of these two neighbours, at whole d too. x and displacement have gradients.
    """
    corner = displacement.detach().floor()
    fraction = (displacement - corner).to(torch.promote_types(x.dtype, displacement.dtype))[:, :, None, None]
    total = torch.zeros((), dtype=fraction.dtype, device=x.device)
    for row, across in enumerate((1 - fraction[:, 0], fraction[:, 0])):
        for column, along in enumerate((1 - fraction[:, 1], fraction[:, 1])):
            offset = torch.tensor([row, column], device=x.device)
            total = total + moved(x, corner.to(torch.int64) + offset, stride) * (across * along)
    return total


def bilinear_for_training(x: torch.Tensor, displacement: torch.Tensor,
                          stride: tuple[int, int] = (1, 1)) -> torch.Tensor:
    """bilinear with its gradients, about ten times faster for small displacements; sums are in another order."""
    radius = _radius(x, displacement)
    if radius > MOST_RADIUS:
        return bilinear(x, displacement, stride)
    return _convolved(x, _kernel(displacement, radius), stride)


def rounded_with_bilinear_gradient(x: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """moved by the rounded displacements, halves to the even pixel; the gradient to x is of that move, the gradient to
    the displacements is bilinear's at the real ones. Both x and the displacements must be finite."""
    radius = _radius(x, displacement)
    if radius > MOST_RADIUS:
        real = bilinear(x.detach(), displacement)
        whole = moved(x, displacement.detach().round().to(torch.int64))
        return whole + (real - real.detach()).to(x.dtype)
    return _RoundedMove.apply(x, displacement, radius)


class _RoundedMove(torch.autograd.Function):
    """rounded_with_bilinear_gradient for small displacements, all of it as convolutions forward, in the type of x:
    those of single channels are several times slower backward, where they need the gradient to a whole kernel."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, displacement: torch.Tensor, radius: int) -> torch.Tensor:
        ctx.save_for_backward(x, displacement)
        ctx.radius = radius
        return _convolved(x, _kernel(displacement.round(), radius).to(x.dtype), (1, 1))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor, None]:
        x, displacement = ctx.saved_tensors
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = _convolved(grads[0], _kernel(-displacement.round(), ctx.radius).to(x.dtype), (1, 1))
        slopes = [(grads[0] * _convolved(x, kernel.to(x.dtype), (1, 1))).sum((0, 2, 3), dtype=displacement.dtype)
                  for kernel in _slopes(displacement, ctx.radius)]
        return to_x, torch.stack(slopes, dim=1), None


def _radius(x: torch.Tensor, displacement: torch.Tensor) -> int:
    """Pixels from the middle of a kernel that reads all that bilinear does; no more than the map has."""
    return max(1, min(int(displacement.detach().abs().amax().ceil()), max(x.shape[2:])))


def _convolved(x: torch.Tensor, kernel: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    """Each channel with its kernel of [C, 2*radius + 1, 2*radius + 1], in the wider of both types."""
    wide = torch.promote_types(x.dtype, kernel.dtype)
    with torch.autocast(x.device.type, enabled=False):
        return functional.conv2d(x.to(wide), kernel.to(wide)[:, None], None, stride, len(kernel[0]) // 2,
                                 groups=len(kernel))


def _kernel(displacement: torch.Tensor, radius: int) -> torch.Tensor:
    """Weights [C, 2*radius + 1, 2*radius + 1] of the pixels at -radius..radius that bilinear reads."""
    places, fraction = _places(displacement, radius)
    weights = torch.where(places == 0, 1 - fraction, torch.where(places == 1, fraction, 0))
    return weights[:, 0, :, None] * weights[:, 1, None, :]


def _slopes(displacement: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of _kernel to dy and to dx."""
    places, fraction = _places(displacement, radius)
    weights = torch.where(places == 0, 1 - fraction, torch.where(places == 1, fraction, 0))
    slope = (places == 1).to(weights.dtype) - (places == 0).to(weights.dtype)
    return slope[:, 0, :, None] * weights[:, 1, None, :], weights[:, 0, :, None] * slope[:, 1, None, :]


def _places(displacement: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each channel and axis, [C, 2, 2*radius + 1]: pixels behind floor(d); and [C, 2, 1]: d - floor(d)."""
    corner = displacement.detach().floor()
    places = torch.arange(-radius, radius + 1, device=displacement.device) - corner[:, :, None]
    return places, (displacement - corner)[:, :, None]
