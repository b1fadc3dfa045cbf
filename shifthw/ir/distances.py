"""Sums of distances, -sum |w - x|: the arithmetic of adder layers, exact for integers that the type can hold."""

import torch
from torch.nn import functional

ELEMENTS_PER_BLOCK = 1 << 17
"""Elements of the windows that are in work at a time: keeps memory small; larger blocks are no faster."""


def negative_distances(weight: torch.Tensor, x: torch.Tensor, stride: tuple[int, int],
                       padding: tuple[int, int, int, int], dilation: tuple[int, int], groups: int) -> torch.Tensor:
    """y[n,o] = -sum |weight[o] - window of x[n]| of weight[out, in/groups, kh, kw] and x[N, C, H, W], of one type.

    padding is (top, left, bottom, right), of zeros. torch.cdist with p=1 subtracts, takes magnitudes and adds, in any
    order: integers come out whole while the sum of the magnitudes is exact.
    """
    outputs, per_group = weight.shape[:2]
    windows = _windows(x, (weight.shape[2], weight.shape[3]), stride, padding, dilation)
    windows = windows.unflatten(-1, (groups, per_group)).permute(0, 1, 5, 2, 3, 4, 6)
    matrix = weight.permute(0, 2, 3, 1).reshape(groups, outputs // groups, -1)
    count, rows, _, columns = windows.shape[:4]
    result = x.new_empty(count, outputs, rows, columns)
    block = max(1, ELEMENTS_PER_BLOCK // windows[0, 0].numel())
    for image, sums in zip(windows, result, strict=True):
        for start in range(0, rows, block):
            taken = image[start:start + block].transpose(0, 1).reshape(groups, -1, matrix.shape[2])
            distances = torch.cdist(matrix, taken, p=1)
            sums[:, start:start + block] = distances.neg_().reshape(outputs, -1, columns)
    return result


def _windows(x: torch.Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int, int, int],
             dilation: tuple[int, int]) -> torch.Tensor:
    """A view [N, rows, columns, kh, kw, C]: channels last, so that a window is copied in long runs."""
    top, left, bottom, right = padding
    view = functional.pad(x, (left, right, top, bottom)).permute(0, 2, 3, 1).contiguous()
    for axis, (size, step, apart) in enumerate(zip(kernel, stride, dilation, strict=True), start=1):
        view = view.unfold(axis, apart * (size - 1) + 1, step)[..., ::apart]
    return view.permute(0, 1, 2, 4, 5, 3)
