"""What of a layer's work is useful: how often its weights are used, whatever the array."""

from dataclasses import dataclass
from math import prod

import numpy as np

from ..ir.types import ShiftWeight
from .network import Kind, Layer, Network
from .taps import parts_of


@dataclass(frozen=True)
class Uses:
    """Of a layer's weights per image: how often they are used, and how often a term of 0 is.

    Counted as usual (taps on padding included), and once for each pixel that a half-pixel displacement takes the mean
    of. Weights that meet a zero between the pixels of an enlarged map are not run and do not count.
    """

    weights: int
    zero_terms: int = 0


def layer_uses(layer: Layer, network: Network) -> Uses:
    """Uses of a layer; 0 of pooling, copies and layers that only copy: at most one weight per output, all equal."""
    shape = network.tensors[layer.output].shape
    if layer.kind is Kind.BILINEAR:     # 9, 3, 3 and 1, the last of one term
        return Uses(4 * prod(shape), prod(shape))
    if layer.kind is Kind.ADDER:
        return Uses(prod(shape) * prod(layer.kernel) * (layer.source.channels // layer.groups))
    if not layer.weight or (layer.source.per_pixel == 1 and _copies(layer.weight)):
        return Uses(0)
    return _weights(layer, layer.weight, shape)


def useful_macs(layer: Layer, network: Network) -> int:
    """Steps of single lanes that a layer needs per image: its uses times its terms; of an adder layer |x - w|, once."""
    return layer_uses(layer, network).weights * (1 if layer.kind is Kind.ADDER else layer.terms)


def _copies(weight: ShiftWeight) -> bool:
    used = weight.integer != 0
    return bool((used.sum(axis=(1, 2, 3)) <= 1).all()) and len(np.unique(weight.integer[used])) <= 1


def _weights(layer: Layer, weight: ShiftWeight, shape: tuple[int, int, int]) -> Uses:
    channels, height, width = shape
    groups = np.arange(channels) // (channels // layer.groups)
    values = np.bincount(parts_of(layer.source, True).channel).reshape(layer.groups, -1)[groups]
    rows, columns = _met(layer, 0, height), _met(layer, 1, width)
    uses = values[:, :, None, None] * rows[:, None] * columns
    return Uses(int(uses.sum()), int((uses * (weight.sign == 0)).sum()))


def _met(layer: Layer, axis: int, length: int) -> np.ndarray:
    """Output positions along an axis at which each weight of a window meets no zero between pixels: int64[kernel]."""
    window = np.arange(layer.kernel[axis])[:, None] * layer.dilation[axis] - layer.padding[axis]
    factor = layer.source.factor[axis] if layer.source.zeros else 1
    return ((window + np.arange(length) * layer.stride[axis]) % factor == 0).sum(axis=1)
