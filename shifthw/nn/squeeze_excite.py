"""Squeeze-and-excitation with power-of-two weights (Hu et al., CVPR 2018; as in MobileNetV3 and EfficientNet)."""

import torch
from torch import nn

from ..quantize import Form
from .moving import check_channel_count
from .quantizers import QuantAct
from .shift import ShiftConv2d

JOINED = (nn.ReLU, nn.ReLU6)
"""Functions that are part of the quantizer behind them; any other is a table between two quantizers."""
GATE_STEP = 1 / 255


class SqueezeExcite(nn.Module):
    """y = x * gate(expand(activation(squeeze(mean(x))))), one factor per image and channel; 8-bit activations.

    mean over the map, squeeze a 1x1 layer to `squeezed` channels, expand one back. A quantizer stands behind each
    layer, before and behind each function that is none of ReLU and ReLU6, and behind the product.
    x, y: [N, C, H, W]; x comes from a quantizer.

    gate, activation   modules' types, made without arguments; the gate's values are in 0..1, in steps of 1/255
    signed             whether x has negative values
    form, weight_bits  of both layers: see ShiftConv2d
    """

    def __init__(self, channels: int, squeezed: int, gate: type[nn.Module] = nn.Hardsigmoid,
                 activation: type[nn.Module] = nn.ReLU, *, signed: bool = False, form: Form = "Q",
                 weight_bits: int = 5) -> None:
        super().__init__()
        check_channel_count("SqueezeExcite", channels)
        if squeezed < 1:
            raise ValueError(f"SqueezeExcite: squeezed must be 1 or more, not {squeezed}")
        if gate not in (nn.Hardsigmoid, nn.Sigmoid) or activation not in (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish):
            raise ValueError(f"SqueezeExcite: gate must be nn.Hardsigmoid or nn.Sigmoid, activation nn.ReLU, nn.ReLU6, "
                             f"nn.SiLU or nn.Hardswish, not {gate.__name__} and {activation.__name__}")
        joined = activation in JOINED
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.mean = QuantAct(8, signed)
        self.squeeze = ShiftConv2d(channels, squeezed, 1, form=form, weight_bits=weight_bits)
        self.table_input = nn.Identity() if joined else QuantAct(8, signed=True)
        self.activation = activation()
        self.act = QuantAct(8, signed=not joined)
        self.expand = ShiftConv2d(squeezed, channels, 1, form=form, weight_bits=weight_bits)
        self.gate_input = QuantAct(8, signed=True)
        self.gate = gate()
        self.factor = QuantAct(8, scale=GATE_STEP)
        self.product = QuantAct(8, signed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.squeeze(self.mean(self.pool(x)))
        y = self.act(self.activation(self.table_input(y)))
        factor = self.factor(self.gate(self.gate_input(self.expand(y))))
        return self.product(x * factor)
