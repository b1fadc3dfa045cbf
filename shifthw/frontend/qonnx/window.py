"""Windows of ONNX's convolutions and pools: kernel, stride, padding and dilation, automatic padding resolved."""

import math
from dataclasses import dataclass

from ...errors import UnsupportedModel
from .reader import Step
from .values import Padding


@dataclass(frozen=True)
class Window:
    """Sizes as (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding
    dilation: tuple[int, int]

    @property
    def size(self) -> int:
        """Positions in the window."""
        return self.kernel[0] * self.kernel[1]


def window(step: Step, image: tuple[int, int], kernel: tuple[int, ...], before: Padding) -> Window:
    """The window of a convolution or pool over maps of (rows, columns) `image`.

    kernel  of the weights; () for a pool, whose attribute says
    before  zeros that a Pad has put around the image
    """
    kernel = kernel or tuple(step.attributes.get("kernel_shape", ()))
    if len(kernel) != 2 or tuple(step.attributes.get("kernel_shape", kernel)) != kernel:
        raise UnsupportedModel(f"{step.where}: has a kernel of shape {list(kernel)}, must have rows and columns")
    stride, dilation = (_pair(step, name) for name in ("strides", "dilations"))
    padded = (image[0] + before[0] + before[2], image[1] + before[1] + before[3])
    reach = [(size - 1) * gap + 1 for size, gap in zip(kernel, dilation, strict=True)]
    own = _padding(step, padded, reach, stride)
    return Window((kernel[0], kernel[1]), stride, summed(own, before), dilation)


def summed(first: Padding, second: Padding) -> Padding:
    """The zeros of both, around each other."""
    return first[0] + second[0], first[1] + second[1], first[2] + second[2], first[3] + second[3]


def _pair(step: Step, name: str) -> tuple[int, int]:
    values = tuple(step.attributes.get(name, (1, 1)))
    if len(values) != 2:
        raise UnsupportedModel(f"{step.where}: has {name} {list(values)}, must be two numbers")
    return values[0], values[1]


def _padding(step: Step, image: tuple[int, int], reach: list[int], stride: tuple[int, int]) -> Padding:
    mode = step.attributes.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = tuple(step.attributes.get("pads", (0, 0, 0, 0)))
        if len(pads) != 4:
            raise UnsupportedModel(f"{step.where}: has pads {list(pads)}, must be four numbers")
        return pads[0], pads[1], pads[2], pads[3]
    if mode == "VALID":
        return 0, 0, 0, 0
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise UnsupportedModel(f"{step.where}: has auto_pad {mode!r:.40}, must be NOTSET, VALID, SAME_UPPER or "
                               f"SAME_LOWER")
    totals = [max(0, (math.ceil(size / by) - 1) * by + far - size)
              for size, by, far in zip(image, stride, reach, strict=True)]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    first, last = (small, large) if mode == "SAME_UPPER" else (large, small)
    return first[0], first[1], last[0], last[1]
