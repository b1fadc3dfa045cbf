"""ResNet-20 as AdderNet, ShiftAddNet and torchshiftadd write it: convolutions, adder layers, or both in a row."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from ...nn import AdderConv2d

Layers = Callable[[int, int, int, int], list[nn.Module]]
"""The layers in the place of one convolution, of (inputs, outputs, kernel, stride), padded to keep the size."""


def convolution(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    """One convolution: a shift layer in the checkpoints."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)]


def adder(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    """One adder layer."""
    return [AdderConv2d(inputs, outputs, kernel, stride, kernel // 2)]


def convolution_and_adder(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    """A shift layer, and an adder layer that sees its results as they are."""
    return convolution(inputs, outputs, kernel, stride) + adder(outputs, outputs, kernel, 1)


class Block(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + downsample(x)); conv1 and conv2 may be two layers each."""

    def __init__(self, inputs: int, outputs: int, stride: int, layers: Layers) -> None:
        super().__init__()
        self.conv1 = _joined(layers(inputs, outputs, 3, stride))
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _joined(layers(outputs, outputs, 3, 1))
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None if stride == 1 and inputs == outputs else nn.Sequential(
            *layers(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ShiftAddResNet20(nn.Module):
    """Stem and classifier are convolutions, the classifier with a batch norm behind it.

    Images: [N, 3, 32, 32]. Keys: conv1, bn1, layer1.0.conv1[.0, .1], ..., layer2.0.downsample.0, ..., fc, bn2.
    """

    def __init__(self, layers: Layers, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1, layers)
        self.layer2 = _stage(16, 32, 2, layers)
        self.layer3 = _stage(32, 64, 2, layers)
        self.fc = nn.Conv2d(64, classes, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = functional.avg_pool2d(x, 8, 1)
        return torch.flatten(self.bn2(self.fc(x)), 1)


def _joined(layers: list[nn.Module]) -> nn.Module:
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _stage(inputs: int, outputs: int, stride: int, layers: Layers) -> nn.Sequential:
    return nn.Sequential(Block(inputs, outputs, stride, layers), Block(outputs, outputs, 1, layers),
                         Block(outputs, outputs, 1, layers))
