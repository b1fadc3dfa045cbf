"""ShiftResNet and ShiftNet (Wu et al., "Shift: A Zero FLOP, Zero Parameter Alternative to Spatial Convolutions",
CVPR 2018): channels moved by one pixel each take the place of spatial convolutions."""

import torch
from torch import nn

from ..nn import GroupedShift2d, QuantAct
from .blocks import Classifier, ConvNorm, NormActivation, Unit, convolution

REPEATS = (5, 6, 7, 3)
"""Modules of ShiftNet's groups."""
WIDTHS = (64, 128, 256, 512)
"""Channels of ShiftNet-A's groups."""
KERNELS = (5, 5, 3, 3)
FIRST, FURTHER = (4, 4, 3, 2), (4, 3, 2, 1)
"""Expansion of each group's first module and of the others, in ShiftNet-A and -B."""


class ShiftBlock(nn.Module):
    """ShiftResNet's: 1x1 convolution, ReLU, 3x3 shift, 1x1 convolution with the stride, ReLU, plus the shortcut.

    No ReLU behind the sum, as in the released code (github.com/alvinwan/shiftresnet-cifar). x, y: signed.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = outputs * expansion
        self.expand = Unit(inputs, middle)
        self.shift = GroupedShift2d(middle)
        self.reduce = Unit(middle, outputs, stride=stride)
        plain = (inputs, stride) == (outputs, 1)
        self.shortcut = nn.Identity() if plain else ConvNorm(inputs, outputs, stride=stride)
        self.act = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.shortcut(x) + self.reduce(self.shift(self.expand(x))))


def shift_resnet(depth: int = 20, expansion: int = 1, *, width: float = 1.0, resolution: int = 32,
                 classes: int = 10) -> Classifier:
    """ShiftResNet-20, -56, -110 for CIFAR: depth is 6n + 2, n blocks in each of three stages, 16, 32, 64 channels.

    expansion  channels between a block's convolutions, as a multiple of its output's. Raises ValueError.
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"shift_resnet: depth must be 6n + 2, not {depth}")
    channels = round(16 * width)
    layers: list[nn.Module] = [Unit(3, channels, 3)]
    for stage, outputs in enumerate((channels, 2 * channels, 4 * channels)):
        for index in range(depth // 6):
            layers.append(ShiftBlock(channels, outputs, 2 if stage and not index else 1, expansion))
            channels = outputs
    return Classifier(layers, channels, classes, resolution, signed=True)


class ConvShiftConv(nn.Module):
    """ShiftNet's CSC module: batch norm, ReLU, 1x1 convolution, shift, batch norm, ReLU, 1x1 convolution, shortcut.

    With stride 1 the shortcut is x, added; with stride 2 it is x averaged over 3x3 pixels, and its channels stand
    behind those of the convolution, so that together they are `outputs`. The paper has the shift before the second
    batch norm; here it is behind the quantizer, which is the same but for the pixels that come in at the map's border:
    0 instead of the batch norm's offset. x, y: signed.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, kernel: int) -> None:
        super().__init__()
        added = outputs - inputs if stride > 1 else outputs
        middle = added * expansion
        self.before = NormActivation(inputs)
        self.expand = Unit(inputs, middle)
        self.shift = GroupedShift2d(middle, kernel)
        self.reduce = convolution(middle, added, stride=stride)
        self.shortcut = nn.AvgPool2d(3, stride, 1) if stride > 1 else nn.Identity()
        self.stride = stride
        self.act = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.reduce(self.shift(self.expand(self.before(x))))
        shortcut = self.shortcut(x)
        return self.act(y + shortcut if self.stride == 1 else torch.cat([y, shortcut], dim=1))


class Stem(nn.Module):
    """ShiftNet's first layer: 7x7 convolution with stride 2 and nothing behind it but a quantizer."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = convolution(3, outputs, 7, 2)
        self.act = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv(x))


def _shiftnet(width: float, repeats: tuple[int, ...], first: tuple[int, ...], further: tuple[int, ...],
              resolution: int, classes: int) -> Classifier:
    channels = round(32 * width)
    layers: list[nn.Module] = [Stem(channels)]
    for outputs, count, kernel, before, behind in zip(WIDTHS, repeats, KERNELS, first, further, strict=True):
        for index in range(count):
            expansion, stride = (behind, 1) if index else (before, 2)
            layers.append(ConvShiftConv(channels, round(outputs * width), stride, expansion, kernel))
            channels = round(outputs * width)
    return Classifier([*layers, NormActivation(channels)], channels, classes, resolution)


def shiftnet_a(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Classifier:
    """ShiftNet-A: 7x7 stem of 32 channels, four groups of CSC modules, shifts of 5x5 and 3x3.

    Repeats and expansions are those of a public reimplementation; parameters and multiply-accumulates are the paper's.
    """
    return _shiftnet(width, REPEATS, FIRST, FURTHER, resolution, classes)


def shiftnet_b(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Classifier:
    """ShiftNet-B: ShiftNet-A with half of all channels; its parameters and multiply-accumulates are the paper's."""
    return _shiftnet(width / 2, REPEATS, FIRST, FURTHER, resolution, classes)


def shiftnet_c(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Classifier:
    """ShiftNet-C: half of ShiftNet-A's channels and no expansion.

    The layout was not to be found: expansions of 1 and a module less in the third group are assumed, which gives the
    paper's 0.78 million parameters.
    """
    return _shiftnet(width / 2, (5, 6, 6, 3), (1, 1, 1, 1), (1, 1, 1, 1), resolution, classes)
