"""Networks in Brevitas, with scales that are powers of two, and their export."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # remarks about packages that make other parts of it faster
    import brevitas.nn as qnn
    from brevitas.export import export_qonnx
    from brevitas.quant import Int8ActPerTensorFixedPoint, Int8WeightPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
    from brevitas.quant.fixed_point import Int8WeightPerChannelFixedPoint

SIGNED, UNSIGNED = Int8ActPerTensorFixedPoint, Uint8ActPerTensorFixedPoint


class PerTensor(Int8WeightPerTensorFixedPoint):
    """The whole range of the integers, -128 too."""

    narrow_range = False


class PerChannel(Int8WeightPerChannelFixedPoint):
    narrow_range = False


PerTensorNarrow, PerChannelNarrow = Int8WeightPerTensorFixedPoint, Int8WeightPerChannelFixedPoint


def conv(inputs: int, outputs: int, kernel: int, weight: type = PerTensorNarrow, bits: int = 8,
         **options: Any) -> nn.Module:
    options = {"bias": False, "padding": kernel // 2} | options
    return qnn.QuantConv2d(inputs, outputs, kernel, weight_quant=weight, weight_bit_width=bits, **options)


def act(quant: type = SIGNED, bits: int = 8, *, last: bool = False) -> nn.Module:
    """A quantizer; the last one of a network gives plain numbers."""
    kind = qnn.QuantReLU if quant is UNSIGNED else qnn.QuantIdentity
    return kind(act_quant=quant, bit_width=bits, return_quant_tensor=not last)


class Net(nn.Module):
    """A module whose forward is the given function of itself and x."""

    def __init__(self, forward: Callable[["Net", Any], Any], **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)
        self.function = forward

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def export(model: nn.Module, file: Path, *shape: int, **options: Any) -> Path:
    """Let the activations find their scales on random images, then write the model for images of `shape`."""
    torch.manual_seed(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):
            model.train()(torch.randn(8, *shape[1:]))
        export_qonnx(model.eval(), torch.randn(shape), str(file), **{"dynamo": False} | options)
    return file
