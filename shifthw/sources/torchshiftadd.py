"""torchshiftadd (https://github.com/GATECH-EIC/torchshiftadd): form PS with a sign threshold of 0.3, adder layers."""

from dataclasses import replace

from torch import nn

from .adder import real_layer
from .architectures import TORCHSHIFTADD
from .deepshift import ps_layer
from .framework import ORDINARY, Framework, Kind, Plain, SourceLayer, SourceOptions, Tensors

CONV_THRESHOLD = 0.3
"""Of Conv2dShift; LinearShift's default is to round."""


def _ps_layer(path: str, plain: Plain, tensors: Tensors, options: SourceOptions) -> SourceLayer:
    if isinstance(options.sign_threshold, str):
        options = replace(options, sign_threshold=None if isinstance(plain, nn.Linear) else CONV_THRESHOLD)
    return ps_layer(path, plain, tensors, options)


TORCH_SHIFT_ADD = Framework("torchshiftadd", "torchshiftadd, shift and adder layers", TORCHSHIFTADD,
                            (Kind(("shift", "sign"), _ps_layer), ORDINARY), real_layer)
