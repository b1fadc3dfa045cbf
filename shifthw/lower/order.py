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
from .balance import balance
from .layout import insert_copies
from .network import Kind, Layer, Network, identity_scale, unused
from .view import View

Positions = dict[str, np.ndarray]
Uses = dict[str, list[frozenset[tuple[str, int]]]]


@lru_cache(maxsize=32)
def renumber(network: Network, simd: int) -> tuple[Network, dict[str, tuple[int, ...]]]:
    """The network with the copies that orders of channels need, and each tensor's positions (see TensorLayout)."""
    in_order = _Renumbering(network, simd, {})
    in_order.run()
    spread = _spread(in_order.free, _uses(network), simd)
    tries = [_Renumbering(network, simd, chosen).run() for chosen in ([spread, spread | in_order.wishes]
                                                                      if in_order.wishes else [spread])]
    return min(tries, key=lambda made: len(made[0].layers))


class _Renumbering:
    """One walk over the layers; every tensor gets its positions when it is made.

    chosen  positions of tensors that are free to have any; in order where it says nothing
    """

    def __init__(self, network: Network, simd: int, chosen: Positions) -> None:
        self.network, self.simd, self.chosen = network, simd, chosen
        self.tensors = dict(network.tensors)
        self.positions: Positions = {network.source: np.arange(network.tensors[network.source].channels)}
        self.layers: list[Layer] = []
        self.free: list[Layer] = []
        """Layers whose output channels may be in any order."""
        self.wishes: Positions = {}
        """Positions of residuals that would have spared a copy."""

    def run(self) -> tuple[Network, dict[str, tuple[int, ...]]]:
        for layer in self.network.layers:
            place = self._kept(layer.source) if layer.keeps_lanes else self._free(layer)
            if layer.residual and not self._lies_as(layer.residual, place):
                layer = self._with_copy(layer, place)
            self.positions[layer.output] = place
            self.layers.append(layer)
        network = insert_copies(dataclasses.replace(self.network, layers=tuple(self.layers), tensors=self.tensors))
        for layer in network.layers:    # copies of a stride that a copied residual needs keep the order
            self.positions.setdefault(layer.output, self.positions[layer.source.names[0]])
        plain = {name: () if (place == np.arange(len(place))).all() else tuple(place.tolist())
                 for name, place in self.positions.items()}
        return network, plain

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
        if view.single and any(free.output == view.names[0] for free in self.free):
            self.wishes[view.names[0]] = place
        name = unused(f"{layer.output}.residual", self.tensors)
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
        if wanted is not None:
            return wanted
        self.free.append(layer)
        return self.chosen.get(layer.output, np.arange(layer.outputs))

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


def _spread(free: list[Layer], uses: Uses, simd: int) -> Positions:
    """Positions of the free tensors that spread what each reader takes over the lanes.

    Channels stay at positions below their number; those of a grouped convolution in their channel groups, which read
    different inputs.
    """
    if all(len(set(uses[layer.output])) == 1 for layer in free):
        return {}
    readers = {reader: index for index, reader in enumerate(sorted({r for layer in free for use in uses[layer.output]
                                                                    for r in use}))}
    rows: dict[tuple[str, int, frozenset[tuple[str, int]]], list[int]] = defaultdict(list)
    for layer in free:
        for channel, use in enumerate(uses[layer.output]):
            rows[layer.output, channel // simd if layer.groups > 1 else 0, use].append(channel)
    blocks = {key: index for index, key in enumerate(dict.fromkeys(key[:2] for key in rows))}
    lanes = np.array([np.bincount(np.array(channels) % simd, minlength=simd) for channels in rows.values()])
    lanes = balance(lanes, np.array([blocks[key[:2]] for key in rows]),
                    [frozenset(readers[reader] for reader in key[2]) for key in rows])
    lane = {layer.output: np.zeros(layer.outputs, np.int64) for layer in free}
    for (name, _, _), channels, counts in zip(rows, rows.values(), lanes, strict=True):
        lane[name][channels] = _lanes_of(np.array(channels), counts)
    return {layer.output: _stacked(lane[layer.output], simd, layer.groups > 1) for layer in free}


def _lanes_of(channels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Lanes for channels, so many in each; each in that of its number if there is room."""
    simd, left = len(counts), counts.copy()
    lanes = np.full(len(channels), -1)
    for index, lane in enumerate(channels % simd):
        if left[lane]:
            left[lane] -= 1
            lanes[index] = lane
    lanes[lanes < 0] = np.repeat(np.arange(simd), left)
    return lanes


def _stacked(lanes: np.ndarray, simd: int, in_groups: bool) -> np.ndarray:
    """Positions of channels in these lanes, lower channels in lower channel groups."""
    if in_groups:
        return np.arange(len(lanes)) // simd * simd + lanes
    order = np.argsort(lanes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(lanes, minlength=simd))])
    position = np.zeros(len(lanes), np.int64)
    position[order] = (np.arange(len(lanes)) - starts[lanes[order]]) * simd + lanes[order]
    return position


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
