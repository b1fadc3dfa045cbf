"""A detector like Tiny-YOLOv3 (Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018; yolov3-tiny.cfg)."""

import torch
from torch import nn

from ..nn import QuantAct
from .blocks import ImageNetwork, Unit, convolution, rounded_channels

ANCHORS = 3
"""Of each pixel."""
BACKBONE = (16, 32, 64, 128)
"""Channels of the 3x3 convolutions that a pool of stride 2 follows, before the finer map."""


def leaky_relu() -> nn.Module:
    """The network's activation function."""
    return nn.LeakyReLU(0.1)


class TinyYolo(ImageNetwork):
    """3x3 convolutions and pools to 1/32 of the image, enlarged again, concatenated with the map at 1/16.

    Out: [N, 3 * (5 + classes), resolution/16, resolution/16], for each of three anchors box, objectness and classes,
    before their sigmoids. resolution: a multiple of 32.

    Of the original's two results this is the finer one, since the engine stores one: the 3x3 convolution and the head
    at 1/32, which nothing else reads, are left out. The pool of stride 1 has 3x3 pixels; the original's has 2x2 with
    one row and one column of padding behind the map only.
    """

    def __init__(self, width: float, resolution: int, classes: int) -> None:
        super().__init__(resolution)
        if resolution % 32:
            raise ValueError(f"TinyYolo: resolution must be a multiple of 32, not {resolution}")
        layers: list[nn.Module] = []
        channels = 3
        for outputs in BACKBONE:
            scaled = rounded_channels(outputs * width)
            layers += [_conv3x3(channels, scaled), nn.MaxPool2d(2)]
            channels = scaled
        c128, c256, c512, c1024 = (rounded_channels(wide * width) for wide in (128, 256, 512, 1024))
        self.layers = nn.Sequential(*layers)
        self.fine = _conv3x3(channels, c256)
        self.coarse = nn.Sequential(nn.MaxPool2d(2), _conv3x3(c256, c512), nn.MaxPool2d(3, 1, 1),
                                    _conv3x3(c512, c1024), Unit(c1024, c256, function=leaky_relu))
        self.lateral = Unit(c256, c128, function=leaky_relu, grid=self.fine.activation.act)
        self.upsample = nn.Upsample(scale_factor=2)
        self.joint = _conv3x3(c128 + c256, c256)
        self.head = convolution(c256, ANCHORS * (5 + classes), bias=True)
        self.act = QuantAct(8, signed=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.fine(self.layers(self.input(x)))
        enlarged = self.upsample(self.lateral(self.coarse(fine)))
        return self.act(self.head(self.joint(torch.cat([enlarged, fine], dim=1))))


def _conv3x3(inputs: int, outputs: int) -> Unit:
    return Unit(inputs, outputs, 3, function=leaky_relu)


def tiny_yolov3(*, width: float = 1.0, resolution: int = 416, classes: int = 80) -> TinyYolo:
    """Tiny-YOLOv3 for COCO, its finer result."""
    return TinyYolo(width, resolution, classes)
