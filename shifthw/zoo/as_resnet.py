"""AS-ResNet (Jeon and Kim, "Constructing Fast Network through Deconstruction of Convolution", NeurIPS 2018)."""

import torch
from torch import nn

from ..nn import ActiveShift2d, QuantAct
from .blocks import Classifier, NormActivation, Unit, convolution

STAGES = ((1, 1), (1, 3), (2, 4), (4, 6), (8, 3))
"""Channels, as multiples of the base width, and blocks; all but the first begin with a stride of 2."""
RESOLUTION = 2
"""Shifts are rounded to half pixels: the trained network loses nearly all of its accuracy with whole ones."""


class ActiveBlock(nn.Module):
    """Batch norm, ReLU, 1x1 convolution, batch norm, ReLU, active shift, 1x1 convolution, plus the shortcut.

    With stride 1 the shortcut is x before the batch norm. With stride 2, which is the shift's, it is a 1x1 convolution
    of what is behind the first ReLU. x, y: real values that wait for a quantizer, which `sum` is.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.sum = QuantAct(8, signed=True)
        self.before = NormActivation(inputs)
        self.conv1 = Unit(inputs, outputs)
        self.shift = ActiveShift2d(outputs, stride, RESOLUTION)
        self.conv2 = convolution(outputs, outputs)
        if stride > 1:
            self.shortcut = convolution(inputs, outputs, stride=stride)
            self.shortcut_act = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = self.sum(x)
        y = self.before(total)
        shortcut = total if self.stride == 1 else self.shortcut_act(self.shortcut(y))
        return self.conv2(self.shift(self.conv1(y))) + shortcut


class LastNorm(NormActivation):
    """Quantizer, batch norm, ReLU and quantizer of the last block's sum."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.sum = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.sum(x))


def as_resnet(base: int = 32, *, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Classifier:
    """AS-ResNet-w32, -w50 or -w68: base is the w. The layers are those of the released networks; every sum is rounded
    to 8 bits, those that only a batch norm reads, too."""
    channels = round(base * width)
    layers: list[nn.Module] = [convolution(3, channels, 3, 2)]
    for stage, (multiple, blocks) in enumerate(STAGES):
        for index in range(blocks):
            outputs = round(base * width) * multiple
            layers.append(ActiveBlock(channels, outputs, 2 if stage and not index else 1))
            channels = outputs
    return Classifier([*layers, LastNorm(channels)], channels, classes, resolution)
