"""Layouts: phase planes, pitch and replication of every stored tensor; which layers need copies."""

import dataclasses
from functools import lru_cache
from math import gcd

import numpy as np

from ..tensor_layout import TensorLayout, ceil_div
from .network import Kind, Layer, Network, copy_layer, unused
from .view import View

Size = tuple[int, int]


def covers_map(layer: Layer, network: Network) -> bool:
    """Whether a sum pool's one window is the whole map, without padding."""
    return (layer.kind is Kind.SUM_POOL and layer.kernel == layer.source.size and layer.padding == (0, 0)
            and network.tensors[layer.output].shape[1:] == (1, 1))


def loop_size(layer: Layer, network: Network) -> Size:
    """Height and width of the map that the tiles of a layer, or of one of its phases, cover."""
    _, height, width = network.tensors[layer.output].shape
    return ceil_div(height, layer.spread[0]), ceil_div(width, layer.spread[1])


def tiles_over(size: Size, pitch: int, pixels: int) -> int:
    """Tiles that cover a map when its lines are `pitch` apart."""
    return ceil_div((size[0] - 1) * pitch + size[1], pixels)


# -- copies ------------------------------------------------------------------------------------
def insert_copies(network: Network) -> Network:
    """Where readers of a tensor disagree on its phase planes, copy it once per stride other than 1."""
    layers: list[Layer] = []
    tensors = dict(network.tensors)
    renamed: dict[tuple[str, Size], str] = {}

    def copies(tensor: str, spread: Size) -> None:
        strides = dict.fromkeys(stride for layer in network.readers(tensor) for stride in read_strides(layer, tensor))
        if len(strides) <= 1 and (spread == (1, 1) or set(strides) <= {(1, 1), spread}):
            return
        for stride in strides:
            if stride != (1, 1):
                name = unused(f"{tensor}.stride{stride[0]}x{stride[1]}", tensors)
                tensors[name] = tensors[tensor]
                renamed[tensor, stride] = name
                layers.append(copy_layer(name, View.of(tensor, tensors[tensor]), tensors[tensor],
                                         f"{tensor} is read with several strides"))

    copies(network.source, (1, 1))
    for layer in network.layers:
        source = layer.source.renamed({name: renamed.get((name, layer.read_stride), name)
                                       for name in layer.source.names})
        residual = layer.residual
        if residual and not layer.broadcast:
            residual = residual.renamed({name: renamed.get((name, layer.spread), name) for name in residual.names})
        layers.append(dataclasses.replace(layer, source=source, residual=residual))
        copies(layer.output, layer.spread)
    return dataclasses.replace(network, layers=tuple(layers), tensors=tensors)


def read_strides(layer: Layer, tensor: str) -> list[Size]:
    """The phase planes that `layer` needs `tensor` in."""
    residual = layer.residual is not None and tensor in layer.residual.names and not layer.broadcast
    return [layer.read_stride] * (tensor in layer.source.names) + [layer.spread] * residual


# -- phases ------------------------------------------------------------------------------------
def take_phases(network: Network) -> Network:
    """Where readers of tensors disagree on their phase planes, those with the smaller stride make their outputs in
    phases, if that asks nothing of other tensors: a phase of a stride-1 layer reads every other pixel."""
    for name in network.tensors:
        together = _read_together(name, network)
        readers = [layer for layer in network.layers if together & set(layer.reads)]
        strides = {stride for layer in readers for each in together for stride in read_strides(layer, each)}
        widest = max((stride[0] for stride in strides), default=1), max((stride[1] for stride in strides), default=1)
        if len(strides) > 1 and all(_can_follow(layer, together, widest, network) for layer in readers):
            network = dataclasses.replace(network, layers=tuple(
                _following(layer, widest) if layer in readers and _wanted(layer, together) != {widest} else layer
                for layer in network.layers))
    return network


def _wanted(layer: Layer, together: frozenset[str]) -> set[Size]:
    """The strides that a layer reads some of these tensors with."""
    return {stride for name in together for stride in read_strides(layer, name)}


def _read_together(name: str, network: Network) -> frozenset[str]:
    """The tensor and those that share their layout with it: read as parts of one view."""
    together, before = frozenset((name,)), frozenset[str]()
    while together != before:
        before = together
        together = together.union(*(layer.source.names for layer in network.layers
                                    if together & set(layer.source.names)))
    return together


def _can_follow(layer: Layer, together: frozenset[str], stride: Size, network: Network) -> bool:
    """Whether a reader of some of these tensors can read them in phase planes of this stride."""
    wanted = _wanted(layer, together)
    if wanted == {stride}:
        return True
    divides = all(wide % own == 0 for wide, own in zip(stride, layer.read_stride, strict=True))
    plain = (layer.kind is not Kind.BILINEAR and layer.source.factor == (1, 1) == layer.phases
             and not layer.source.lines and not covers_map(layer, network))
    beside = set(layer.reads) - together
    alone = all(network.readers(other) == (layer,) and other != network.source for other in beside)
    as_residual = layer.broadcast and not together & set(layer.source.names)
    return divides and plain and alone and wanted == {layer.read_stride} and not as_residual


def _following(layer: Layer, stride: Size) -> Layer:
    (wide_y, wide_x), (own_y, own_x) = stride, layer.read_stride
    return dataclasses.replace(layer, phases=(wide_y // own_y, wide_x // own_x))


# -- layouts -----------------------------------------------------------------------------------
def lay_out(network: Network, pixels: int, simd: int,
            positions: dict[str, tuple[int, ...]] | None = None) -> dict[str, TensorLayout]:
    """Layouts (rows not yet placed) of all tensors of a network whose copies are inserted.

    A pitch is the least that holds the plane and the output lines of the layers that read it, that
    equals the pitch of whatever is read in the same loop (residuals of one line excepted), and that lets
    every write beat reach different banks. positions: see TensorLayout, by tensor; else in order.
    """
    strides = {network.source: (1, 1), **{layer.output: (1, 1) for layer in network.layers}}
    for layer in network.layers:
        for name in layer.reads:
            for stride in read_strides(layer, name):
                strides[name] = stride
    pitch = {name: ceil_div(network.tensors[name].width, stride[1]) for name, stride in strides.items()}
    while _widen(network, pitch, strides, pixels):
        pass
    copies = _input_copies(network, simd)
    return {name: TensorLayout(name=name, shape=network.tensors[name].shape, dtype=network.tensors[name].dtype,
                               pixels=pixels, simd=simd, stride=strides[name], pitch=pitch[name],
                               copies=copies if name == network.source else 1,
                               positions=(positions or {}).get(name, ())) for name in strides}


def _input_copies(network: Network, simd: int) -> int:
    """How often a narrow network input is replicated over the channel lanes."""
    channels = network.tensors[network.source].channels
    first = network.layers[0]
    weighted = first.kind in (Kind.CONV, Kind.ADDER) and first.source.single and first.source.channels == channels
    packed = weighted and network.readers(network.source) == (first,) and not first.residual
    return simd // channels if packed and channels <= simd // 2 else 1


def _widen(network: Network, pitch: dict[str, int], strides: dict[str, Size], pixels: int) -> bool:
    """One round of raising pitches; whether anything changed."""
    before = dict(pitch)
    for layer in network.layers:
        if covers_map(layer, network):
            continue
        height, width = loop_size(layer, network)
        together = list(layer.source.names)
        if layer.residual and not layer.broadcast and height > 1:
            together += layer.residual.names
        need = max(width, *(pitch[name] for name in together))
        while _collides(need, (height, width), pitch[layer.output], strides[layer.output], pixels, layer.spread):
            need += 1
        pitch.update(dict.fromkeys(together, need))
    return pitch != before


@lru_cache(maxsize=4096)
def _collides(pitch: int, size: Size, out_pitch: int, stride: Size, pixels: int, spread: Size) -> bool:
    """Whether some write beat would address one bank twice."""
    if stride == spread == (1, 1) and out_pitch <= pitch or pitch >= size[1] + pixels:
        return False
    n = np.arange(tiles_over(size, pitch, pixels) * pixels).reshape(-1, pixels)
    y, x = n // pitch, n % pitch
    beat, index = write_places(y, x, stride, out_pitch, pixels, spread)
    key = beat * pixels + index % pixels
    key = np.where((x < size[1]) & (y < size[0]), key, -1 - np.arange(pixels))
    key.sort(axis=1)
    return bool((key[:, 1:] == key[:, :-1]).any())


def write_places(y: np.ndarray, x: np.ndarray, stride: Size, pitch: int, pixels: int,
                 spread: Size) -> tuple[np.ndarray, np.ndarray]:
    """Beat and pixel index, in its plane, of results at (y, x) of the loop's map; pixel lane along the last axis.

    Phases of an enlarged map go into phase planes of their own, or `spread` pixels apart: then lanes whose banks
    meet take turns. The phase's own place is not in the index.
    """
    if spread == (1, 1):
        return (y % stride[0]) * stride[1] + x % stride[1], y // stride[0] * pitch + x // stride[1]
    if stride == spread:
        return np.zeros_like(x), y * pitch + x
    lanes = np.arange(pixels) // (pixels // gcd(spread[1], pixels))
    return np.broadcast_to(lanes, x.shape), y * spread[0] * pitch + x * spread[1]


def write_beats(stride: Size, pixels: int, spread: Size) -> int:
    """Beats of a tile's results."""
    if spread == (1, 1):
        return stride[0] * stride[1]
    return 1 if stride == spread else gcd(spread[1], pixels)
