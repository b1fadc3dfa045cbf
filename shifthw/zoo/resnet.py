"""ResNet-20 (CIFAR, He et al.) and ResNet-8 (MLPerf Tiny image classification) with DeepShift weights."""

import torch
from torch import nn

from ..nn import PadShortcut, QuantAct, ShiftConv2d, ShiftLinear
from ..quantize import Form

WEIGHT_BITS = 4
"""Sign and 3-bit exponent."""
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, *, form: Form = "PS") -> ShiftConv2d:
    """3x3 shift convolution, padding 1, no bias."""
    return ShiftConv2d(in_channels, out_channels, 3, stride, 1, bias=False, form=form, weight_bits=WEIGHT_BITS)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, added before one rounding: 8-bit activations throughout."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module, *,
                 form: Form = "PS") -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride, form=form)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.act1 = QuantAct(8)
        self.conv2 = conv3x3(out_channels, out_channels, form=form)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut
        self.relu = nn.ReLU()
        self.act2 = QuantAct(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.relu(self.bn1(self.conv1(x))))
        return self.act2(self.relu(self.bn2(self.conv2(y)) + self.shortcut(x)))


def projection(in_channels: int, out_channels: int, stride: int, *, form: Form = "PS") -> nn.Module:
    """1x1 shift convolution as shortcut, on a signed 8-bit grid of its own."""
    conv = ShiftConv2d(in_channels, out_channels, 1, stride, bias=False, form=form, weight_bits=WEIGHT_BITS)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), QuantAct(8, signed=True))


class ResNet(nn.Module):
    """Stem, blocks, global average, classifier. Images: [N, 3, 32, 32], 8-bit steps of 1/255."""

    def __init__(self, blocks: list[BasicBlock], *, form: Form = "PS") -> None:
        super().__init__()
        features = blocks[-1].conv2.out_channels
        self.input = QuantAct(8, scale=1 / 255)
        self.conv = conv3x3(3, blocks[0].conv1.in_channels, form=form)
        self.bn = nn.BatchNorm2d(blocks[0].conv1.in_channels)
        self.relu = nn.ReLU()
        self.act = QuantAct(8)
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.mean = QuantAct(8)
        self.flatten = nn.Flatten()
        self.classifier = ShiftLinear(features, len(CLASSES), form=form, weight_bits=WEIGHT_BITS)
        self.logits = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.relu(self.bn(self.conv(self.input(x)))))
        x = self.flatten(self.mean(self.pool(self.blocks(x))))
        return self.logits(self.classifier(x))


def resnet20(form: Form = "PS") -> ResNet:
    """Three stages of three blocks, 16, 32, 64 channels, option-A shortcuts: 40.6 million multiply-adds."""
    blocks = []
    channels = 16
    for width in (16, 32, 64):
        for index in range(3):
            stride = 2 if index == 0 and width > 16 else 1
            shortcut = nn.Identity() if width == channels else PadShortcut(channels, width, stride)
            blocks.append(BasicBlock(channels, width, stride, shortcut, form=form))
            channels = width
    return ResNet(blocks, form=form)


def resnet8(form: Form = "PS") -> ResNet:
    """Three stages of one block, 16, 32, 64 channels, 1x1 shortcuts: 12.5 million multiply-adds."""
    blocks = [BasicBlock(16, 16, 1, nn.Identity(), form=form),
              BasicBlock(16, 32, 2, projection(16, 32, 2, form=form), form=form),
              BasicBlock(32, 64, 2, projection(32, 64, 2, form=form), form=form)]
    return ResNet(blocks, form=form)
