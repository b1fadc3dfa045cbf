"""Layers to train multiplication-free networks with; ordinary torch layers join them unchanged.

Between two convolutions an activation must pass a quantizer, and so must the network's input:
conv -> [BatchNorm2d] -> [add] -> [ReLU, ReLU6, Hardtanh] -> quantizer.
"""

from ..ir.graph import Rounding
from .adder import AdderConv2d, AdderLinear, ShiftAdd
from .affine import Affine
from .channel_shift import AddressShift2d, ChannelShift, ShortcutShift
from .compiled import compile_adders
from .quantizers import FixedPoint, QuantAct, Quantizer
from .select import SelectChannels
from .shift import ShiftConv2d, ShiftLinear
from .shortcut import PadShortcut
from .spatial_shift import ActiveShift2d, GroupedShift2d, SparseShift2d, total_shift_loss
from .squeeze_excite import SqueezeExcite
from .transposed import ShiftConvTranspose2d

__all__ = ["ActiveShift2d", "AdderConv2d", "AdderLinear", "AddressShift2d", "Affine", "ChannelShift", "FixedPoint",
           "GroupedShift2d", "PadShortcut", "QuantAct", "Quantizer", "Rounding", "SelectChannels", "ShiftAdd",
           "ShiftConv2d", "ShiftConvTranspose2d", "ShiftLinear", "ShortcutShift", "SparseShift2d", "SqueezeExcite",
           "compile_adders", "total_shift_loss"]
