"""Lower bounds of what a network takes on an array, without layouts: what the search need not look at."""

from math import prod

import numpy as np

from ..arch import ArrayConfig
from ..isa import PER_INSTRUCTION_CYCLES
from ..tensor_layout import ceil_div
from .allocate import lifetimes
from .layout import covers_map, loop_size
from .network import Kind, Layer, Network
from .taps import axis_of, parts_of


class Bounds:
    """What a network takes at least, on arrays of any shape.

    network  as `prepare` leaves it
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._spans = lifetimes(network)
        self._taps = [_met_taps(layer, network) for layer in network.layers]
        self._parts = [len(parts_of(layer.source, True).channel) // layer.groups if layer.groups == 1
                       else layer.source.channels // layer.groups for layer in network.layers]

    def cycles(self, shape: ArrayConfig) -> int:
        """Cycles per batch."""
        return sum(PER_INSTRUCTION_CYCLES + self._steps(index, shape) for index in range(len(self.network.layers)))

    def rows(self, shape: ArrayConfig) -> int:
        """Rows of feature memory: of the tensors that are there at a time."""
        rows = {name: ceil_div(tensor.channels, shape.simd) * ceil_div(tensor.height * tensor.width, shape.pixels)
                for name, tensor in self.network.tensors.items()}
        return max(sum(rows[name] for name, (first, last) in self._spans.items() if first <= index <= last)
                   for index in range(len(self.network.layers)))

    def weight_words(self, shape: ArrayConfig) -> int:
        """Words of weight memory, of convolutions' weights; what several layers may share is left out."""
        weights = sum(layer.outputs * self._parts[index] * self._taps[index] * layer.terms
                      for index, layer in enumerate(self.network.layers) if layer.kind is Kind.CONV)
        return ceil_div(weights, shape.simd * shape.pe)

    def _steps(self, index: int, shape: ArrayConfig) -> int:
        layer, network, taps = self.network.layers[index], self.network, self._taps[index]
        channels, height, width = network.tensors[layer.output].shape
        rows = ceil_div(prod(layer.source.size), shape.pixels)
        lanes = shape.simd if layer.kind is Kind.MAX_POOL else shape.pe
        if covers_map(layer, network):
            return ceil_div(channels, lanes) * min(prod(layer.source.size), rows + shape.pixels - 1)
        if network.source in layer.source.names:    # its channels may be there several times
            words = ceil_div(taps * min(self._parts[index], shape.simd), shape.simd)
        else:
            words = taps * (1 if layer.keeps_lanes else ceil_div(self._parts[index], shape.simd))
        return ceil_div(channels, lanes) * ceil_div(height * width, shape.pixels) * words * layer.terms


def _met_taps(layer: Layer, network: Network) -> int:
    """Taps of which each meets a pixel somewhere, at least, whatever part of the source and phase of the output."""
    view, displacement = layer.source, parts_of(layer.source, True).displacement
    if view.lines:
        return int((np.abs(displacement) < prod(view.map)).all())
    if view.zeros or layer.kind is Kind.BILINEAR:
        return 1
    return prod(_met_along(layer, axis, loop_size(layer, network)[axis], np.unique(displacement[:, axis]))
                for axis in (0, 1))


def _met_along(layer: Layer, axis: int, length: int, displacement: np.ndarray) -> int:
    taps = (axis_of(layer, axis, layer.source.map[axis], length, phase, displacement)
            for phase in range(layer.spread[axis]))
    return min(int((each.lo < each.hi).sum(axis=0).min()) for each in taps)
