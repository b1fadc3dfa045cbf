"""Adder layers: their weights as operands of the lanes' minimum, and the constants that this leaves.

A lane adds 2 min(u, k) = u + k - |u - k| to an accumulator, and u is taken away again: docs/architecture.md.
"""

import dataclasses

import numpy as np

from ..arch import ArrayConfig
from .arrange import arrange
from .network import Kind, Layer, Network, Scale
from .scaling import fitting_bias
from .task import Task


def double_sums(network: Network) -> Network:
    """The network with the layers marked whose accumulators hold twice the sum, and their scales made up for it.

    Grouped adder layers run in two terms; in an array of minima alone all lanes are doubled.
    """
    kinds = {layer.kind for layer in network.layers}
    minima = Kind.ADDER in kinds and not any(layer.weight for layer in network.layers)

    def doubled(layer: Layer) -> bool:
        return layer.kind is Kind.ADDER and layer.groups > 1 or layer.diagonal and minima

    return dataclasses.replace(network, layers=tuple(
        dataclasses.replace(layer, sum_factor=2, scale=_halved(layer.scale, layer.name))
        if doubled(layer) and layer.scale else layer for layer in network.layers))


def _halved(scale: Scale, where: str) -> Scale:
    """The same results from twice the accumulators: all the rest of the sum doubles, and one more bit is dropped."""
    residual = 1 if scale.factor else 2     # a factor of the accumulators doubles with them
    return dataclasses.replace(scale, bias=fitting_bias(2 * scale.bias.astype(object), where), shift=scale.shift + 1,
                               residual_multiplier=residual * scale.residual_multiplier)


def adder_words(task: Task, config: ArrayConfig) -> tuple[np.ndarray, np.ndarray]:
    """Codes and start values of an adder layer: int64[out_groups, words, pe, simd], int64[out_groups, pe]."""
    weight = task.layer.adder_weight
    assert weight is not None
    zero = 1 << (config.activation_bits - 1) if task.source.dtype.signed else 0
    top = (1 << config.activation_bits) - 1
    inside = np.clip(weight, -zero, top - zero)
    placed = arrange((inside + zero + 1)[None], task)       # 0 where a lane has no weight
    if task.layer.groups == 1:
        codes = placed = np.where(placed == 0, zero, placed - 1)        # lanes without a weight are masked
    else:
        unused, placed = placed == 0, np.maximum(placed - 1, 0)         # together, their two terms add nothing
        codes = np.stack([np.where(unused, code, placed) for code in (top, 0)], axis=2)
        codes = codes.reshape(len(placed), -1, *placed.shape[2:])
    constant = placed.sum(axis=(1, 3)) + _cut_off(weight, inside, task)
    return codes, -task.layer.sum_factor * constant


def _cut_off(weight: np.ndarray, inside: np.ndarray, task: Task) -> np.ndarray:
    """What the lanes do not add to the sum of |x - w|: what weights are outside of the operands' range, and whole
    taps that see nothing but padding. int64[out_groups, pe]
    """
    outside = np.abs(weight).sum(axis=(1, 2, 3))
    seen = arrange((np.abs(weight) - np.abs(weight - inside))[None], task).sum(axis=(1, 3))
    return np.asarray(np.where(task.outputs >= 0, outside[task.outputs], 0) - seen)
