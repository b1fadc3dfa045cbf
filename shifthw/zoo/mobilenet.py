"""MobileNet (Howard et al., 2017), MobileNet V2 (Sandler et al., CVPR 2018) and V3-small (Howard et al., ICCV 2019)."""

import torch
from torch import nn

from ..nn import QuantAct, SqueezeExcite
from .blocks import Classifier, ConvNorm, Function, HiddenLayer, Unit, rounded_channels
from .resnet import WEIGHT_BITS

V1_LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1),
             (512, 1), (1024, 2), (1024, 1))
"""MobileNet's pairs of a depthwise convolution with the stride and a 1x1 convolution to the channels."""
V2_LAYERS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""MobileNet V2's expansion, channels, blocks and stride of the first block (table 2 of the paper)."""
V3_SMALL_LAYERS = ((3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
                   (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
                   (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2),
                   (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1))
"""MobileNet V3-small's kernel, expanded channels, channels, squeeze-and-excitation, h-swish, stride (table 2)."""
TENSORFLOW_SAME = (0, 0, 1, 1)
"""TensorFlow's padding "same" of a 3x3 convolution with stride 2 on a map of even size: (top, left, bottom, right)."""


def mobilenet_v1(*, width: float = 1.0, resolution: int = 224, classes: int = 1000,
                 tensorflow_padding: bool = False) -> Classifier:
    """MobileNet 1.0: a 3x3 convolution, 13 pairs of depthwise and 1x1 convolution. For maps of even size.

    tensorflow_padding  of layers with stride 2: zeros behind the map only
    """
    padding = {2: TENSORFLOW_SAME if tensorflow_padding else 1, 1: 1}
    channels = rounded_channels(32 * width)
    layers: list[nn.Module] = [Unit(3, channels, 3, 2, padding=padding[2])]
    for outputs, stride in V1_LAYERS:
        layers.append(Unit(channels, channels, 3, stride, groups=channels, padding=padding[stride]))
        layers.append(Unit(channels, rounded_channels(outputs * width)))
        channels = rounded_channels(outputs * width)
    return Classifier(layers, channels, classes, resolution)


def mobilenet_vww(*, width: float = 0.25, resolution: int = 96, classes: int = 2) -> Classifier:
    """MLPerf Tiny's visual wake words: MobileNet 0.25, 96x96, two classes, TensorFlow's padding."""
    return mobilenet_v1(width=width, resolution=resolution, classes=classes, tensorflow_padding=True)


class InvertedResidual(nn.Module):
    """1x1 convolution to `middle` channels (none if x has as many), depthwise convolution, 1x1 convolution, plus x.

    x is added if stride and channels allow it; nothing else stands behind the last convolution. x, y: signed or, where
    the first layer gives it, not.

    function  behind the first two convolutions
    squeeze   squeeze-and-excitation behind the depthwise convolution
    """

    def __init__(self, inputs: int, middle: int, outputs: int, kernel: int, stride: int, function: Function,
                 squeeze: SqueezeExcite | None = None) -> None:
        super().__init__()
        self.expand = nn.Identity() if middle == inputs else Unit(inputs, middle, function=function)
        self.depthwise = Unit(middle, middle, kernel, stride, groups=middle, function=function)
        self.squeeze = nn.Identity() if squeeze is None else squeeze
        self.project = ConvNorm(middle, outputs)
        self.residual = (inputs, stride) == (outputs, 1)
        self.act = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.squeeze(self.depthwise(self.expand(x))))
        return self.act(y + x if self.residual else y)


def mobilenet_v2(*, width: float = 1.0, resolution: int = 224, classes: int = 1000,
                 last: int | None = None, multiple: int = 8) -> Classifier:
    """MobileNet V2.

    last      channels of the last convolution; None: 1280 times the width, and 1280 if that is below 1, as in the paper
    multiple  that channels are rounded to
    """
    channels, last = rounded_channels(32 * width, multiple), last or rounded_channels(1280 * max(width, 1.0))
    layers: list[nn.Module] = [Unit(3, channels, 3, 2, function=nn.ReLU6)]
    for expansion, outputs, count, first_stride in V2_LAYERS:
        for index in range(count):
            stride, scaled = 1 if index else first_stride, rounded_channels(outputs * width, multiple)
            layers.append(InvertedResidual(channels, channels * expansion, scaled, 3, stride, nn.ReLU6))
            channels = scaled
    return Classifier([*layers, Unit(channels, last, function=nn.ReLU6)], last, classes, resolution)


def mobilenet_v3_small(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Classifier:
    """MobileNet V3-small: squeeze-and-excitation with a hard sigmoid, h-swish in the stem, the later blocks and the
    head."""
    channels, hidden = rounded_channels(16 * width), rounded_channels(1024 * width)
    layers: list[nn.Module] = [Unit(3, channels, 3, 2, function=nn.Hardswish)]
    for kernel, expanded, outputs, excites, hardswish, stride in V3_SMALL_LAYERS:
        middle, scaled = rounded_channels(expanded * width), rounded_channels(outputs * width)
        squeeze = SqueezeExcite(middle, rounded_channels(middle // 4), signed=hardswish, form="PS",
                                weight_bits=WEIGHT_BITS) if excites else None
        layers.append(InvertedResidual(channels, middle, scaled, kernel, stride,
                                       nn.Hardswish if hardswish else nn.ReLU, squeeze))
        channels = scaled
    layers.append(Unit(channels, 6 * channels, function=nn.Hardswish))
    return Classifier(layers, 6 * channels, classes, resolution, signed=True,
                      hidden=HiddenLayer(6 * channels, hidden, nn.Hardswish))
