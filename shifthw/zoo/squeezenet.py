"""SqueezeNet 1.1 (Iandola et al., 2016; version 1.1 of github.com/forresti/SqueezeNet)."""

import torch
from torch import nn

from ..nn import QuantAct
from .blocks import ImageNetwork, convolution, rounded_channels

STAGES = (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256)))
"""Squeezed channels and those of either expansion, of the fire modules behind each pool."""


class Fire(nn.Module):
    """1x1 convolution to fewer channels, then 1x1 and 3x3 convolutions side by side. With biases, no batch norm."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = convolution(inputs, squeezed, bias=True)
        self.squeeze_act = QuantAct(8)
        self.expand1x1 = convolution(squeezed, expanded, bias=True)
        self.expand3x3 = convolution(squeezed, expanded, 3, bias=True)
        self.relu = nn.ReLU()
        self.act = QuantAct(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze_act(self.relu(self.squeeze(x)))
        return self.act(torch.cat([self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))], dim=1))


class SqueezeNet(ImageNetwork):
    """3x3 convolution, fire modules, 1x1 convolution to the classes, ReLU, mean over the map. Out: [N, classes].

    Its pools round sizes down; the original rounds up, which at 224x224 is the same.
    """

    def __init__(self, width: float, resolution: int, classes: int) -> None:
        super().__init__(resolution)
        channels = rounded_channels(64 * width)
        self.stem = convolution(3, channels, 3, 2, padding=0, bias=True)
        self.stem_act = QuantAct(8)
        self.relu = nn.ReLU()
        layers: list[nn.Module] = []
        for stage in STAGES:
            layers.append(nn.MaxPool2d(3, 2))
            for squeezed, expanded in stage:
                outputs = rounded_channels(expanded * width, 4)
                layers.append(Fire(channels, rounded_channels(squeezed * width, 4), outputs))
                channels = 2 * outputs
        self.layers = nn.Sequential(*layers)
        self.classifier = convolution(channels, classes, bias=True)
        self.classifier_act = QuantAct(8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.logits = QuantAct(8)
        self.flatten = nn.Flatten()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers(self.stem_act(self.relu(self.stem(self.input(x)))))
        x = self.classifier_act(self.relu(self.classifier(x)))
        return self.flatten(self.logits(self.pool(x)))


def squeezenet(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> SqueezeNet:
    """SqueezeNet 1.1."""
    return SqueezeNet(width, resolution, classes)
