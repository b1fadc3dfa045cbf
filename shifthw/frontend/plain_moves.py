"""Moves of values, once those in a row are one: channels that are chosen, or pixels that are repeated."""

import math
from dataclasses import replace

import torch

from .plain_layers import Layer, PlainNetwork
from .rearranged import places, whole_channels


def classified(network: PlainNetwork) -> PlainNetwork:
    """Without moves that leave every value where it is; those of whole channels are a select, those that repeat one
    pixel an upsample. All others stay moves."""
    same: dict[str, str] = {}
    layers = []
    for layer in network.layers:
        layer = replace(layer, inputs=tuple(same.get(name, name) for name in layer.inputs))
        before = network.shape_of(layer.inputs[0])
        if layer.kind == "move" and _stays(layer, before):
            same[layer.name] = layer.inputs[0]
        else:
            layers.append(_classified(layer, before) if layer.kind == "move" else layer)
    return replace(network, layers=tuple(layers), outputs=tuple(same.get(name, name) for name in network.outputs))


def _stays(move: Layer, before: tuple[int, ...]) -> bool:
    index: torch.Tensor = move.options["index"]
    return move.shape == before and torch.equal(index.flatten(), torch.arange(index.numel()))


def _classified(move: Layer, before: tuple[int, ...]) -> Layer:
    """A move of a tensor of shape `before` as what it is."""
    index, shape = move.options["index"], move.shape
    if len(shape) not in (2, 4) or len(before) != len(shape) or before[0] != shape[0]:
        return move
    channels = whole_channels(index.reshape(shape), before)
    if channels is not None:
        return replace(move, kind="select", options={"channels": channels})
    if math.prod(before[2:]) == 1 and before[:2] == shape[:2] and torch.equal(places(before).expand(shape), index):
        return replace(move, kind="upsample", options={"factor": shape[2:]})
    return move


def unspread(network: PlainNetwork) -> PlainNetwork:
    """A product reads one pixel per channel itself where it would read it repeated over a map: the engine does that."""
    layers = [replace(layer, inputs=_unspread(network, layer)) if layer.kind == "multiply" else layer
              for layer in network.layers]
    return replace(network, layers=tuple(layers))


def _unspread(network: PlainNetwork, product: Layer) -> tuple[str, ...]:
    names = list(product.inputs)
    for index, name in enumerate(names):
        source, other = network.by_name.get(name), names[1 - index]
        if source is not None and source.kind == "upsample" and network.shape_of(other) == product.shape \
                and math.prod(network.shape_of(source.inputs[0])[2:]) == 1:
            names[index] = source.inputs[0]
    return tuple(names)
