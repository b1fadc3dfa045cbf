"""EfficientNet (Tan and Le, ICML 2019): inverted residuals with squeeze-and-excitation and SiLU."""

import math

from torch import nn

from ..nn import SqueezeExcite
from .blocks import Classifier, Unit, rounded_channels
from .mobilenet import InvertedResidual
from .resnet import WEIGHT_BITS

LAYERS = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
          (6, 3, 1, 320, 1))
"""B0's expansion, kernel, stride of the first block, channels, blocks (table 1 of the paper)."""


def _efficientnet(width: float, depth: float, resolution: int, classes: int, multiple: int) -> Classifier:
    """Squeezed channels are a quarter of the block's input's. Padding is symmetric, not TensorFlow's."""
    channels = rounded_channels(32 * width, multiple)
    layers: list[nn.Module] = [Unit(3, channels, 3, 2, function=nn.SiLU)]
    for expansion, kernel, first_stride, unscaled, count in LAYERS:
        for index in range(math.ceil(count * depth)):
            middle, outputs = channels * expansion, rounded_channels(unscaled * width, multiple)
            squeeze = SqueezeExcite(middle, max(1, channels // 4), nn.Sigmoid, nn.SiLU, signed=True, form="PS",
                                    weight_bits=WEIGHT_BITS)
            stride = 1 if index else first_stride
            layers.append(InvertedResidual(channels, middle, outputs, kernel, stride, nn.SiLU, squeeze))
            channels = outputs
    last = 4 * channels
    return Classifier([*layers, Unit(channels, last, function=nn.SiLU)], last, classes, resolution, signed=True)


def efficientnet_b0(*, width: float = 1.0, resolution: int = 224, classes: int = 1000,
                    multiple: int = 8) -> Classifier:
    """EfficientNet-B0; `width` scales its channels, which are rounded to a `multiple`."""
    return _efficientnet(width, 1.0, resolution, classes, multiple)


def efficientnet_b4(*, width: float = 1.0, depth: float = 1.0, resolution: int = 380, classes: int = 1000,
                    multiple: int = 8) -> Classifier:
    """EfficientNet-B4: B0 with 1.4 times the channels (times `width`) and 1.8 times the blocks (times `depth`)."""
    return _efficientnet(1.4 * width, 1.8 * depth, resolution, classes, multiple)
