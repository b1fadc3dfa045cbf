"""The windows of a convolution as matrices, a few rows of the map at a time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from .graph import AdderConv2d
from .shapes import window_counts

ELEMENTS_PER_MATRIX = 1 << 18
"""Elements of a matrix, unless one row of the map has more: it stays in the cache while it is in use."""
WHOLE = 64
"""Windows that a processor's widest vector instructions take at once, four of 16 numbers: they set the order in which
torch adds up a column, so that a matrix that holds a multiple of them gives the bits that all columns at once do."""


@dataclass(frozen=True)
class Area:
    """Where the windows of a convolution lie: padding is (top, left, bottom, right), of zeros."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, op: AdderConv2d) -> "Area":
        """That of an operation of the graph."""
        return cls((op.weight_shape[2], op.weight_shape[3]), op.stride, op.padding, op.dilation, op.groups)

    def counts(self, x: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of the windows on x[N, C, H, W]."""
        return window_counts((x.shape[2], x.shape[3]), self.kernel, self.stride, self.padding, self.dilation)

    def images_last(self, x: torch.Tensor) -> torch.Tensor:
        """x[N, C, H, W] as [C, H', W', N] with its padding: a row's windows share long runs of memory."""
        top, left, bottom, right = self.padding
        return functional.pad(x, (left, right, top, bottom)).permute(1, 2, 3, 0).contiguous()

    def taps(self, images_last: torch.Tensor) -> torch.Tensor:
        """A view [C, kh, kw, rows, columns, N] of a padded [C, H', W', N]."""
        view = images_last
        for axis, (size, step, apart) in enumerate(zip(self.kernel, self.stride, self.dilation, strict=True), start=1):
            view = view.unfold(axis, apart * (size - 1) + 1, step)[..., ::apart]
        return view.permute(0, 4, 5, 1, 2, 3)

    def matrices(self, taps: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows of the map, and their windows [groups, in/groups * kh * kw, rows * columns * N]; none of no images."""
        if not taps.numel():
            return
        channels, height, width, rows, columns, count = taps.shape
        some = WHOLE // math.gcd(WHOLE, columns * count)
        some *= max(1, ELEMENTS_PER_MATRIX // (channels * height * width * columns * count * some))
        for row in range(0, rows, some):
            lines = slice(row, min(row + some, rows))
            yield lines, taps[:, :, :, lines].reshape(self.groups, channels // self.groups * height * width, -1)
