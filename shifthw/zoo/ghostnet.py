"""GhostNet (Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020)."""

import torch
from torch import nn

from ..nn import QuantAct, SqueezeExcite
from .blocks import Classifier, ConvNorm, Function, HiddenLayer, Unit, rounded_channels
from .resnet import WEIGHT_BITS

LAYERS = ((3, 16, 16, False, 1), (3, 48, 24, False, 2), (3, 72, 24, False, 1), (5, 72, 40, True, 2),
          (5, 120, 40, True, 1), (3, 240, 80, False, 2), (3, 200, 80, False, 1), (3, 184, 80, False, 1),
          (3, 184, 80, False, 1), (3, 480, 112, True, 1), (3, 672, 112, True, 1), (5, 672, 160, True, 2),
          (5, 960, 160, False, 1), (5, 960, 160, True, 1), (5, 960, 160, False, 1), (5, 960, 160, True, 1))
"""Kernel, expanded channels, channels, squeeze-and-excitation, stride, as in the released code."""
LAST_FEATURES, HIDDEN_FEATURES = 960, 1280


class GhostModule(nn.Module):
    """Half of the outputs by a 1x1 convolution, the other half from these by a 3x3 depthwise one; both on one grid."""

    def __init__(self, inputs: int, outputs: int, function: Function | None = nn.ReLU) -> None:
        super().__init__()
        half = outputs // 2
        self.primary = Unit(inputs, half, function=function)
        self.cheap = Unit(half, half, 3, groups=half, function=function, grid=self.primary.activation.act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], dim=1)


class GhostBottleneck(nn.Module):
    """Ghost module, depthwise convolution if there is a stride, squeeze-and-excitation, linear ghost module, shortcut.

    The shortcut is x, or a depthwise convolution with the stride and a 1x1 convolution. y: signed.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, kernel: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        self.expand = GhostModule(inputs, middle)
        self.depthwise = nn.Identity() if stride == 1 else \
            Unit(middle, middle, kernel, stride, groups=middle, function=None)
        self.squeeze = SqueezeExcite(middle, rounded_channels(middle / 4, 4), signed=stride > 1, form="PS",
                                     weight_bits=WEIGHT_BITS) if squeeze else nn.Identity()
        self.project = GhostModule(middle, outputs, None)
        self.shortcut = nn.Identity() if (inputs, stride) == (outputs, 1) else nn.Sequential(
            Unit(inputs, inputs, kernel, stride, groups=inputs, function=None), ConvNorm(inputs, outputs))
        self.act = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.squeeze(self.depthwise(self.expand(x))))
        return self.act(self.shortcut(x) + y)


def ghostnet(*, width: float = 1.0, resolution: int = 224, classes: int = 1000,
             hidden: int = HIDDEN_FEATURES) -> Classifier:
    """GhostNet 1.0x. The layer between mean and classifier has `hidden` channels at any width."""
    channels, last = rounded_channels(16 * width, 4), rounded_channels(LAST_FEATURES * width, 4)
    layers: list[nn.Module] = [Unit(3, channels, 3, 2)]
    for kernel, expanded, unscaled, squeeze, stride in LAYERS:
        outputs = rounded_channels(unscaled * width, 4)
        layers.append(GhostBottleneck(channels, rounded_channels(expanded * width, 4), outputs, kernel, stride,
                                      squeeze))
        channels = outputs
    return Classifier([*layers, Unit(channels, last)], last, classes, resolution,
                      hidden=HiddenLayer(last, hidden, nn.ReLU))
