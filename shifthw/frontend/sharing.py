"""Which quantizers are one: those of maps that are joined, so that what is joined is of one grid."""

import math
from collections.abc import Mapping

from .placement import Place, grids
from .plain_layers import Layer, PlainNetwork


class Sharing:
    """The groups of a network's quantized results that share a quantizer."""

    def __init__(self, network: PlainNetwork) -> None:
        self.network = network
        self.grids = grids(network)
        self.first = {name: name for name, found in self.grids.items() if found == {name}}
        """Of each quantized result, the first of its group."""
        for layer in network.layers:
            if layer.kind == "concat":
                self._unite({layer.name, *layer.inputs})
        self.narrow = {self.first[name] for layer in network.layers for read in _narrow(network, layer)
                       for name in self.grids[read]}

    def _unite(self, results: set[str]) -> None:
        """Give the quantizers of these stored results, the network's input aside, to one group."""
        members = {self.first[name] for result in results for name in self.grids[result]} - {self.network.input}
        earliest = next((name for name in self.first if name in members), None)
        if earliest is not None:
            self.first.update({name: earliest for name, first in self.first.items() if first in members})

    def place(self, name: str, path: str, signs: Mapping[str, bool | None]) -> Place:
        """Of the quantizer of a quantized result and its group; `path` is the layer's."""
        group = {other for other, first in self.first.items() if first == self.first[name]}
        signed = False if all(signs.get(other) is False for other in group) else None
        return Place(path, signed, name == self.network.input, bool(group & set(self.network.outputs)),
                     self.first[name] in self.narrow)


def _narrow(network: PlainNetwork, layer: Layer) -> tuple[str, ...]:
    """The results that a layer can only read with few bits: a table's, and one operand of a product, that of one pixel
    per channel if there is one."""
    if layer.kind == "multiply":
        return (min(reversed(layer.inputs), key=lambda name: math.prod(network.shape_of(name)[2:])),)
    return layer.inputs if layer.kind == "function" else ()
