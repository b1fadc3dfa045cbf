"""DeepShift (https://github.com/mostafaelhoushi/DeepShift): forms Q and PS, fixed-point activations.

Latent and rounded files (checkpoint.pth.tar, weights.pth) mean the same: rounding again changes nothing.
"""

from torch import nn

from ..errors import UnsupportedModel
from ..quantize import smallest_exponent
from .architectures import DEEPSHIFT
from .framework import (
    ORDINARY,
    OTHER_BITS,
    Framework,
    Kind,
    Plain,
    SourceLayer,
    SourceOptions,
    Tensors,
    fixed_point,
    require_powers_of_two,
    require_whole,
    require_within,
    shift_layer,
    with_threshold,
)


def q_layer(path: str, plain: Plain, tensors: Tensors, options: SourceOptions) -> SourceLayer:
    """Conv2dShiftQ rounds its input and its bias, LinearShiftQ its input only."""
    if options.exact:
        require_powers_of_two(path, tensors["weight"])
        require_within(path, tensors["weight"], smallest_exponent("Q", options.weight_bits), OTHER_BITS)
    if not isinstance(options.sign_threshold, str):
        raise UnsupportedModel(f"{path}: is of form Q, whose signs are its weights' and have no threshold; leave "
                               f"--sign-threshold out")
    bias_format = None if isinstance(plain, nn.Linear) else options.act_format
    layer = shift_layer(path, plain, "Q", options.weight_bits, tensors, bias_format)
    return SourceLayer(layer, fixed_point(options.act_format))


def ps_layer(path: str, plain: Plain, tensors: Tensors, options: SourceOptions) -> SourceLayer:
    """Conv2dShift rounds its input and its bias, LinearShift neither; signs are rounded unless a threshold is given."""
    if options.exact:
        require_whole(path, tensors, smallest_exponent("PS", options.weight_bits))
    threshold = None if isinstance(options.sign_threshold, str) else options.sign_threshold
    linear = isinstance(plain, nn.Linear)
    layer = shift_layer(path, plain, "PS", options.weight_bits, with_threshold(tensors, threshold),
                        None if linear else options.act_format)
    return SourceLayer(layer, None if linear else fixed_point(options.act_format))


PS = Kind(("shift", "sign"), ps_layer)
DEEPSHIFT_Q = Framework("deepshift-q", "DeepShift, all layers of form Q (weight)", DEEPSHIFT,
                        (Kind(("weight",), q_layer),))
DEEPSHIFT_PS = Framework("deepshift-ps", "DeepShift, layers of form PS (shift and sign)", DEEPSHIFT, (PS, ORDINARY))
