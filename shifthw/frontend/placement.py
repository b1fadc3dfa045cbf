"""Where a network needs quantizers: the fewest places such that the engine can store every value that it must.

The engine computes clamp(sum_k factor[k] * tensor[k] + offset) before it rounds: of one tensor, an accumulator
or what is stored, with a factor per channel; or of two, of which the second is stored and has one factor. A product
of two tensors has one factor too. Tables are between two stored tensors, and what is joined is of one grid.
"""

import math
from dataclasses import dataclass, replace

from .plain_layers import Layer, PlainNetwork

WEIGHTED = ("conv", "transposed", "linear", "adder", "adder_linear")
READS_STORED = (*WEIGHTED, "max_pool", "average_pool", "global_pool", "subsample", "select", "concat", "upsample",
                "bilinear", "function", "multiply")
"""Layers whose inputs must be activations, not sums that are still to be rounded."""
KEEPS_STORED = ("max_pool", "flatten", "subsample", "select", "concat", "upsample")
"""Layers that turn activations into activations of the same grid."""


POSITIVE = ("sigmoid", "hardsigmoid")
"""Functions whose values are never below 0; those of all others are where what they read is not."""
NARROW = 8
"""Bits of what a table or a product's second operand reads, at most."""


@dataclass(frozen=True)
class Place:
    """One quantizer: path of the layer before it, whether values can be negative (None: the structure does not tell),
    whether it is the network's input or output, whether it must be narrow: of NARROW bits at most."""

    path: str
    signed: bool | None
    is_input: bool = False
    is_output: bool = False
    is_narrow: bool = False


@dataclass(frozen=True)
class _Value:
    """What a result is: stored, or a sum that is still to be rounded.

    is_kept   stored since its layer keeps the grid of what it reads; it needs no quantizer
    grids     of what is stored: the results with a quantizer whose values it has
    product   whether it is one of two tensors
    tensors   that the sum adds up
    of_stored whether the first of them is stored, not an accumulator
    rescaled  whether it has a factor per channel
    clamped   whether the sum is limited by an activation function
    fan_in    weights per output of the convolution behind it, 0 for none
    """

    stored: bool = False
    is_kept: bool = False
    grids: frozenset[str] = frozenset()
    product: bool = False
    tensors: int = 1
    of_stored: bool = False
    rescaled: bool = False
    clamped: bool = False
    fan_in: int = 0


def quantized_results(network: PlainNetwork) -> frozenset[str]:
    """Names of the results that need a quantizer; the input always does, and the outputs."""
    values = _placed(network)
    return frozenset(name for name, value in values.items() if value.grids == {name})


def grids(network: PlainNetwork) -> dict[str, frozenset[str]]:
    """Of each result that is stored, the quantized results that its values are of; empty for all others."""
    return {name: value.grids for name, value in _placed(network).items()}


def _placed(network: PlainNetwork) -> dict[str, _Value]:
    chosen = {network.input, *network.outputs}
    while True:
        values = _values(network, chosen)
        needed = _demanded(network, values) or _demanded_by_an_addition(network, values)
        if not needed:
            return values
        chosen |= needed


def signs(network: PlainNetwork, input_signed: bool | None) -> dict[str, bool | None]:
    """Whether each result can be below 0; None if the structure of the network does not tell."""
    found: dict[str, bool | None] = {network.input: input_signed}
    for layer in network.layers:
        positive = all(found[name] is False for name in layer.inputs)
        match layer.kind:
            case "clamp":
                positive = positive or layer.options["lo"] >= 0
            case "function":
                positive = positive or layer.options["function"] in POSITIVE
            case "affine":
                positive = positive and all(bool((layer.options[name] >= 0).all()) for name in ("gain", "offset"))
            case "conv" | "transposed" | "linear" | "adder" | "adder_linear" | "batch_norm":
                positive = False
        found[layer.name] = False if positive else None
    return found


def _values(network: PlainNetwork, chosen: set[str]) -> dict[str, _Value]:
    found = {network.input: _Value(stored=True, grids=frozenset({network.input}))}
    for layer in network.layers:
        value = _value(layer, [found[name] for name in layer.inputs], network.input)
        if layer.name in chosen and not value.is_kept:
            value = replace(value, stored=True, grids=frozenset({layer.name}))
        found[layer.name] = value
    return found


def _value(layer: Layer, sources: list[_Value], network_input: str) -> _Value:
    first = sources[0]
    if layer.kind in KEEPS_STORED and all(source.stored for source in sources):
        found = frozenset[str]().union(*(source.grids for source in sources))
        if found == {network_input} or network_input not in found:      # the input has a grid that it shares with none
            return _Value(stored=True, is_kept=True, grids=found)
    if layer.kind in WEIGHTED:
        return _Value(fan_in=_fan_in(layer))
    if layer.kind in READS_STORED:
        return _Value(product=layer.kind == "multiply")
    read = _Value(of_stored=True) if first.stored else first
    match layer.kind:
        case "clamp":
            return replace(read, clamped=True)
        case "add":
            return _Value(tensors=sum(1 if source.stored else source.tensors for source in sources))
        case "batch_norm" | "affine":
            return replace(read, rescaled=read.rescaled or not _is_uniform(layer))
    return read


def _fan_in(layer: Layer) -> int:
    shape = layer.options["weight"].value.shape
    if layer.kind == "transposed":
        return shape[0] // int(layer.options["groups"]) * math.prod(shape[2:])
    return math.prod(shape[1:])


def _is_uniform(layer: Layer) -> bool:
    """Whether a layer has the same factor for all channels."""
    return layer.kind == "affine" and len(layer.options["gain"].unique()) == 1


def _demanded(network: PlainNetwork, values: dict[str, _Value]) -> set[str]:
    """What layers need to be stored, that is not yet."""
    found: set[str] = set()
    for layer in network.layers:
        first = values[layer.inputs[0]]
        demands = layer.kind in READS_STORED
        if layer.kind == "flatten":
            demands = math.prod(network.shape_of(layer.inputs[0])[2:]) > 1
        elif layer.kind in ("batch_norm", "affine"):
            demands = first.clamped or ((first.tensors > 1 or first.product) and not _is_uniform(layer))
        needed = (*layer.inputs, layer.name) if layer.kind in ("function", "concat") else layer.inputs
        if demands:
            found.update(name for name in needed if not values[name].stored)
    return found


def _demanded_by_an_addition(network: PlainNetwork, values: dict[str, _Value]) -> set[str]:
    """What the first addition that the engine cannot do yet needs."""
    for layer in network.layers:
        sums = [name for name in dict.fromkeys(layer.inputs) if layer.kind == "add" and not values[name].stored]
        blocked = {name for name in sums if values[name].clamped or values[name].tensors > 1 or values[name].product
                   or (values[name].of_stored and values[name].rescaled)}
        if blocked:
            return blocked
        accumulators = [name for name in sums if not values[name].of_stored]
        if len(accumulators) > 1:       # the shorter sum is the shortcut, and is stored
            return {min(accumulators, key=lambda name: values[name].fan_in)}
    return set()
