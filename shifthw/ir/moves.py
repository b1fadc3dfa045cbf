"""The operations that only say where a value is found, on torch tensors of integers or of real numbers."""

import torch
from torch.nn import functional

from .graph import AddressShift2d, Concat, Flatten, Move, SelectChannels, SpatialShift2d, Upsample2d


def move(op: Move, inputs: list[torch.Tensor]) -> torch.Tensor:
    """The result of `op` on [N, C, H, W] tensors of any type that holds it exactly."""
    x = inputs[0]
    match op:
        case SpatialShift2d():
            return _spatial_shift(op, x)
        case AddressShift2d():
            lines = x.flatten(2).unsqueeze(2)
            offsets = torch.tensor(op.offset)
            return _shifted(lines, torch.stack([torch.zeros_like(offsets), offsets], dim=1)).reshape(x.shape)
        case SelectChannels():
            return x[:, torch.tensor(op.channels)]
        case Concat():
            return torch.cat(inputs, dim=1)
        case Upsample2d():
            return _upsampled(op, x)
        case Flatten():
            return x.reshape(len(x), -1, 1, 1)


def bilinear_sums(x: torch.Tensor) -> torch.Tensor:
    """16 times the map enlarged twice along both axes: see BilinearUpsample2d."""
    for axis in (2, 3):
        size = x.shape[axis]
        before = x.index_select(axis, torch.arange(size).sub(1).clamp_(min=0))
        after = x.index_select(axis, torch.arange(size).add(1).clamp_(max=size - 1))
        pair = torch.stack([3 * x + before, 3 * x + after], dim=axis + 1)
        x = pair.flatten(axis, axis + 1)
    return x


def _spatial_shift(op: SpatialShift2d, x: torch.Tensor) -> torch.Tensor:
    displacement = torch.tensor(op.displacement)
    if op.per_pixel == 1:
        shifted = _shifted(x, displacement)
    else:
        lower = torch.div(displacement, 2, rounding_mode="floor")
        upper = lower + displacement % 2
        shifted = torch.zeros_like(x)
        for dy in (lower[:, 0], upper[:, 0]):
            for dx in (lower[:, 1], upper[:, 1]):
                shifted = shifted + _shifted(x, torch.stack([dy, dx], dim=1))
    return shifted[:, :, ::op.stride[0], ::op.stride[1]]


def _shifted(x: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """Whole-pixel shifts, channels of one displacement at a time."""
    height, width = x.shape[2:]
    shifted = torch.zeros_like(x)
    for dy, dx in torch.unique(displacement, dim=0).tolist():
        if abs(dy) >= height or abs(dx) >= width:
            continue
        channels = torch.nonzero((displacement == torch.tensor([dy, dx])).all(dim=1)).flatten()
        part = x[:, channels, max(dy, 0):height + min(dy, 0), max(dx, 0):width + min(dx, 0)]
        shifted[:, channels] = functional.pad(part, (max(-dx, 0), max(dx, 0), max(-dy, 0), max(dy, 0)))
    return shifted


def _upsampled(op: Upsample2d, x: torch.Tensor) -> torch.Tensor:
    fy, fx = op.factor
    repeated = x.repeat_interleave(fy, dim=2).repeat_interleave(fx, dim=3)
    if not op.zeros:
        return repeated
    stuffed = torch.zeros_like(repeated)
    stuffed[:, :, ::fy, ::fx] = x
    return stuffed


