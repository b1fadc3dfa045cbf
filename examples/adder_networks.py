"""Networks with adder layers, before quantization: shifthw.nn.AdderConv2d beside ordinary torch layers.

    python examples/train_float.py shiftadd_resnet20 --data cifar-10-python.tar.gz --out shiftadd_float.pt

The ResNet-20s are those of ShiftAddNet (https://arxiv.org/abs/2010.12785) and AdderNet (https://arxiv.org/abs/1912.13200):
adder 3x3 layers, in ShiftAddNet behind a convolution each that becomes one of shifts; first and last layer without
adders. Shortcuts are option A. The activity network has the layers of ShiftAddNet's for wearable sensors: 1x1 adder
layers behind convolutions over time. Images are real numbers 0..1.
"""

import torch
from networks import PadShortcut
from torch import nn
from torch.nn import functional

from shifthw.nn import AdderConv2d


class AddBlock(nn.Module):
    """Two 3x3 adder layers, each behind a 3x3 convolution if `shift`, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, shift: bool) -> None:
        super().__init__()
        self.layers1 = _layers(inputs, outputs, stride, shift)
        self.layers2 = _layers(outputs, outputs, 1, shift)
        self.shortcut = PadShortcut(outputs - inputs, stride) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.layers2(functional.relu(self.layers1(x))) + self.shortcut(x))


class AddResNet20(nn.Module):
    """Stem, three stages of three blocks, mean, classifier. x: [N, 3, 32, 32]."""

    def __init__(self, shift: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        sizes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.blocks = nn.Sequential(*(AddBlock(*size, shift) for size in sizes))
        self.linear = nn.Linear(64, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(functional.relu(self.bn1(self.conv1(x))))
        return self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class ActivityNet(nn.Module):
    """Three pairs of a 5x3 convolution and a 1x1 adder layer, mean, classifier. x: [N, 1, samples, 3], 12 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*_pair(1, 24), nn.MaxPool2d((4, 1)), *_pair(24, 48), nn.MaxPool2d((4, 1)),
                                      *_pair(48, 64))
        self.linear = nn.Linear(64, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


def _pair(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, (5, 3), padding=(2, 1), bias=False), AdderConv2d(outputs, outputs, 1),
            nn.BatchNorm2d(outputs), nn.ReLU()]


def _layers(inputs: int, outputs: int, stride: int, shift: bool) -> nn.Sequential:
    norm = nn.BatchNorm2d(outputs)
    if not shift:
        return nn.Sequential(AdderConv2d(inputs, outputs, 3, stride, 1), norm)
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, AdderConv2d(outputs, outputs, 3, 1, 1), norm)


def shiftadd_resnet20() -> AddResNet20:
    """ShiftAddNet's ResNet-20: 40.6 million multiply-adds, 42.5 million |x - w|."""
    return AddResNet20(shift=True)


def adder_resnet20() -> AddResNet20:
    """AdderNet's ResNet-20: 0.4 million multiply-adds, 40.1 million |x - w|."""
    return AddResNet20(shift=False)


def activity_shiftadd() -> ActivityNet:
    """ShiftAddNet for 160 samples of a three-axis accelerometer: 3.6 million multiply-adds, 0.7 million |x - w|."""
    return ActivityNet()
