"""Transposed convolutions whose weights are signed powers of two."""

import torch
from torch.nn import functional

from ..quantize import Form
from .geometry import Pair, check_channels, pair
from .shift import _ShiftLayer


def turned(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """Weights of a transposed convolution as those of the convolution that computes it, or the other way round.

    [A, B/groups, kh, kw] -> [B, A/groups, kh, kw], the kernel turned by 180 degrees: w'[b, a, y, x] =
    w[a, b, kh-1-y, kw-1-x] within each group. Undoes itself.
    """
    first, second = weight.shape[0] // groups, weight.shape[1]
    grouped = weight.reshape(groups, first, second, *weight.shape[2:]).transpose(1, 2)
    return grouped.reshape(groups * second, first, *weight.shape[2:]).flip(2, 3)


class ShiftConvTranspose2d(_ShiftLayer):
    """torch.nn.ConvTranspose2d with weights that are `terms` signed powers of two, of `weight_bits` bits each.

    It is a convolution of stride 1 on the map with stride - 1 zeros behind each pixel, and its parameters are those of
    that convolution, [out, in/groups, kh, kw], as ShiftConv2d's: turned(weight, groups) makes them of a
    ConvTranspose2d's. Padding is (rows, columns), of which the convolution has dilation*(k - 1) - padding zeros before
    the map and output_padding more behind it (less the zeros behind its last pixels).

    x: [N, in, H, W]; y: [N, out, (H-1)*sy - 2*py + dy*(kh-1) + opy + 1, likewise].

    output_padding  rows and columns behind the result, less than stride or dilation
    others          as ShiftConv2d's
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1,
                 padding: Pair = 0, output_padding: Pair = 0, groups: int = 1, bias: bool = True, dilation: Pair = 1,
                 *, form: Form = "Q", weight_bits: int = 5, terms: int = 1,
                 weight_scale: float | torch.Tensor = 1.0, bias_format: tuple[int, int] | None = None) -> None:
        kind = type(self).__name__
        check_channels(kind, in_channels, out_channels, groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(kind, "kernel_size", kernel_size)
        self.stride, self.dilation = pair(kind, "stride", stride), pair(kind, "dilation", dilation)
        self.padding, self.output_padding = _sizes(kind, "padding", padding), _sizes(kind, "output_padding",
                                                                                     output_padding)
        for added, step, spread in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if added >= max(step, spread):
                raise ValueError(f"{kind}: output_padding must be less than stride {self.stride} or dilation "
                                 f"{self.dilation}, not {self.output_padding}")
        super().__init__((out_channels, in_channels // groups, *self.kernel_size), bias, form, weight_bits, terms,
                         weight_scale, bias_format)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = turned(self.rounded_weight(), self.groups)
        return functional.conv_transpose2d(x, weight, self.rounded_bias(), self.stride, self.padding,
                                           self.output_padding, self.groups, self.dilation)

    def extra_repr(self) -> str:
        return (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"padding={self.padding}, output_padding={self.output_padding}, groups={self.groups}, "
                f"form={self.form}, weight_bits={self.weight_bits}, terms={self.terms}")


def _sizes(kind: str, name: str, value: Pair) -> tuple[int, int]:
    """A number of 0 or more, or one for rows and one for columns. Raises ValueError."""
    numbers = value if isinstance(value, tuple) else (value, value)
    if len(numbers) != 2 or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError(f"{kind}: {name} must be an int of 0 or more, or two of them, not {value!r}")
    return numbers
