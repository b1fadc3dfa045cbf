"""Layouts: phase planes, pitch and replication of every stored tensor; which layers need copies."""

import dataclasses
from functools import lru_cache

import numpy as np

from ..tensor_layout import TensorLayout, ceil_div
from .fuse import Kind, Layer, Network, identity_scale


def covers_map(layer: Layer, network: Network) -> bool:
    """Whether a sum pool's one window is the whole map, without padding."""
    _, height, width = network.tensors[layer.source].shape
    return (layer.kind is Kind.SUM_POOL and layer.kernel == (height, width) and layer.padding == (0, 0)
            and network.tensors[layer.output].shape[1:] == (1, 1))


def iteration_tiles(layer: Layer, network: Network, pitch: int, pixels: int) -> int:
    """Tiles that cover the output map when its lines are `pitch` apart."""
    _, height, width = network.tensors[layer.output].shape
    return ceil_div((height - 1) * pitch + width, pixels)


def insert_copies(network: Network) -> Network:
    """Where readers of a tensor disagree on its phase planes, copy it once per stride other than 1."""
    layers: list[Layer] = []
    tensors = dict(network.tensors)
    renamed: dict[tuple[str, tuple[int, int]], str] = {}

    def copies(tensor: str) -> None:
        strides = dict.fromkeys(stride for layer in network.readers(tensor) for stride in _read_strides(layer, tensor))
        if len(strides) <= 1:
            return
        for stride in strides:
            if stride != (1, 1):
                name = f"{tensor}.stride{stride[0]}x{stride[1]}"
                tensors[name] = tensors[tensor]
                renamed[tensor, stride] = name
                layers.append(Layer(name, Kind.IDENTITY, tensor, name, scale=identity_scale(tensors[tensor])))

    copies(network.source)
    for layer in network.layers:
        source = renamed.get((layer.source, layer.stride), layer.source)
        layers.append(dataclasses.replace(layer, source=source))
        copies(layer.output)
    return dataclasses.replace(network, layers=tuple(layers), tensors=tensors)


def _read_strides(layer: Layer, tensor: str) -> list[tuple[int, int]]:
    """The phase planes that `layer` needs `tensor` in; residuals are read with stride 1."""
    return [layer.stride] * (layer.source == tensor) + [(1, 1)] * (layer.residual == tensor)


def lay_out(network: Network, pixels: int, simd: int) -> dict[str, TensorLayout]:
    """Layouts (rows not yet placed) of all tensors of a network whose copies are inserted.

    A pitch is the least that holds the plane and the output lines of the layers that read it, that
    equals the pitch of a residual added in the same loop (maps of one line excepted), and that lets
    every write beat reach different banks.
    """
    strides = {network.source: (1, 1), **{layer.output: (1, 1) for layer in network.layers}}
    for layer in network.layers:
        strides[layer.source] = layer.stride
    pitch = {name: ceil_div(network.tensors[name].width, stride[1]) for name, stride in strides.items()}
    while _widen(network, pitch, strides, pixels):
        pass
    copies = _input_copies(network, simd)
    return {name: TensorLayout(name=name, shape=network.tensors[name].shape, dtype=network.tensors[name].dtype,
                               pixels=pixels, simd=simd, stride=strides[name], pitch=pitch[name],
                               copies=copies if name == network.source else 1) for name in strides}


def _input_copies(network: Network, simd: int) -> int:
    """How often a narrow network input is replicated over the channel lanes."""
    channels = network.tensors[network.source].channels
    first = network.layers[0]
    weighted = first.kind in (Kind.CONV, Kind.ADDER)
    packed = weighted and network.readers(network.source) == (first,) and not first.residual
    return simd // channels if packed and channels <= simd // 2 else 1


def _widen(network: Network, pitch: dict[str, int], strides: dict[str, tuple[int, int]], pixels: int) -> bool:
    """One round of raising pitches; whether anything changed."""
    before = dict(pitch)
    for layer in network.layers:
        _, height, width = network.tensors[layer.output].shape
        if covers_map(layer, network):
            continue
        need = max(pitch[layer.source], width)
        residual = layer.residual if height > 1 else None
        if residual:
            need = max(need, pitch[residual])
        while _collides(need, height, width, pitch[layer.output], strides[layer.output], pixels):
            need += 1
        pitch[layer.source] = need
        if residual:
            pitch[residual] = need
    return pitch != before


@lru_cache(maxsize=4096)
def _collides(pitch: int, height: int, width: int, out_pitch: int, stride: tuple[int, int], pixels: int) -> bool:
    """Whether some write beat would address one bank twice."""
    if stride == (1, 1) and out_pitch <= pitch or pitch >= width + pixels:
        return False
    n = np.arange(ceil_div((height - 1) * pitch + width, pixels) * pixels).reshape(-1, pixels)
    y, x = n // pitch, n % pitch
    bank = ((y // stride[0]) * out_pitch + x // stride[1]) % pixels
    key = ((y % stride[0]) * stride[1] + x % stride[1]) * pixels + bank
    key = np.where((x < width) & (y < height), key, -1 - np.arange(pixels))
    key.sort(axis=1)
    return bool((key[:, 1:] == key[:, :-1]).any())
