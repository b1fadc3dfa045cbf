"""AddressNet (He et al., "Shift-based Primitives for Efficient Convolutional Neural Networks", WACV 2019).

From the paper: channel shift in place of ShuffleNet's shuffle, address shift in place of its depthwise convolution,
both between two grouped 1x1 convolutions; shortcut shift in place of a residual's addition, which makes the enhanced
network. The paper's tables were not to be found: groups, amounts of the channel shift and the share of the channels
that an enhanced module replaces are assumed, depth (6n + 2 layers in three stages) follows ShiftResNet, and the width
is the one that gives AddressNet-20 its 22 million multiply-accumulates (Liu et al., "Lightweight Deep Learning for
Resource-Constrained Environments: A Survey", 2024, table 1). That survey's 0.2 million parameters of AddressNet-44 are
not met: they are 0.35 million here.
"""

import torch
from torch import nn

from ..nn import AddressShift2d, ChannelShift, QuantAct, ShortcutShift
from .blocks import Classifier, ConvNorm, Unit, rounded_channels

GROUPS = 3
WIDTH = 60
"""Channels of the first stage."""


class _Branch(nn.Module):
    """Grouped 1x1 convolution, channel shift, address shift, grouped 1x1 convolution: real values before a quantizer.

    Channels move on by half a group, so that each group of the second convolution sees two of the first.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = Unit(inputs, inputs, groups=GROUPS)
        self.channel_shift = ChannelShift(inputs, inputs // GROUPS // 2)
        self.address_shift = AddressShift2d(inputs)
        self.second = ConvNorm(inputs, outputs, stride=stride, groups=GROUPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.address_shift(self.channel_shift(self.first(x))))


class AddressModule(nn.Module):
    """The address-based module: the branch plus x, and ReLU. x, y: [N, channels, H, W], not negative."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = _Branch(channels, channels, 1)
        self.relu = nn.ReLU()
        self.act = QuantAct(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.relu(self.branch(x) + x))


class EnhancedModule(nn.Module):
    """The address-enhanced module: the last half of x's channels stays, the branch's result stands behind it.

    grid  the quantizer that x comes from. x, y: [N, channels, H, W], not negative.
    """

    def __init__(self, channels: int, grid: QuantAct) -> None:
        super().__init__()
        self.kept = channels // 2
        self.branch = _Branch(channels, channels // 2, 1)
        self.relu = nn.ReLU()
        self.shortcut_shift = ShortcutShift()
        self.act = grid

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut_shift(x[:, self.kept:], self.act(self.relu(self.branch(x))))


class ReductionModule(nn.Module):
    """Halves the map, doubles the channels: x averaged over 3x3 pixels, and behind it the branch with a stride of 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, 2, 1)
        self.branch = _Branch(channels, channels, 2)
        self.relu = nn.ReLU()
        self.shortcut_shift = ShortcutShift()
        self.act = QuantAct(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.shortcut_shift(self.pool(x), self.relu(self.branch(x))))


def address_net(depth: int = 20, enhanced: bool = False, *, width: float = 1.0, resolution: int = 32,
                classes: int = 100) -> Classifier:
    """AddressNet-20, -32 or -44 for CIFAR-100: depth is 6n + 2, n modules in each of three stages. Raises ValueError.

    enhanced  of address-enhanced modules
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"address_net: depth must be 6n + 2, not {depth}")
    channels = rounded_channels(WIDTH * width, 4 * GROUPS)
    stem = Unit(3, channels, 3)
    layers: list[nn.Module] = [stem]
    grid = stem.activation.act
    for stage in range(3):
        if stage:
            reduction = ReductionModule(channels)
            layers.append(reduction)
            channels, grid = 2 * channels, reduction.act
        layers += [EnhancedModule(channels, grid) if enhanced else AddressModule(channels)
                   for _ in range(depth // 6 - (stage > 0))]
    return Classifier(layers, channels, classes, resolution)
