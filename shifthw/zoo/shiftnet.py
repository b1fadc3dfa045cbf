"""ShiftResNet and ShiftNet (Wu et al., "Shift: A Zero FLOP, Zero Parameter Alternative to Spatial Convolutions",
CVPR 2018): channels moved by a few pixels each take the place of spatial convolutions."""

from dataclasses import dataclass

import torch
from torch import nn

from ..nn import GroupedShift2d, QuantAct
from .blocks import Classifier, ConvNorm, NormActivation, Unit, convolution

STEM = 32
"""Channels of ShiftNet's first layer."""


@dataclass(frozen=True)
class Group:
    """ShiftNet's modules that give maps of one size: the first has a stride of 2.

    kernel   of the shifts, so that channels move by up to half of it
    first    expansion of the first module
    further  expansion of the others
    """

    channels: int
    modules: int
    kernel: int
    first: int
    further: int


LARGE = (Group(64, 5, 5, 4, 4), Group(128, 6, 5, 4, 3), Group(256, 7, 3, 3, 2), Group(512, 3, 3, 2, 1))
"""ShiftNet-A's, and with half of the channels ShiftNet-B's."""
SMALL = (Group(32, 1, 3, 1, 1), Group(64, 4, 3, 1, 1), Group(128, 4, 3, 1, 1), Group(256, 3, 3, 1, 1))
"""ShiftNet-C's."""


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

    With stride 1 the shortcut is x, added. With stride 2 and `appended` it is x averaged over 3x3 pixels, and its
    channels stand behind those of the convolution, so that together they are `outputs`; otherwise there is none. The
    paper has the shift before the second batch norm; here it is behind the quantizer, which is the same but for the
    pixels that come in at the map's border: 0 instead of the batch norm's offset. x, y: signed.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, kernel: int, appended: bool) -> None:
        super().__init__()
        self.added, self.appended = stride == 1, stride > 1 and appended
        made = outputs - inputs if self.appended else outputs
        middle = made * expansion
        self.before = NormActivation(inputs)
        self.expand = Unit(inputs, middle)
        self.shift = GroupedShift2d(middle, kernel)
        self.reduce = convolution(middle, made, stride=stride)
        self.pool = nn.AvgPool2d(3, stride, 1) if self.appended else nn.Identity()
        self.act = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.reduce(self.shift(self.expand(self.before(x))))
        if self.added:
            y = y + x
        return self.act(torch.cat([y, self.pool(x)], dim=1) if self.appended else y)


class Stem(nn.Module):
    """ShiftNet's first layer: 7x7 convolution with stride 2 and nothing behind it but a quantizer."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = convolution(3, outputs, 7, 2)
        self.act = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv(x))


def _shiftnet(groups: tuple[Group, ...], width: float, resolution: int, classes: int, appended: bool) -> Classifier:
    channels = round(STEM * width)
    layers: list[nn.Module] = [Stem(channels)]
    for group in groups:
        outputs = round(group.channels * width)
        for index in range(group.modules):
            expansion, stride = (group.further, 1) if index else (group.first, 2)
            layers.append(ConvShiftConv(channels, outputs, stride, expansion, group.kernel, appended))
            channels = outputs
    return Classifier([*layers, NormActivation(channels)], channels, classes, resolution)


def shiftnet_a(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Classifier:
    """ShiftNet-A: 7x7 stem of 32 channels, four groups of CSC modules, shifts of 5x5 and 3x3.

    Modules and expansions are those of a public reimplementation; parameters and multiply-accumulates are the paper's.
    """
    return _shiftnet(LARGE, width, resolution, classes, True)


def shiftnet_b(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Classifier:
    """ShiftNet-B: ShiftNet-A with half of all channels; its parameters and multiply-accumulates are the paper's."""
    return _shiftnet(LARGE, width / 2, resolution, classes, True)


def shiftnet_c(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Classifier:
    """ShiftNet-C: fewer modules of fewer channels, no expansion, shifts of 3x3.

    Modules and channels are recalled from the paper and could not be looked up. That modules with stride 2 have no
    shortcut is assumed: the first group has as many channels as the stem, none is left to append to; without a
    shortcut the parameters are the paper's 0.78 million, with channels appended in the other groups 0.70 million.
    """
    return _shiftnet(SMALL, width, resolution, classes, False)
