"""Pooling layers as sums and maxima of windows."""

from typing import Any

from torch import nn

from ..errors import UnsupportedModel
from ..ir.graph import MaxPool2d, Node, SumPool2d
from .draft import Draft, Sum
from .sums import averaged


def max_pooled(draft: Draft, where: str, module: nn.MaxPool2d, source: Node) -> str:
    """Append the maxima of windows."""
    if module.ceil_mode or pair(module.dilation) != (1, 1) or module.return_indices:
        raise UnsupportedModel(f"{where} (MaxPool2d): must have ceil_mode=False, dilation=1, return_indices=False")
    kernel, padding = pair(module.kernel_size), pair(module.padding)
    return draft.add(where, MaxPool2d(kernel, pair(module.stride or kernel), padding * 2), source.name)


def mean_pooled(draft: Draft, where: str, module: nn.AvgPool2d, source: Node) -> Sum:
    """Append the sums of windows; their mean waits for its quantizer."""
    kernel, padding = pair(module.kernel_size), pair(module.padding)
    if module.ceil_mode or (padding != (0, 0) and not module.count_include_pad):
        raise UnsupportedModel(f"{where} (AvgPool2d): must have ceil_mode=False and, with padding, "
                               f"count_include_pad=True")
    op = SumPool2d(kernel, pair(module.stride or kernel), padding * 2)
    divisor = module.divisor_override or kernel[0] * kernel[1]
    return averaged(draft, where, op, source.name, source.output.scale, divisor)


def global_mean(draft: Draft, where: str, module: nn.AdaptiveAvgPool2d, source: Node) -> Sum:
    """Append the sums of whole maps; their mean waits for its quantizer."""
    if module.output_size not in (1, (1, 1), [1, 1]):
        raise UnsupportedModel(f"{where} (AdaptiveAvgPool2d): must have output size 1, not {module.output_size}")
    size = source.output.shape[1:]
    return averaged(draft, where, SumPool2d(size, size), source.name, source.output.scale, size[0] * size[1])


def pair(value: Any) -> tuple[int, int]:
    """Rows and columns of an argument that is one number for both, or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
