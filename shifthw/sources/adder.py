"""Adder layers of the source frameworks: with real weights, or rounded as ShiftAddNet's --add_quant does."""

import copy

import torch
from torch import nn

from ..errors import UnsupportedModel
from ..ir.graph import Rounding
from ..ir.types import IntType
from ..nn import AdderConv2d, Quantizer
from .framework import SourceLayer, SourceOptions, Tensors, nearest_fixed_point

MEASURED = ("quantize_input_fw.running_zero_point", "quantize_input_fw.running_range")
"""What layers that were trained with --add_quant have in ShiftAddNet's files: smallest input, and largest less that."""
MASK = "adder_mask"
NOT_ROUNDED = 32
"""Bits from which on --quantize_v wageubn rounds nothing."""
SMALLEST_SCALE = 1e-8


class AffineRounding(nn.Module):
    """y = round(clamp((x - zero_point) / scale, 0, 2**bits - 1)) * scale + zero_point, halves to the even number."""

    zero_point: torch.Tensor
    scale: torch.Tensor

    def __init__(self, zero_point: torch.Tensor, span: torch.Tensor, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("zero_point", zero_point.detach().clone())
        self.register_buffer("scale", (span.detach() / (2.0**bits - 1)).clamp(min=SMALLEST_SCALE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = ((x - self.zero_point) / self.scale).clamp(0, 2.0**self.bits - 1).round()
        return steps * self.scale + self.zero_point

    def grid_through_zero(self, where: str) -> Quantizer:
        """The quantizer of the same step whose steps are whole multiples of it, of the nearest range."""
        step = float(self.scale)
        lo = round(float(self.zero_point) / step)
        hi = lo + 2**self.bits - 1
        dtype = IntType(max(2, hi.bit_length()), False) if lo >= 0 else IntType.holding(lo, max(hi, 0))
        if dtype.bits > 32 or hi < 0:
            raise UnsupportedModel(f"{where}.{MEASURED[1]}: its inputs were measured in {float(self.zero_point):.3g}.."
                                   f"{float(self.zero_point) + step * (2**self.bits - 1):.3g}, must be a range around "
                                   f"0 or near it; train the network, or import it without --add-quant")
        return Quantizer(dtype, lo, hi, Rounding.HALF_EVEN, step)


def real_layer(path: str, plain: AdderConv2d, tensors: Tensors, options: SourceOptions) -> SourceLayer:
    """AdderNet's and torchshiftadd's: nothing is rounded."""
    if options.add_quant is not None:
        raise UnsupportedModel(f"{path}: is an adder layer of a framework that rounds none; leave --add-quant out")
    return SourceLayer(_filled(plain, tensors), None)


def shiftaddnet_layer(path: str, plain: AdderConv2d, tensors: Tensors, options: SourceOptions) -> SourceLayer:
    """ShiftAddNet's: masked where there is a mask, and rounded as the options say."""
    measured = [tensors[name] for name in MEASURED if name in tensors]
    if measured and options.add_quant is None:
        raise UnsupportedModel(f"{path}: was trained with --add_quant, which the file says nothing about; give "
                               f"--add-quant wageubn or sbm (train.py's --quantize_v) and its --add-bits")
    layer = _filled(plain, tensors)
    if options.add_quant == "wageubn" and options.add_bits < NOT_ROUNDED:
        rounding = nearest_fixed_point(options.add_bits - 1)
        layer.set_step(float(rounding.scale))
        return SourceLayer(layer, rounding)
    if options.add_quant == "sbm":
        if len(measured) < len(MEASURED):
            raise UnsupportedModel(f"{path}: misses {MEASURED[1]}; must be a checkpoint of --quantize_v sbm")
        return _affine_layer(path, layer, measured[0], measured[1], options.add_bits)
    return SourceLayer(layer, None)


def _affine_layer(path: str, layer: AdderConv2d, zero_point: torch.Tensor, span: torch.Tensor,
                  bits: int) -> SourceLayer:
    """Inputs on one grid, weights on one per output channel, from their smallest to their largest."""
    rows = layer.adder.detach().flatten(1)
    smallest = rows.amin(1)[:, None, None, None]
    weights = AffineRounding(smallest, rows.amax(1)[:, None, None, None] - smallest, bits)
    with torch.no_grad():
        layer.adder.copy_(weights(layer.adder))
    inputs = AffineRounding(zero_point, span, bits)
    return SourceLayer(layer, inputs.grid_through_zero(path), inputs)


def _filled(plain: AdderConv2d, tensors: Tensors) -> AdderConv2d:
    layer = copy.deepcopy(plain)
    layer.load_state_dict({name: tensors[name] for name in layer.state_dict()})
    if MASK in tensors:
        with torch.no_grad():
            layer.adder.mul_(tensors[MASK])
    return layer
