"""Layers to train multiplication-free networks with; ordinary torch layers join them unchanged.

Between two convolutions an activation must pass a quantizer, and so must the network's input:
conv -> [BatchNorm2d] -> [add] -> [ReLU, ReLU6, Hardtanh] -> quantizer.
"""

from ..ir.graph import Rounding
from .adder import AdderConv2d, AdderLinear, ShiftAdd
from .affine import Affine
from .compiled import compile_adders
from .quantizers import FixedPoint, QuantAct, Quantizer
from .shift import ShiftConv2d, ShiftLinear
from .shortcut import PadShortcut

__all__ = ["AdderConv2d", "AdderLinear", "Affine", "FixedPoint", "PadShortcut", "QuantAct", "Quantizer", "Rounding",
           "ShiftAdd", "ShiftConv2d", "ShiftLinear", "compile_adders"]
