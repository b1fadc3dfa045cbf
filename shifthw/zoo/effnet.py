"""EffNet (Freeman et al., "EffNet: An Efficient Structure for Convolutional Neural Networks", ICIP 2018)."""

import torch
from torch import nn

from ..nn import QuantAct
from .blocks import ImageNetwork, Unit, linear, rounded_channels

STAGES = ((32, 64), (64, 128), (128, 256))
"""Channels within each block and behind it, for CIFAR-10."""


class EffBlock(nn.Module):
    """1x1 convolution, 1x3 depthwise convolution, 1x2 max-pool, 3x1 depthwise convolution, 2x1 convolution of stride 2.

    Halves the map, its columns before its rows. Batch norm and leaky ReLU (slope 0.3, Keras' default, is assumed)
    behind each convolution. x: [N, inputs, H, W], y: [N, outputs, H/2, W/2].
    """

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.pointwise = Unit(inputs, middle, function=leaky_relu)
        self.row = Unit(middle, middle, (1, 3), groups=middle, function=leaky_relu)
        self.pool = nn.MaxPool2d((1, 2))
        self.column = Unit(middle, middle, (3, 1), groups=middle, function=leaky_relu)
        self.expand = Unit(middle, outputs, (2, 1), (2, 1), function=leaky_relu, padding=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.expand(self.column(self.pool(self.row(self.pointwise(x)))))


def leaky_relu() -> nn.Module:
    """The network's activation function."""
    return nn.LeakyReLU(0.3)


class EffNet(ImageNetwork):
    """Three blocks and a classifier of all pixels. Out: [N, classes]. resolution: a multiple of 8."""

    def __init__(self, width: float, resolution: int, classes: int) -> None:
        super().__init__(resolution)
        if resolution % 8:
            raise ValueError(f"EffNet: resolution must be a multiple of 8, not {resolution}")
        inputs, blocks = 3, []
        for middle, outputs in STAGES:
            blocks.append(EffBlock(inputs, rounded_channels(middle * width), rounded_channels(outputs * width)))
            inputs = rounded_channels(outputs * width)
        self.layers = nn.Sequential(*blocks)
        self.flatten = nn.Flatten()
        self.classifier = linear(inputs * (resolution // 8)**2, classes)
        self.logits = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(self.classifier(self.flatten(self.layers(self.input(x)))))


def effnet(*, width: float = 1.0, resolution: int = 32, classes: int = 10) -> EffNet:
    """EffNet for CIFAR-10."""
    return EffNet(width, resolution, classes)
