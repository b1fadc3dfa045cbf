"""The torch module that each plain layer is, filled with its weights."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..nn import (
    AdderConv2d,
    AdderLinear,
    Affine,
    PadShortcut,
    SelectChannels,
    ShiftConv2d,
    ShiftConvTranspose2d,
    ShiftLinear,
)
from . import activations
from .plain_layers import Layer

PlainWeighted = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
ShiftLayer = ShiftConv2d | ShiftConvTranspose2d | ShiftLinear
"""What a plain layer with weights becomes."""


def module_of(layer: Layer) -> nn.Module:
    """A module that computes `layer`, of any kind but add, multiply and concat; a convolution keeps no padding that
    differs by side in its attributes."""
    return MODULES[layer.kind](layer)


class PaddedConv2d(nn.Conv2d):
    """A convolution whose zeros may differ from side to side: `sides` is (top, left, bottom, right)."""

    sides: tuple[int, int, int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        top, left, bottom, right = self.sides
        return functional.conv2d(functional.pad(input, (left, right, top, bottom)), self.weight, self.bias, self.stride,
                                 0, self.dilation, self.groups)


def _convolution(layer: Layer) -> nn.Conv2d:
    options = layer.options
    weight, sides = options["weight"].value, options["padding"]
    even = sides[:2] == sides[2:]
    module = (nn.Conv2d if even else PaddedConv2d)(
        weight.shape[1] * options["groups"], weight.shape[0], tuple(weight.shape[2:]), options["stride"],
        sides[:2] if even else 0, options["dilation"], options["groups"], bias=options["bias"] is not None)
    if isinstance(module, PaddedConv2d):
        module.sides = sides
    return _filled(module, layer)


def _transposed(layer: Layer) -> nn.ConvTranspose2d:
    options = layer.options
    weight = options["weight"].value
    return _filled(nn.ConvTranspose2d(
        weight.shape[0], weight.shape[1] * options["groups"], tuple(weight.shape[2:]), options["stride"],
        options["padding"], options["output_padding"], options["groups"], options["bias"] is not None,
        options["dilation"]), layer)


def _linear(layer: Layer) -> nn.Linear:
    weight = layer.options["weight"].value
    return _filled(nn.Linear(weight.shape[1], weight.shape[0], layer.options["bias"] is not None), layer)


def _filled(module: Any, layer: Layer) -> Any:
    """The module with the layer's weights and bias."""
    module.weight = nn.Parameter(layer.options["weight"].value.clone())
    if layer.options["bias"] is not None:
        module.bias = nn.Parameter(layer.options["bias"].value.clone())
    return module


def _adder(layer: Layer) -> nn.Module:
    options, weight = layer.options, layer.options["weight"].value
    module: AdderConv2d | AdderLinear
    if layer.kind == "adder_linear":
        module = AdderLinear(weight.shape[1], weight.shape[0])
    else:
        module = AdderConv2d(weight.shape[1] * options["groups"], weight.shape[0], tuple(weight.shape[2:]),
                             options["stride"], options["padding"], options["dilation"], options["groups"])
    module.adder = nn.Parameter(weight.clone())
    return module


def _batch_norm(layer: Layer) -> nn.Module:
    options = layer.options
    given = {name: options[name].value for name in ("weight", "bias", "running_mean", "running_var")
             if options[name] is not None}
    kind = nn.BatchNorm2d if len(layer.shape) == 4 else nn.BatchNorm1d
    module = kind(len(given["running_mean"]), options["eps"], affine="weight" in given or "bias" in given)
    module.load_state_dict(module.state_dict() | given)
    return module


def _clamp(layer: Layer) -> nn.Module:
    lo, hi = layer.options["lo"], layer.options["hi"]
    return nn.ReLU() if (lo, hi) == (0.0, math.inf) else nn.Hardtanh(lo, hi)


def _subsample(layer: Layer) -> nn.Module:
    before, after = layer.options["channels"]
    outputs = layer.shape[1]
    return PadShortcut(outputs - before - after, outputs, layer.options["stride"][0], before)


def _pool(kind: Callable[..., nn.Module], layer: Layer, **options: Any) -> nn.Module:
    return kind(layer.options["kernel"], layer.options["stride"], layer.options["padding"], **options)


MODULES: dict[str, Callable[[Layer], nn.Module]] = {
    "conv": _convolution, "transposed": _transposed, "linear": _linear, "adder": _adder, "adder_linear": _adder,
    "batch_norm": _batch_norm, "clamp": _clamp, "subsample": _subsample,
    "affine": lambda layer: Affine(layer.options["gain"], layer.options["offset"]),
    "flatten": lambda layer: nn.Flatten(), "global_pool": lambda layer: nn.AdaptiveAvgPool2d(1),
    "function": lambda layer: activations.module(layer.options["function"]),
    "select": lambda layer: SelectChannels(layer.options["channels"]),
    "upsample": lambda layer: nn.Upsample(scale_factor=layer.options["factor"]),
    "bilinear": lambda layer: nn.Upsample(scale_factor=2, mode="bilinear"),
    "max_pool": lambda layer: _pool(nn.MaxPool2d, layer),
    "average_pool": lambda layer: _pool(nn.AvgPool2d, layer, divisor_override=layer.options["divisor"]),
}
