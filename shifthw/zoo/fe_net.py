"""FE-Net (Chen et al., "All You Need is a Few Shifts: Designing Efficient Convolutional Neural Networks for Image
Classification", CVPR 2019): inverted bottlenecks around sparse shift layers, on parts of the channels.

The layers are those of the released code (github.com/hikvision-research/SparseShiftLayer) but for the units that halve
the map: there these are expanded to six times their outputs, here, as a comment in that code has it, to six times their
inputs, which alone gives the paper's multiply-accumulates. `squeeze` is not in that code.
"""

import torch
from torch import nn

from ..nn import QuantAct, SparseShift2d, SqueezeExcite
from .blocks import Classifier, ConvNorm, Unit, rounded_channels
from .resnet import WEIGHT_BITS

EXPANSION = 6
LAST_FEATURES = {1.0: 1380, 1.375: 1932}
"""Of the last convolution, by width: from the released log of 1.0x, and from the code."""


class ShiftUnit(nn.Module):
    """1x1 convolution, ReLU, sparse shift, 1x1 convolution, plus x if it is `residual`. x, y: signed.

    grid     the quantizer of its result
    squeeze  squeeze-and-excitation ahead of the shift, to a quarter of the unit's input channels, rounded to eights:
             its place and size are assumed
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, *, residual: bool = False,
                 grid: QuantAct | None = None, squeeze: bool = False) -> None:
        super().__init__()
        middle = outputs * expansion
        self.residual = residual
        self.expand = Unit(inputs, middle)
        self.shift = SparseShift2d(middle)
        self.squeeze = nn.Identity() if not squeeze else \
            SqueezeExcite(middle, rounded_channels(inputs / 4), form="PS", weight_bits=WEIGHT_BITS)
        self.reduce = ConvNorm(middle, outputs)
        self.act = grid or QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.reduce(self.shift(self.squeeze(self.expand(x))))
        return self.act(y + x if self.residual else y)


class PoolUnit(nn.Module):
    """1x1 convolution, ReLU, mean of 2x2 pixels, 1x1 convolution: halves the map. x, y: signed."""

    def __init__(self, inputs: int, outputs: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expand = Unit(inputs, middle)
        self.pool = nn.AvgPool2d(2)
        self.mean = QuantAct(8)
        self.reduce = ConvNorm(middle, outputs)
        self.act = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.reduce(self.mean(self.pool(self.expand(x)))))


class FEBlock(nn.Module):
    """The last channels pass a residual unit, then they and as many before them the next one, until all are reached.

    With `steps` units before the last, these are the last 1/2**steps, then 2/2**steps of the channels, and so on; the
    last unit sees all: a PoolUnit if it is to halve the map, otherwise a ShiftUnit without residual.

    grid  the quantizer that x comes from: parts of x are concatenated with the units' results
    """

    def __init__(self, inputs: int, outputs: int, steps: int, grid: QuantAct, *, pool: bool, squeeze: bool) -> None:
        super().__init__()
        if inputs % 2**steps:
            raise ValueError(f"FEBlock: inputs must be a multiple of {2**steps}, not {inputs}")
        self.inputs = inputs
        parts = [inputs >> step for step in range(steps, 0, -1)]
        self.units = nn.ModuleList(ShiftUnit(part, part, EXPANSION, residual=True, grid=grid, squeeze=squeeze)
                                   for part in parts)
        self.last = PoolUnit(inputs, outputs, EXPANSION) if pool else \
            ShiftUnit(inputs, outputs, EXPANSION, squeeze=squeeze)

    @property
    def act(self) -> QuantAct:
        """The quantizer of its result."""
        return self.last.act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = self.inputs >> len(self.units)
        y = x[:, self.inputs - part:]
        for unit in self.units:
            y = torch.cat([x[:, self.inputs - 2 * part:self.inputs - part], unit(y)], dim=1)
            part *= 2
        return self.last(y)


def fe_net(*, width: float = 1.0, squeeze: bool = False, resolution: int = 224, classes: int = 1000) -> Classifier:
    """FE-Net 1.0x, or 1.375x with that width; an even number of 16 * width channels. Raises ValueError.

    squeeze  with squeeze-and-excitation in each ShiftUnit
    """
    c, features = int(16 * width), LAST_FEATURES.get(width) or rounded_channels(LAST_FEATURES[1.0] * width)
    start: list[ShiftUnit | PoolUnit] = [ShiftUnit(c, c, 4, squeeze=squeeze), PoolUnit(c, 2 * c, 5)]
    layers: list[nn.Module] = [Unit(3, c, 3, 2, function=None), *start]
    grid = start[-1].act
    for inputs, outputs, steps, pool in ((2, 4, 2, True), (4, 8, 3, True), (8, 8, 3, False), (8, 16, 3, True),
                                         (16, 16, 2, False)):
        block = FEBlock(inputs * c, outputs * c, steps, grid, pool=pool, squeeze=squeeze)
        layers.append(block)
        grid = block.act
    return Classifier([*layers, Unit(16 * c, features)], features, classes, resolution)
