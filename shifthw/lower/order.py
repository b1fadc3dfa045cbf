"""Channel renumbering: at which positions a layer leaves its output channels, so that nobody has to move them.

A convolution may make its channels in any order, and may read channels from any lanes, one of each lane a step.
Other layers make a channel in the lane that it is read from, and a residual lies in the lanes of the result that it
is added to. Only where these truly conflict is a residual copied.
"""

import dataclasses
from collections import defaultdict
from functools import lru_cache

import numpy as np

from ..ir.types import ShiftWeight
from .network import Kind, Layer, Network, identity_scale
from .view import View

Positions = dict[str, np.ndarray]
Uses = dict[str, list[frozenset[tuple[str, int]]]]


@lru_cache(maxsize=32)
def renumber(network: Network, simd: int) -> tuple[Network, dict[str, tuple[int, ...]]]:
    """The network with the copies that orders of channels need, and each tensor's positions (see TensorLayout)."""
    return _Renumbering(network, simd).run()


class _Renumbering:
    """One walk over the layers; every tensor gets its positions when it is made."""

    def __init__(self, network: Network, simd: int) -> None:
        self.network, self.simd = network, simd
        self.tensors = dict(network.tensors)
        self.positions: Positions = {network.source: np.arange(network.tensors[network.source].channels)}
        self.uses = _uses(network)
        self.loads: dict[tuple[str, int], np.ndarray] = defaultdict(lambda: np.zeros(simd, np.int64))
        self.layers: list[Layer] = []

    def run(self) -> tuple[Network, dict[str, tuple[int, ...]]]:
        for layer in self.network.layers:
            place = self._kept(layer.source) if layer.keeps_lanes else self._free(layer)
            if layer.residual and not self._lies_as(layer.residual, place):
                layer = self._with_copy(layer, place)
            self.positions[layer.output] = place
            self.layers.append(layer)
        plain = {name: () if (place == np.arange(len(place))).all() else tuple(place.tolist())
                 for name, place in self.positions.items()}
        return dataclasses.replace(self.network, layers=tuple(self.layers), tensors=self.tensors), plain

    # -- given orders --------------------------------------------------------------------------
    def _places(self, view: View) -> np.ndarray:
        """Position of each channel of a view in its tensor."""
        place = np.zeros(view.channels, np.int64)
        for name, channels in view.cells().items():
            place[channels] = self.positions[name][view.channel[channels]]
        return place

    def _blocks(self, view: View) -> np.ndarray:
        """int64[channels, 3]: how often the channel was seen before, its tensor, its channel group there."""
        place = self._places(view)
        seen: dict[tuple[int, int], int] = defaultdict(int)
        blocks = np.stack([np.zeros_like(place), view.tensor, place // self.simd], axis=1)
        for i, cell in enumerate(zip(view.tensor.tolist(), place.tolist(), strict=True)):
            blocks[i, 0] = seen[cell]
            seen[cell] += 1
        return blocks

    def _kept(self, view: View) -> np.ndarray:
        """Positions that keep every channel of a view in its lane, group by group."""
        _, block = np.unique(self._blocks(view), axis=0, return_inverse=True)
        return np.asarray(block.reshape(-1) * self.simd + self._places(view) % self.simd)

    def _lies_as(self, residual: View, place: np.ndarray) -> bool:
        """Whether each channel group of a result finds its residual in one channel group, lane by lane."""
        there = self._places(residual)
        if (there % self.simd != place % self.simd).any():
            return False
        pairs = np.stack([place // self.simd, residual.tensor, there // self.simd], axis=1)
        return len(np.unique(pairs, axis=0)) == len(np.unique(pairs[:, 0]))

    def _with_copy(self, layer: Layer, place: np.ndarray) -> Layer:
        """The layer with its residual brought into the order `place` by a convolution that copies."""
        assert layer.residual is not None
        view = layer.residual
        name = f"{layer.output}.residual"
        tensor = dataclasses.replace(self.tensors[view.names[0]], shape=(view.channels, *view.size))
        self.tensors[name], self.positions[name] = tensor, place
        sign = np.eye(view.channels, dtype=np.int8)[None, :, :, None, None]
        self.layers.append(Layer(name, Kind.CONV, view, name, weight=ShiftWeight(sign, np.zeros_like(sign)),
                                 scale=identity_scale(tensor),
                                 copy=f"{layer.name} and its residual have channels in different lanes"))
        return dataclasses.replace(layer, residual=View.of(name, tensor))

    # -- free orders ---------------------------------------------------------------------------
    def _free(self, layer: Layer) -> np.ndarray:
        """Positions for the output of a convolution."""
        if layer.residual:
            return self._kept(layer.residual)
        wanted = self._wanted(layer.output)
        return self._balanced(layer) if wanted is None else wanted

    def _wanted(self, name: str) -> np.ndarray | None:
        """Positions in which `name` must be if it is added to, or multiplied with, what is there already."""
        for reader in self.network.readers(name):
            if not reader.keeps_lanes:
                continue
            other = reader.residual if name in reader.source.names else reader.source
            mine = reader.source if name in reader.source.names else reader.residual
            if mine is None or not mine.single:
                continue
            if other and all(tensor in self.positions for tensor in other.names):
                return self._kept(other)
            if other is None and (wanted := self._wanted(reader.output)) is not None:
                return wanted
        return None

    def _balanced(self, layer: Layer) -> np.ndarray:
        """In order, unless readers take different channels: then each finds them spread over the lanes.

        The outputs of a grouped convolution stay in their channel groups, which read different inputs.
        """
        uses, simd = self.uses[layer.output], self.simd
        count = len(uses)
        if len(set(uses)) == 1:
            for use in uses[0]:
                self.loads[use] += np.bincount(np.arange(count) % simd, minlength=simd)
            return np.arange(count)
        place = np.zeros(count, np.int64)
        blocks = [range(first, min(first + simd, count)) for first in range(0, count, simd)]
        for block in blocks if layer.groups > 1 else [range(count)]:
            self._spread(block, uses, place)
        return place

    def _spread(self, block: range, uses: list[frozenset[tuple[str, int]]], place: np.ndarray) -> None:
        """Positions of the channels of a block within it: of every reader, each lane gets as few as can be."""
        simd = self.simd
        room = np.bincount(np.arange(len(block)) % simd, minlength=simd)
        taken = np.zeros(simd, np.int64)
        classes: dict[frozenset[tuple[str, int]], list[int]] = defaultdict(list)
        for channel in block:
            classes[uses[channel]].append(channel)
        for use, channels in classes.items():
            for channel in channels:
                load = np.max([self.loads[key] for key in use], axis=0) if use else taken
                lane = int(np.lexsort((taken, load, taken >= room))[0])
                place[channel] = block.start + taken[lane] * simd + lane
                taken[lane] += 1
                for key in use:
                    self.loads[key][lane] += 1


def _uses(network: Network) -> Uses:
    """Of every channel of every tensor, the convolutions and their groups that read it in the end."""
    uses: dict[str, list[set[tuple[str, int]]]] = {
        name: [set() for _ in range(tensor.channels)] for name, tensor in network.tensors.items()}
    for layer in reversed(network.layers):
        after = uses[layer.output]
        per_group = layer.source.channels // layer.groups
        for index, cell in enumerate(_cells(layer.source)):
            uses[cell[0]][cell[1]] |= after[index] if layer.keeps_lanes else {(layer.output, index // per_group)}
        for index, cell in enumerate(_cells(layer.residual) if layer.residual else ()):
            uses[cell[0]][cell[1]] |= after[index]
    return {name: [frozenset(use) for use in channels] for name, channels in uses.items()}


def _cells(view: View) -> list[tuple[str, int]]:
    return [(view.names[tensor], channel) for tensor, channel in zip(view.tensor.tolist(), view.channel.tolist(),
                                                                    strict=True)]
