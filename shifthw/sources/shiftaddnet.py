"""ShiftAddNet (https://github.com/GATECH-EIC/ShiftAddNet): DeepShift's form PS with flags of its own, fixed-shift
layers, adder layers.

Its conversion does not hand the flags down: a sign threshold and the fraction bits of activations reach layers at the
top of the network only (conv1 and fc of its ResNets); all others round signs, and activations to (16, 16).
"""

from dataclasses import replace

from ..quantize import smallest_exponent
from .adder import MASK, MEASURED, shiftaddnet_layer
from .architectures import SHIFTADDNET
from .deepshift import ps_layer
from .framework import (
    ORDINARY,
    Framework,
    Kind,
    Plain,
    SourceLayer,
    SourceOptions,
    Tensors,
    nearest_fixed_point,
    require_powers_of_two,
    require_within,
    shift_layer,
)

DEFAULT_FORMAT = (16, 16)
FIXED_FRACTION_BITS = 15
FIXED_WEIGHT_BITS = 5
"""Of the fixed-shift layers, whose exponents are -7..0; more than they need."""


def _ps_layer(path: str, plain: Plain, tensors: Tensors, options: SourceOptions) -> SourceLayer:
    if "." in path:
        options = replace(options, act_format=DEFAULT_FORMAT, sign_threshold=None)
    return ps_layer(path, plain, tensors, options)


def _fixed_layer(path: str, plain: Plain, tensors: Tensors, options: SourceOptions) -> SourceLayer:
    """SEConv2d: `weight` is sign * 2**p already, p, s and mask are what it was made of."""
    weight = tensors["weight"]
    require_powers_of_two(path, weight)
    require_within(path, weight, smallest_exponent("Q", FIXED_WEIGHT_BITS))
    layer = shift_layer(path, plain, "Q", FIXED_WEIGHT_BITS, tensors, None)
    return SourceLayer(layer, nearest_fixed_point(FIXED_FRACTION_BITS))


SHIFT_ADD_NET = Framework("shiftaddnet", "ShiftAddNet, shift, fixed-shift and adder layers", SHIFTADDNET,
                          (Kind(("shift", "sign"), _ps_layer), Kind(("weight", "p", "s", "mask"), _fixed_layer),
                           ORDINARY), shiftaddnet_layer, (*MEASURED, MASK, "s"))
