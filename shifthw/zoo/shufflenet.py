"""ShuffleNet (Zhang et al., CVPR 2018) and ShuffleNet V2 (Ma et al., ECCV 2018)."""

import torch
from torch import nn

from ..nn import QuantAct
from .blocks import Classifier, ConvNorm, Unit, rounded_channels

STEM = 24
V1_WIDTHS = {1: (144, 288, 576), 2: (200, 400, 800), 3: (240, 480, 960), 4: (272, 544, 1088), 8: (384, 768, 1536)}
"""ShuffleNet's channels in stages 2 to 4, by groups (table 1 of the paper)."""
V2_WIDTHS = {0.5: (48, 96, 192, 1024), 1.0: (116, 232, 464, 1024), 1.5: (176, 352, 704, 1024),
             2.0: (244, 488, 976, 2048)}
"""ShuffleNet V2's channels in stages 2 to 4 and of its last convolution, by width (table 5 of the paper)."""
UNITS = (4, 8, 4)
"""Of stages 2 to 4; the first of each has a stride of 2."""


class ShuffleUnit(nn.Module):
    """ShuffleNet's: grouped 1x1 convolution, shuffle, 3x3 depthwise convolution, grouped 1x1 convolution, shortcut.

    With stride 1 x is added; with stride 2 x averaged over 3x3 pixels stands before the convolution's channels.
    x, y: not negative.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, first_groups: int) -> None:
        super().__init__()
        middle, added = outputs // 4, outputs - inputs if stride > 1 else outputs
        self.stride = stride
        self.reduce = Unit(inputs, middle, groups=first_groups)
        self.shuffle = nn.ChannelShuffle(groups)
        self.depthwise = Unit(middle, middle, 3, stride, groups=middle, function=None)
        self.expand = ConvNorm(middle, added, groups=groups)
        self.shortcut = nn.AvgPool2d(3, stride, 1) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU()
        self.act = QuantAct(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.expand(self.depthwise(self.shuffle(self.reduce(x))))
        shortcut = self.shortcut(x)
        if self.stride == 1:
            return self.act(self.relu(y + shortcut))
        return self.act(torch.cat([shortcut, self.relu(y)], dim=1))


def shufflenet_v1(groups: int = 3, *, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Classifier:
    """ShuffleNet 1x. The first 1x1 convolution of stage 2 has one group: it has few inputs. Raises ValueError."""
    if groups not in V1_WIDTHS:
        raise ValueError(f"shufflenet_v1: groups must be one of {', '.join(map(str, V1_WIDTHS))}, not {groups}")
    channels, multiple = rounded_channels(STEM * width, groups), 4 * groups
    layers: list[nn.Module] = [Unit(3, channels, 3, 2), nn.MaxPool2d(3, 2, 1)]
    for stage, (widest, count) in enumerate(zip(V1_WIDTHS[groups], UNITS, strict=True)):
        outputs = widest if width == 1 else rounded_channels(widest * width, multiple)
        for index in range(count):
            first_groups = groups if stage or index else 1
            layers.append(ShuffleUnit(channels, outputs, 1 if index else 2, groups, first_groups))
            channels = outputs
    return Classifier(layers, channels, classes, resolution)


class ShuffleUnitV2(nn.Module):
    """ShuffleNet V2's: half of the channels pass 1x1, 3x3 depthwise and 1x1 convolutions; then a shuffle of two groups.

    grid  the quantizer that x comes from, which the branch's result is rounded by, too. x, y: not negative.
    """

    def __init__(self, channels: int, grid: QuantAct) -> None:
        super().__init__()
        half = channels // 2
        self.first = Unit(half, half)
        self.depthwise = Unit(half, half, 3, groups=half, function=None)
        self.second = Unit(half, half, grid=grid)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        halves = x.chunk(2, dim=1)
        y = self.second(self.depthwise(self.first(halves[1])))
        return self.shuffle(torch.cat([halves[0], y], dim=1))


class DownUnitV2(nn.Module):
    """ShuffleNet V2's with a stride of 2: both branches see all channels, each gives half of the outputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.left_depthwise = Unit(inputs, inputs, 3, 2, groups=inputs, function=None)
        self.left = ConvNorm(inputs, half)
        self.first = Unit(inputs, half)
        self.depthwise = Unit(half, half, 3, 2, groups=half, function=None)
        self.right = ConvNorm(half, half)
        self.relu = nn.ReLU()
        self.act = QuantAct(8)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = self.relu(self.left(self.left_depthwise(x)))
        right = self.relu(self.right(self.depthwise(self.first(x))))
        return self.shuffle(self.act(torch.cat([left, right], dim=1)))


def shufflenet_v2(*, width: float = 1.0, resolution: int = 224, classes: int = 1000) -> Classifier:
    """ShuffleNet V2 0.5x, 1x, 1.5x or 2x, or another width, which scales 1x. Each stage has one grid."""
    widths = V2_WIDTHS.get(width) or [rounded_channels(channels * width, 4) for channels in V2_WIDTHS[1.0]]
    channels = STEM if width in V2_WIDTHS else rounded_channels(STEM * width, 4)
    layers: list[nn.Module] = [Unit(3, channels, 3, 2), nn.MaxPool2d(3, 2, 1)]
    for outputs, count in zip(widths, UNITS, strict=False):
        first = DownUnitV2(channels, outputs)
        layers += [first, *(ShuffleUnitV2(outputs, first.act) for _ in range(count - 1))]
        channels = outputs
    return Classifier([*layers, Unit(channels, widths[-1])], widths[-1], classes, resolution)
