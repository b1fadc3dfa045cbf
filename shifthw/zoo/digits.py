"""A small trained network: handwritten digits of 8x8 pixels, values 0..16 (scikit-learn's load_digits)."""

from pathlib import Path

import torch
from torch import nn

from ..nn import QuantAct, ShiftConv2d, ShiftLinear
from .files import model_path
from .resnet import BasicBlock, conv3x3

CLASSES = tuple(str(digit) for digit in range(10))


def digits_path() -> Path:
    """The trained model file inside the package."""
    return model_path("digits")


class DigitsNet(nn.Module):
    """8x8: 3x3 stem, residual block; 4x4: 3x3 with stride 2; 2x2: max-pool, mean, classifier.

    Images: [N, 1, 8, 8], steps of 1/16. Weights: sign and 3-bit exponent (form Q). Activations: 8 bits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input = QuantAct(8, scale=1 / 16)
        self.conv1 = conv3x3(1, 16, form="Q")
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = QuantAct(8)
        self.block = BasicBlock(16, 16, 1, nn.Identity(), form="Q")
        self.conv2 = conv3x3(16, 32, 2, form="Q")
        self.bn2 = nn.BatchNorm2d(32)
        self.act2 = QuantAct(8)
        self.pool = nn.MaxPool2d(2)
        self.conv3 = ShiftConv2d(32, 32, 1, bias=False, form="Q", weight_bits=4)
        self.bn3 = nn.BatchNorm2d(32)
        self.act3 = QuantAct(8)
        self.relu = nn.ReLU()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.act4 = QuantAct(8)
        self.flatten = nn.Flatten()
        self.classifier = ShiftLinear(32, 10, form="Q", weight_bits=4)
        self.logits = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act1(self.relu(self.bn1(self.conv1(self.input(x)))))
        x = self.pool(self.act2(self.relu(self.bn2(self.conv2(self.block(x))))))
        x = self.act3(self.relu(self.bn3(self.conv3(x))))
        return self.logits(self.classifier(self.flatten(self.act4(self.mean(x)))))
