"""Spatial shifts: channels moved by pixels of their own, in place of convolutions larger than 1x1.

All give out[h, w] = in[h + dy, w + dx], per channel, and 0 where that is outside of the map.
"""

import math
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import nn

from ..errors import UnsupportedModel
from .geometry import Pair, pair
from .moving import (
    bilinear,
    bilinear_for_training,
    check_channel_count,
    check_maps,
    moved,
    rounded_with_bilinear_gradient,
)

MOST_PIXELS = 1 << 20
"""A displacement of a converted layer, at most."""


class GroupedShift2d(nn.Module):
    """ShiftNet's fixed shift (Wu et al., "Shift", CVPR 2018): out[c, h, w] = in[c, h + dy[c], w + dx[c]], 0 outside.

    The kernel_size**2 places of a kernel are dealt to the channels in turn, as the released CUDA code does:
    dx[c] = dilation * (c % k - k//2), dy[c] = dilation * (c//k % k - k//2) for the first C // k**2 * k**2 channels;
    the rest stays. x, out: [N, C, H, W]. No parameters.

    kernel_size  k, odd
    dilation     pixels between the places of the kernel
    """

    displacement: torch.Tensor

    def __init__(self, channels: int, kernel_size: int = 3, dilation: int = 1) -> None:
        super().__init__()
        check_channel_count("GroupedShift2d", channels)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"GroupedShift2d: kernel_size must be odd, not {kernel_size}")
        if dilation < 1:
            raise ValueError(f"GroupedShift2d: dilation must be 1 or more, not {dilation}")
        self.channels, self.kernel_size, self.dilation = channels, kernel_size, dilation
        place = torch.arange(channels)
        shifted = place < channels // kernel_size**2 * kernel_size**2
        columns, rows = place % kernel_size - kernel_size // 2, place // kernel_size % kernel_size - kernel_size // 2
        displacement = torch.stack([rows, columns], dim=1) * dilation * shifted[:, None]
        self.register_buffer("displacement", displacement, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_maps("GroupedShift2d", x, self.channels)
        return moved(x, self.displacement)

    def integer_displacement(self) -> tuple[np.ndarray, int]:
        """(dy, dx) of each channel, int64[C, 2], and their units per pixel: 1."""
        return self.displacement.numpy(force=True).copy(), 1

    def extra_repr(self) -> str:
        return f"{self.channels}, kernel_size={self.kernel_size}, dilation={self.dilation}"


class _LearnedShift(nn.Module):
    """What ActiveShift2d and SparseShift2d share: the Parameter `displacement` [C, 2], (dy, dx), in pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        check_channel_count(type(self).__name__, channels)
        self.channels = channels
        self.displacement = nn.Parameter(torch.empty(channels, 2))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Displacements uniform in -1..1, as both papers' released code begins."""
        nn.init.uniform_(self.displacement, -1, 1)

    def _units(self, per_pixel: int) -> torch.Tensor:
        """Displacements rounded to 1 / per_pixel, in that unit: float, halves to the even one."""
        return torch.round(self.displacement.detach() * per_pixel)

    def _integers(self, per_pixel: int) -> np.ndarray:
        units = self._units(per_pixel).double().numpy(force=True)
        if not (np.abs(units) <= MOST_PIXELS * per_pixel).all():    # false for NaN too
            raise UnsupportedModel(f"{type(self).__name__}: displacement has values up to "
                                   f"{float(np.abs(units).max()) / per_pixel:.3g} pixels, must be finite and at most "
                                   f"{MOST_PIXELS}; train it again")
        return units.astype(np.int64)


class ActiveShift2d(_LearnedShift):
    """Active shift (Jeon and Kim, "Constructing Fast Network through Deconstruction of Convolution", NeurIPS 2018).

    Training mode: out[c, h, w] = in[c, h*sy + dy[c], w*sx + dx[c]] between pixels by bilinear interpolation, 0 outside;
    the gradient to a displacement is the difference of the neighbours that it lies between.
    Evaluation mode: the same with displacements rounded to 1 / resolution pixel, halves to the even multiple: what the
    engine computes. x: [N, C, H, W]; out: [N, C, ceil(H/sy), ceil(W/sx)].

    stride      of the output, as a convolution's: an int or (sy, sx)
    resolution  1: whole pixels; 2: half pixels, then a value is the mean of 1, 2 or 4 pixels
    """

    def __init__(self, channels: int, stride: Pair = 1, resolution: int = 1) -> None:
        if resolution not in (1, 2):
            raise ValueError(f"ActiveShift2d: resolution must be 1 or 2, not {resolution}")
        self.stride, self.resolution = pair("ActiveShift2d", "stride", stride), resolution
        super().__init__(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_maps("ActiveShift2d", x, self.channels)
        if self.training:
            learns = self.displacement.requires_grad and torch.is_grad_enabled()
            return (bilinear_for_training if learns else bilinear)(x, self.displacement, self.stride)
        units = self._units(self.resolution)
        if self.resolution == 1:
            return moved(x, units.to(torch.int64), self.stride)
        return bilinear(x, units / self.resolution, self.stride)

    def integer_displacement(self) -> tuple[np.ndarray, int]:
        """(dy, dx) of each channel, int64[C, 2], in units of 1 / resolution pixel, and the resolution.

        Raises UnsupportedModel for displacements that are no numbers.
        """
        return self._integers(self.resolution), self.resolution

    def extra_repr(self) -> str:
        return f"{self.channels}, stride={self.stride}, resolution={self.resolution}"


class SparseShift2d(_LearnedShift):
    """Sparse shift layer (Chen et al., "All You Need is a Few Shifts", CVPR 2019): most channels end up unmoved.

    out[c, h, w] = in[c, h + round(dy[c]), w + round(dx[c])], 0 outside, halves to the even pixel, in training too. The
    gradient to the displacements is that of bilinear interpolation at the real ones; the gradient to x is of the
    rounded move. x, out: [N, C, H, W], finite. The loss must be given shift_loss(), or total_shift_loss(model), too.

    norm      of the loss: "l1" or "l2"
    strength  that it is multiplied with
    """

    def __init__(self, channels: int, norm: Literal["l1", "l2"] = "l1", strength: float = 5e-4) -> None:
        if norm not in ("l1", "l2"):
            raise ValueError(f"SparseShift2d: norm must be 'l1' or 'l2', not {norm!r}")
        if not 0 <= strength < math.inf:
            raise ValueError(f"SparseShift2d: strength must be 0 or positive and finite, not {strength}")
        self.norm, self.strength = norm, strength
        super().__init__(channels)

    @classmethod
    def from_torchshifts(cls, weight: torch.Tensor, **options: Any) -> Self:
        """The layer that moves as torchshifts' Shift2d with this `weight` [C, 2], (rows, columns), does.

        Its displacements have the opposite sign, in[h - w]; `options` are norm and strength. Raises ValueError.
        (https://github.com/DeadAt0m/ActiveSparseShifts-PyTorch, padding of zeros, active_flag False.)
        """
        if weight.ndim != 2 or weight.shape[1] != 2:
            raise ValueError(f"SparseShift2d: weight of torchshifts must be [C, 2], not {list(weight.shape)}")
        layer = cls(len(weight), **options)
        with torch.no_grad():
            layer.displacement.copy_(-weight)
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_maps("SparseShift2d", x, self.channels)
        learns = self.displacement.requires_grad and torch.is_grad_enabled()
        if learns and not torch.compiler.is_exporting():
            return rounded_with_bilinear_gradient(x, self.displacement)
        return moved(x, self._units(1).to(torch.int64))

    def shift_loss(self) -> torch.Tensor:
        """strength * sum over channels and axes of |d| (l1) or d**2 (l2), a number; d in pixels, before rounding."""
        size = self.displacement.abs() if self.norm == "l1" else self.displacement.square()
        return self.strength * size.sum()

    @property
    def sparsity(self) -> float:
        """Share of the channels, 0..1, that stay where they are."""
        return float((self._units(1) == 0).all(dim=1).double().mean())

    def integer_displacement(self) -> tuple[np.ndarray, int]:
        """(dy, dx) of each channel, int64[C, 2], and their units per pixel: 1.

        Raises UnsupportedModel for displacements that are no numbers.
        """
        return self._integers(1), 1

    def extra_repr(self) -> str:
        return f"{self.channels}, norm={self.norm}, strength={self.strength:g}, sparsity={self.sparsity:.2f}"


def total_shift_loss(model: nn.Module) -> torch.Tensor:
    """Sum of shift_loss of all SparseShift2d in `model`, to be added to its loss; 0 if there is none."""
    losses = [module.shift_loss() for module in model.modules() if isinstance(module, SparseShift2d)]
    return torch.stack(losses).sum() if losses else torch.zeros(())
