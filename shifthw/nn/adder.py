"""The convolution of AdderNet and ShiftAddNet, without multiplications and without shifts."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

ELEMENTS_PER_BLOCK = 1 << 22
"""Elements of the images' windows that are in work at a time: 16 MiB of float32, of which a copy is made."""


class AdderConv2d(nn.Module):
    """y[n,o,h,w] = -sum_{i,ky,kx} |x[n,i,h*s-p+ky,w*s-p+kx] - adder[o,i,ky,kx]| [+ b[o]]; outside, x is 0.

    A position in the padding counts -|adder|, not 0. Parameters are named as in AdderNet
    (https://github.com/huawei-noah/AdderNet): adder [out, in, kh, kw] and, with bias, b [out].
    x: [N, in, H, W]; y: [N, out, H', W'], the sum in the order of upstream, so equal in every bit of float32.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int],
                 stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0, bias: bool = False) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = _pair(kernel_size), _pair(stride), _pair(padding)
        self.adder = nn.Parameter(torch.empty(out_channels, in_channels, *self.kernel_size))
        self.b = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Standard normal weights, as AdderNet's; a bias of 0."""
        nn.init.normal_(self.adder)
        if self.b is not None:
            nn.init.zeros_(self.b)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = ((size + 2 * pad - kernel) // stride + 1 for size, pad, kernel, stride in
                         zip(x.shape[2:], self.padding, self.kernel_size, self.stride, strict=True))
        windows = self.adder[0].numel() * rows * columns
        blocks = x.split(max(1, ELEMENTS_PER_BLOCK // windows))
        y = torch.cat([self._distances(block).unflatten(2, (rows, columns)) for block in blocks])
        return y if self.b is None else y + self.b[:, None, None]

    def _distances(self, x: torch.Tensor) -> torch.Tensor:
        """y without bias, [N, out, H'*W'], one output channel at a time."""
        windows = functional.unfold(x, self.kernel_size, padding=self.padding, stride=self.stride)
        matrix = windows.permute(1, 2, 0).flatten(1)        # upstream's order, and with it that of float32's sums
        sums = torch.stack([-(weight[:, None] - matrix).abs().sum(0) for weight in self.adder.flatten(1)])
        return sums.unflatten(1, (windows.shape[2], len(x))).permute(2, 0, 1)

    def extra_repr(self) -> str:
        return (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"padding={self.padding}, bias={self.b is not None}")


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
