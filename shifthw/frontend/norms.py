"""Factors and offsets per channel of values that wait for their quantizer: it does them too."""

from dataclasses import replace

import numpy as np
from torch import nn

from ..errors import UnsupportedModel
from ..nn import Affine
from .draft import Sum


def normalized(where: str, module: nn.BatchNorm1d | nn.BatchNorm2d, before: Sum) -> Sum:
    """A batch norm with its running statistics."""
    _require_unclamped(where, module, before)
    if module.running_mean is None or module.running_var is None:
        raise UnsupportedModel(f"{where} ({type(module).__name__}): has no running statistics; it must have "
                               f"track_running_stats=True")
    gain = 1.0 / np.sqrt(module.running_var.double().numpy() + module.eps)
    if module.affine:
        gain = gain * module.weight.detach().double().numpy()
    offset = (before.offset - module.running_mean.double().numpy()) * gain
    if module.affine:
        offset = offset + module.bias.detach().double().numpy()
    return replace(before, factors=tuple(factor * gain for factor in before.factors), offset=offset)


def rescaled(where: str, module: Affine, before: Sum) -> Sum:
    """y = x * gain[c] + offset[c]"""
    _require_unclamped(where, module, before)
    gain = module.gain.numpy()
    return replace(before, factors=tuple(factor * gain for factor in before.factors),
                   offset=before.offset * gain + module.offset.numpy())


def _require_unclamped(where: str, module: nn.Module, before: Sum) -> None:
    if before.is_clamped:
        raise UnsupportedModel(f"{where} ({type(module).__name__}): follows an activation function; put a "
                               f"quantizer between them, or this layer right behind its convolution")
