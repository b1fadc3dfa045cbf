"""Where a network needs quantizers: the fewest places such that the engine can store every value that it must."""

import math
from dataclasses import dataclass

from .plain_layers import PlainNetwork

READS_STORED = ("conv", "linear", "max_pool", "average_pool", "global_pool", "subsample")
"""Layers whose input must be an activation, not a sum that is still to be rounded."""
KEEPS_STORED = ("max_pool", "flatten", "subsample")
"""Layers that turn activations into activations of the same grid."""


@dataclass(frozen=True)
class Place:
    """One quantizer: path of the layer before it, whether values can be negative (None: the structure does not tell),
    whether it is the network's input or output."""

    path: str
    signed: bool | None
    is_input: bool = False
    is_output: bool = False


def quantized_results(network: PlainNetwork) -> frozenset[str]:
    """Names of the results that need a quantizer; the input and the outputs always do."""
    chosen = {network.input, *network.outputs}
    while True:
        grown = chosen | _demanded(network, chosen)
        if grown == chosen:
            grown = chosen | _of_an_addition(network, chosen)
        if grown == chosen:
            return frozenset(name for name in chosen if not _is_kept(network, name, chosen))
        chosen = grown


def is_negative_possible(network: PlainNetwork, name: str) -> bool | None:
    """Whether a result can be below 0; None if the structure of the network does not tell."""
    layer = network.by_name.get(name)
    if layer is None:
        return None
    if layer.kind == "clamp":
        return False if layer.options["lo"] >= 0 else None
    if layer.kind in ("add", "max_pool", "average_pool", "global_pool", "flatten", "subsample"):
        known = [is_negative_possible(network, source) for source in layer.inputs]
        return False if all(value is False for value in known) else None
    return None


def _demanded(network: PlainNetwork, chosen: set[str]) -> set[str]:
    found = set()
    for layer in network.layers:
        source = network.by_name.get(layer.inputs[0])
        spatial_flatten = layer.kind == "flatten" and source is not None and math.prod(source.step.shape[2:]) > 1
        if layer.kind in READS_STORED or spatial_flatten:
            found |= {name for name in layer.inputs if not _stored(network, name, chosen)}
        elif layer.kind == "batch_norm" and _clamped(network, layer.inputs[0], chosen):
            found.add(layer.inputs[0])
    return found


def _of_an_addition(network: PlainNetwork, chosen: set[str]) -> set[str]:
    """What the first addition that the engine cannot do yet needs: at most one operand may be a sum, of one tensor."""
    for layer in network.layers:
        if layer.kind != "add":
            continue
        sums = [name for name in layer.inputs if not _stored(network, name, chosen)]
        blocked = {name for name in sums if _clamped(network, name, chosen) or _tensors(network, name, chosen) > 1}
        if blocked:
            return blocked
        if len(set(sums)) == 2:
            return {min(sums, key=lambda name: (_fan_in(network, name), network_index(network, name)))}
    return set()


def network_index(network: PlainNetwork, name: str) -> int:
    """Position of a result; -1 for the input."""
    return next((index for index, layer in enumerate(network.layers) if layer.name == name), -1)


def _fan_in(network: PlainNetwork, name: str) -> int:
    """Weights per output of the convolution behind a sum: the shorter sum is the shortcut, and is stored."""
    layer = network.by_name.get(name)
    while layer is not None and layer.kind not in ("conv", "linear"):
        layer = network.by_name.get(layer.inputs[0])
    return 0 if layer is None else int(math.prod(layer.options["weight"].value.shape[1:]))


def _stored(network: PlainNetwork, name: str, chosen: set[str]) -> bool:
    return name in chosen or _is_kept(network, name, chosen)


def _is_kept(network: PlainNetwork, name: str, chosen: set[str]) -> bool:
    """Whether a result is stored since its layer keeps the grid of a stored input."""
    layer = network.by_name.get(name)
    return layer is not None and layer.kind in KEEPS_STORED and _stored(network, layer.inputs[0], chosen)


def _clamped(network: PlainNetwork, name: str, chosen: set[str]) -> bool:
    layer = network.by_name.get(name)
    if layer is None or _stored(network, name, chosen):
        return False
    return layer.kind == "clamp" or (layer.kind in ("flatten", "batch_norm") and
                                     _clamped(network, layer.inputs[0], chosen))


def _tensors(network: PlainNetwork, name: str, chosen: set[str]) -> int:
    """How many stored tensors or accumulators a sum adds up."""
    layer = network.by_name.get(name)
    if layer is None or _stored(network, name, chosen):
        return 1
    if layer.kind == "add":
        return sum(_tensors(network, source, chosen) for source in layer.inputs)
    return _tensors(network, layer.inputs[0], chosen) if layer.kind in ("batch_norm", "clamp", "flatten") else 1
