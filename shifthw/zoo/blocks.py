"""What the networks of the zoo are made of: layers of power-of-two weights with 8-bit quantizers behind them."""

from collections.abc import Callable

import torch
from torch import nn

from ..nn import QuantAct, ShiftConv2d, ShiftLinear
from ..nn.geometry import Padding, Pair, pair
from .resnet import WEIGHT_BITS

Function = Callable[[], nn.Module]
"""Makes a module that computes an activation function."""
JOINED = (nn.ReLU, nn.ReLU6)
"""Functions that are part of the quantizer behind them; any other is a table between two quantizers."""


def rounded_channels(channels: float, multiple: int = 8) -> int:
    """The multiple of `multiple` that is nearest, at least one of it and no less than 90 % of `channels`.

    As MobileNet's reference code rounds channels that a width multiplier gives.
    """
    nearest = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return nearest if nearest >= 0.9 * channels else nearest + multiple


def convolution(inputs: int, outputs: int, kernel: Pair = 1, stride: Pair = 1, groups: int = 1,
                padding: Padding | None = None, bias: bool = False) -> ShiftConv2d:
    """Sign and 3-bit exponent, latent shift and sign. padding: of zeros; None: half the kernel, rounded down."""
    height, width = pair("convolution", "kernel", kernel)
    around = (height // 2, width // 2) if padding is None else padding
    return ShiftConv2d(inputs, outputs, kernel, stride, around, groups=groups, bias=bias, form="PS",
                       weight_bits=WEIGHT_BITS)


def linear(inputs: int, outputs: int) -> ShiftLinear:
    """Sign and 3-bit exponent, with a bias."""
    return ShiftLinear(inputs, outputs, form="PS", weight_bits=WEIGHT_BITS)


class ConvNorm(nn.Module):
    """Convolution and batch norm: real values that wait for a quantizer. Parameters as convolution's."""

    def __init__(self, inputs: int, outputs: int, kernel: Pair = 1, stride: Pair = 1, groups: int = 1,
                 padding: Padding | None = None) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, kernel, stride, groups, padding)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class Activation(nn.Module):
    """An activation function with its quantizers: function -> quantizer, or quantizer -> function -> quantizer.

    function  None: a quantizer alone, of values with signs
    grid      the last quantizer, if it is another layer's too: maps that are concatenated must be on one grid
    """

    def __init__(self, function: Function | None = nn.ReLU, grid: QuantAct | None = None) -> None:
        super().__init__()
        self.function = nn.Identity() if function is None else function()
        table = not isinstance(self.function, (*JOINED, nn.Identity))
        self.table_input = QuantAct(8, signed=True) if table else nn.Identity()
        self.act = grid or QuantAct(8, signed=not isinstance(self.function, JOINED))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.function(self.table_input(x)))


class Unit(nn.Module):
    """Convolution, batch norm, activation function, quantizer. Parameters as ConvNorm's and Activation's."""

    def __init__(self, inputs: int, outputs: int, kernel: Pair = 1, stride: Pair = 1, groups: int = 1,
                 function: Function | None = nn.ReLU, padding: Padding | None = None,
                 grid: QuantAct | None = None) -> None:
        super().__init__()
        self.layer = ConvNorm(inputs, outputs, kernel, stride, groups, padding)
        self.activation = Activation(function, grid)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.layer(x))


class NormActivation(nn.Module):
    """Batch norm, ReLU, quantizer of what is quantized: before the convolutions of blocks that begin with them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.activation = Activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.bn(x))


class HiddenLayer(nn.Module):
    """Linear layer with a bias, activation function, quantizer. x: [N, inputs], y: [N, outputs]."""

    def __init__(self, inputs: int, outputs: int, function: Function) -> None:
        super().__init__()
        self.layer = linear(inputs, outputs)
        self.activation = Activation(function)
        self.out_features = outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.layer(x))


class ImageNetwork(nn.Module):
    """What takes images [N, *shape], 8-bit steps of 1/255; shape is (3, resolution, resolution)."""

    def __init__(self, resolution: int) -> None:
        super().__init__()
        if resolution < 1:
            raise ValueError(f"{type(self).__name__}: resolution must be 1 or more, not {resolution}")
        self.shape = (3, resolution, resolution)
        self.input = QuantAct(8, scale=1 / 255)


class Classifier(ImageNetwork):
    """Layers, mean over the map, classifier. Out: [N, classes].

    layers    of which the last gives `features` channels, quantized
    signed    whether these have negative values
    hidden    layer between mean and classifier
    """

    def __init__(self, layers: list[nn.Module], features: int, classes: int, resolution: int, *, signed: bool = False,
                 hidden: HiddenLayer | None = None) -> None:
        super().__init__(resolution)
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.mean = QuantAct(8, signed)
        self.flatten = nn.Flatten()
        self.hidden = nn.Identity() if hidden is None else hidden
        self.classifier = linear(features if hidden is None else hidden.out_features, classes)
        self.logits = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.flatten(self.mean(self.pool(self.layers(self.input(x)))))
        return self.logits(self.classifier(self.hidden(x)))
