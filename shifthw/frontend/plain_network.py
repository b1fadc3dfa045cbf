"""The steps of an exported program as a network of the engine's layers, arranged so that the engine can do them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch.nn import functional

from .aten import layers_of
from .aten.steps import refuse
from .exported import Exported, Step
from .plain_layers import Layer, PlainNetwork
from .plain_moves import classified, unspread

SOFTMAX: dict[str, Callable[..., torch.Tensor]] = {
    "softmax": functional.softmax, "_softmax": functional.softmax, "log_softmax": functional.log_softmax,
    "_log_softmax": functional.log_softmax}
"""Left out at the end: they keep the order of the classes."""


def plain_network(name: str, exported: Exported) -> PlainNetwork:
    """The layers of an exported program. Raises UnsupportedModel, with the line, for a step that has no mapping."""
    same: dict[str, str] = {}
    layers: list[Layer] = []
    dropped: list[str] = []
    for step in exported.steps:
        step = replace(step, inputs=tuple(same.get(read, read) for read in step.inputs))
        if step.kind in SOFTMAX:
            _check_softmax(step, exported.outputs)
            dropped.append(step.kind)
            found: list[Layer] = []
        else:
            found = layers_of(step)
        layers += found
        if not found:
            same[step.name] = step.inputs[0]
    outputs = tuple(same.get(output, output) for output in exported.outputs)
    network = PlainNetwork(name, tuple(layers), exported.input, exported.input_shape, outputs, tuple(dropped))
    for arrange in ARRANGEMENTS:
        network = _used(arrange(network))
    _check(network)
    return network


def _check_softmax(step: Step, outputs: Sequence[str]) -> None:
    if list(outputs) != [step.name]:
        refuse(step, "is not the last step of a network with one output; a softmax can only be left out there, where "
                     "it does not change which class is first")
    if (dimension := step.options["dim"] % len(step.shape)) != 1:
        refuse(step, f"is over dimension {dimension}, must be over the classes, dimension 1")


def _joined(network: PlainNetwork) -> PlainNetwork:
    """Layers that are one with the layer that they read: paddings, slices, means, changes of shape."""
    found: dict[str, Layer] = {}
    for layer in network.layers:
        source = found.get(layer.inputs[0])
        while source is not None and (joined := _join(source, layer)) is not None:
            layer, source = joined, found.get(joined.inputs[0])
        found[layer.name] = layer
    return replace(network, layers=tuple(found.values()))


def _join(source: Layer, layer: Layer) -> Layer | None:
    """One layer for `layer` behind `source`; None if it takes two."""
    options = layer.options
    match source.kind, layer.kind:
        case "pad", "conv" | "adder":
            options = {**options, "padding": _added(options["padding"], source.options["sides"])}
        case "pad", "pad":
            options = {"sides": _added(options["sides"], source.options["sides"])}
        case "subsample", "subsample":
            first, second = source.options["stride"], options["stride"]
            options = {"stride": (first[0] * second[0], first[1] * second[1]),
                       "channels": _added(options["channels"], source.options["channels"])}
        case "move", "move":
            options = {"index": source.options["index"].flatten()[options["index"]]}
        case "pixels", "move":      # which counts values alike
            pass
        case ("mean", "mean" | "global_pool") | ("flatten", "flatten") | ("pixels", "global_pool" | "flatten"):
            pass
        case _:
            return None
    return replace(layer, inputs=source.inputs, options=options)


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _clamps_first(network: PlainNetwork) -> PlainNetwork:
    """A clamp right behind a layer of ONLY_MOVES goes before it, which gives the same values: the engine clamps results
    of convolutions, and what is stored then is the clamped map."""
    order = list(network.layers)
    moved = True
    while moved:
        network = replace(network, layers=tuple(order))
        moved = False
        for index, layer in enumerate(network.layers):
            readers = network.readers[layer.name]
            if layer.kind in ONLY_MOVES and network.input not in layer.inputs \
                    and [reader.kind for reader in readers] == ["clamp"] and layer.name not in network.outputs:
                clamp = readers[0]
                names = (layer.name, *(f"{layer.name}.{number}" for number in range(1, len(layer.inputs))))
                order[order.index(clamp)] = replace(layer, name=clamp.name, inputs=names)
                order[index:index + 1] = [replace(clamp, name=name, inputs=(source,), shape=network.shape_of(source))
                                          for name, source in zip(names, layer.inputs, strict=True)]
                moved = True
                break
    return network


ONLY_MOVES = ("max_pool", "flatten", "select", "upsample", "concat")
"""Layers whose results are some of the values that they read."""
ARRANGEMENTS = (_joined, classified, unspread, _clamps_first)


def _used(network: PlainNetwork) -> PlainNetwork:
    """Without the layers that no output depends on."""
    needed = set(network.outputs)
    for layer in reversed(network.layers):
        if layer.name in needed:
            needed.update(layer.inputs)
    return replace(network, layers=tuple(layer for layer in network.layers if layer.name in needed))


def _check(network: PlainNetwork) -> None:
    """Raise UnsupportedModel for layers that only exist joined to others, and for what the engine cannot read."""
    for layer in network.layers:
        shape = "x".join(map(str, layer.shape))
        if layer.kind == "pad":
            refuse(layer.step, "adds zeros around a map; they can only be added right before a convolution")
        if layer.kind == "mean":
            refuse(layer.step, f"is over rows or columns only, and gives {shape}; it must be over both")
        if layer.kind == "subsample" and len(set(layer.options["stride"])) > 1:
            refuse(layer.step, "takes every n-th row or column only; it must take both alike")
        if layer.kind == "move":
            before = "x".join(map(str, network.shape_of(layer.inputs[0])))
            refuse(layer.step, f"makes {shape} of {before} by moving values between pixels or images; only flattening "
                               f"to [N, features] is supported, and any choice and order of whole channels")
        if layer.is_spatial and len(layer.shape) != 4:
            refuse(layer.step, f"gives a tensor of shape {shape}; must be [N, C, H, W] or [N, features]")
        if layer.kind not in ("linear", "adder_linear") and any(_is_flat_map(network, name) for name in layer.inputs):
            refuse(layer.step, "works on a flattened map; only a linear layer or a ReLU can; do it before flattening")


def _is_flat_map(network: PlainNetwork, name: str) -> bool:
    layer = network.by_name.get(name)
    if layer is None or layer.kind != "flatten":
        return False
    shape = network.shape_of(layer.inputs[0])
    return len(shape) == 4 and shape[2] * shape[3] > 1
