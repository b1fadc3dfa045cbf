"""Sums of distances, -sum |w - x|: the arithmetic of adder layers, exact for integers that the type can hold."""

import torch

from .windows import WHOLE, Area

ELEMENTS_PER_BLOCK = 1 << 17
"""Differences in work at a time: they stay in the cache from one pass over them to the next."""


def negative_distances(weight: torch.Tensor, x: torch.Tensor, area: Area) -> torch.Tensor:
    """y[n,o] = -sum |weight[o] - window of x[n]| of weight[out, in/groups, kh, kw] and x[N, C, H, W], of one type.

    Integers come out whole while the type holds the sum of the magnitudes. Real numbers are added in the order of
    AdderNet's torch code, and give the same bits.
    """
    rows, columns = area.counts(x)
    flat = grouped(weight, area)
    result = x.new_empty(len(flat), area.groups, rows * columns * len(x))
    start = 0
    for _, matrix in area.matrices(area.taps(area.images_last(x))):
        for part in matrix.split(block_width(matrix), 2):
            _write_distances(flat, part, result[:, :, start:start + part.shape[2]])
            start += part.shape[2]
    return result.neg_().transpose(0, 1).reshape(len(weight), rows, columns, len(x)).permute(3, 0, 1, 2).contiguous()


def grouped(weight: torch.Tensor, area: Area) -> torch.Tensor:
    """The weights [out/groups, groups, in/groups * kh * kw, 1], one of the first subtracted from windows at once."""
    return weight.reshape(area.groups, len(weight) // area.groups, -1, 1).transpose(0, 1)


def block_width(matrix: torch.Tensor) -> int:
    """Columns of a matrix of windows [groups, K, windows] that are in work at a time."""
    return WHOLE * max(1, ELEMENTS_PER_BLOCK // (matrix.shape[0] * matrix.shape[1] * WHOLE))


def _write_distances(flat: torch.Tensor, part: torch.Tensor, sums: torch.Tensor) -> None:
    """sums[o] = sum over K of |flat[o] - part|"""
    together = max(1, ELEMENTS_PER_BLOCK // part.numel())
    difference = part.new_empty(min(together, len(flat)), *part.shape)
    for some, target in zip(flat.split(together), sums.split(together), strict=True):
        torch.sum(torch.sub(some, part, out=difference[:len(some)]).abs_(), 2, out=target)
