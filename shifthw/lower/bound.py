"""A lower bound of a network's cycles on an array, without layouts: what the search need not look at."""

from math import prod

from ..arch import ArrayConfig
from ..isa import PER_INSTRUCTION_CYCLES
from ..tensor_layout import ceil_div
from .layout import covers_map
from .network import Kind, Layer, Network


def least_cycles(network: Network, shape: ArrayConfig) -> int:
    """Cycles per batch that an array of this shape takes at least."""
    return sum(PER_INSTRUCTION_CYCLES + _least_steps(layer, network, shape) for layer in network.layers)


def _least_steps(layer: Layer, network: Network, shape: ArrayConfig) -> int:
    channels, height, width = network.tensors[layer.output].shape
    rows = ceil_div(prod(layer.source.size), shape.pixels)
    lanes = shape.simd if layer.kind is Kind.MAX_POOL else shape.pe
    if covers_map(layer, network):
        return ceil_div(channels, lanes) * min(prod(layer.source.size), rows + shape.pixels - 1)
    taps = prod(min(size, kernel) for size, kernel in zip(layer.source.size, layer.kernel, strict=True))
    if layer.source.zeros or layer.kind is Kind.BILINEAR:
        taps = 1
    per_group = layer.source.channels // layer.groups
    if network.source in layer.source.names:    # its channels may be there several times
        words = ceil_div(taps * min(per_group, shape.simd), shape.simd)
    else:
        words = taps * (1 if layer.keeps_lanes else ceil_div(per_group, shape.simd))
    return ceil_div(channels, lanes) * ceil_div(height * width, shape.pixels) * words * layer.terms
