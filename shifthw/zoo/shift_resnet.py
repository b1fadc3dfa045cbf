"""ShiftResNet-20 (Wu et al., "Shift", CVPR 2018) with sparse shift layers (Chen et al., CVPR 2019), for CIFAR-10.

Its only spatial convolution is the 3x3 stem: blocks are 1x1 convolutions around a shift of pixels. One class is both
networks: in floating point with torch's own convolutions, and with power-of-two weights and 8-bit activations.
"""

import torch
from torch import nn

from ..nn import QuantAct, ShiftConv2d, ShiftLinear, SparseShift2d
from ..quantize import Form
from .resnet import CLASSES, WEIGHT_BITS

EXPANSION = 3
"""Channels between a block's convolutions, as a multiple of its output's."""
SHIFT_LOSS = 1e-4
"""Strength of the shift loss."""
STAGES = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
"""In channels, out channels, stride."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int, form: Form | None) -> nn.Conv2d | ShiftConv2d:
    """A convolution without bias: plain if there is no `form`."""
    if form is None:
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return ShiftConv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, form=form, weight_bits=WEIGHT_BITS)


def _quantizer(form: Form | None, signed: bool = False, scale: float | None = None) -> nn.Module:
    """8 bits; nothing in the float network."""
    return nn.Identity() if form is None else QuantAct(8, signed, scale=scale)


class SparseShiftBlock(nn.Module):
    """1x1 convolution, ReLU, shift, 1x1 convolution with the stride; the sum with the shortcut has signs."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, form: Form | None) -> None:
        super().__init__()
        middle = outputs * expansion
        self.conv1 = _conv(inputs, middle, 1, 1, form)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu = nn.ReLU()
        self.act1 = _quantizer(form)
        self.shift = SparseShift2d(middle, strength=SHIFT_LOSS)
        self.conv2 = _conv(middle, outputs, 1, stride, form)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if (inputs, stride) != (outputs, 1):
            self.shortcut = nn.Sequential(_conv(inputs, outputs, 1, stride, form), nn.BatchNorm2d(outputs),
                                          _quantizer(form, signed=True))
        self.act2 = _quantizer(form, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act1(self.relu(self.bn1(self.conv1(x))))
        return self.act2(self.bn2(self.conv2(self.shift(y))) + self.shortcut(x))


class SparseShiftResNet(nn.Module):
    """Stem, nine blocks, mean, classifier. Images: [N, 3, 32, 32], 8-bit steps of 1/255; out: [N, 10].

    form        None: in floating point; else of the power-of-two weights
    expansion   see EXPANSION
    last_scale  power of two that the classifier's weights are multiples of
    """

    def __init__(self, form: Form | None = "PS", expansion: int = EXPANSION, last_scale: float = 1.0) -> None:
        super().__init__()
        self.input = _quantizer(form, scale=1 / 255)
        self.conv = _conv(3, STAGES[0][0], 3, 1, form)
        self.bn = nn.BatchNorm2d(STAGES[0][0])
        self.relu = nn.ReLU()
        self.act = _quantizer(form)
        self.blocks = nn.Sequential(*(SparseShiftBlock(*stage, expansion, form) for stage in STAGES))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.mean = _quantizer(form, signed=True)
        self.flatten = nn.Flatten()
        features = STAGES[-1][1]
        self.classifier = nn.Linear(features, len(CLASSES)) if form is None else ShiftLinear(
            features, len(CLASSES), form=form, weight_bits=WEIGHT_BITS, weight_scale=last_scale)
        self.logits = _quantizer(form, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.relu(self.bn(self.conv(self.input(x)))))
        x = self.flatten(self.mean(self.pool(self.blocks(x))))
        return self.logits(self.classifier(x))
