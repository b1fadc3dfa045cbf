"""What each ATen operation is as a layer of the engine."""

from collections.abc import Callable

from ..exported import Step
from ..plain_layers import Layer
from . import arithmetic, functions, moves, pools, shapes, weights
from .steps import refuse

SUPPORTED = ("Conv2d, ConvTranspose2d, Linear, AdderConv2d and AdderLinear of shifthw.nn, BatchNorm1d, BatchNorm2d, "
             "ReLU, ReLU6, Hardtanh, clamp, LeakyReLU, Sigmoid, Hardsigmoid, SiLU, Hardswish, Mish, GELU, Tanh, ELU; "
             "+, - and * of two tensors, constants added or multiplied per channel, cat, chunk, split and every other "
             "choice or order of channels, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, AdaptiveMaxPool2d, mean over "
             "pixels, Upsample, flatten, zero padding, Dropout, every n-th pixel, a softmax at the end")
ARITY = {"add": 2, "multiply": 2}
"""Tensors that a layer of a kind reads, if they are not one; a concat reads any number."""

HANDLERS: dict[str, Callable[[Step], list[Layer]]] = {
    **dict.fromkeys(("conv2d", "convolution"), weights.conv), "conv_transpose2d": weights.transposed,
    "linear": weights.linear, "negative_distances": weights.adder, "batch_norm": weights.batch_norm,
    "_native_batch_norm_legit": weights.without_statistics,
    **dict.fromkeys(("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max"), arithmetic.clamp),
    **dict.fromkeys(("add", "sub", "rsub"), arithmetic.added),
    **dict.fromkeys(("mul", "div", "neg"), arithmetic.multiplied),
    **dict.fromkeys(functions.KINDS, functions.table),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), pools.max_pool), "avg_pool2d": pools.average_pool,
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), pools.adaptive_pool), "mean": pools.mean,
    **dict.fromkeys(("flatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze"), shapes.reshape),
    **dict.fromkeys(("permute", "transpose"), shapes.permute),
    **dict.fromkeys(moves.KINDS, moves.moved), "slice": shapes.sliced, "select": shapes.selected, "cat": moves.joined,
    **dict.fromkeys(("upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d"), moves.enlarged),
    **dict.fromkeys(("pad", "constant_pad_nd"), shapes.pad),
    **dict.fromkeys(("clone", "contiguous", "detach", "alias", "lift_fresh_copy"), shapes.same),
    **dict.fromkeys(("dropout", "feature_dropout", "native_dropout"), shapes.dropout),
    **dict.fromkeys(("_to_copy", "to", "type_as"), shapes.cast), "getitem": shapes.item,
}


def layers_of(step: Step) -> list[Layer]:
    """The layers of a step, the last with its name; none if its result is its input.

    Raises UnsupportedModel, with the line, for a step that is no layer of the engine.
    """
    if step.kind not in HANDLERS:
        refuse(step, f"is not supported; supported are {SUPPORTED}")
    layers = HANDLERS[step.kind](step)
    if not step.inputs or any(len(layer.inputs) != ARITY.get(layer.kind, 1) for layer in layers
                              if layer.kind != "concat"):
        refuse(step, f"reads {len(step.inputs)} tensors that depend on the images, must read one; weights must be "
                     f"parameters")
    return layers
