"""Steps of an exported program as the layers that the engine has: one kind per operation, patterns joined."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..errors import UnsupportedModel
from .exported import Exported, Step, Stored

SUPPORTED = ("Conv2d, Linear, BatchNorm1d, BatchNorm2d, ReLU, ReLU6, Hardtanh, clamp, + of two tensors, MaxPool2d, "
             "AvgPool2d, global average pooling, flatten, zero padding, Dropout, a stride-n slice with zero channels "
             "added, a softmax at the end")


@dataclass(frozen=True, eq=False)
class Layer:
    """One operation of the engine: kind is conv, linear, batch_norm, clamp, add, max_pool, average_pool, global_pool,
    flatten, pad or subsample; `inputs` are names of layers."""

    name: str
    kind: str
    step: Step
    inputs: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PlainNetwork:
    """Layers in order; `dropped` are the steps at the end that do not change the order of the outputs."""

    layers: tuple[Layer, ...]
    input: str
    outputs: tuple[str, ...]
    dropped: tuple[str, ...]

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        """The layers by the names of their results."""
        return {layer.name: layer for layer in self.layers}

    def readers(self, name: str) -> tuple[Layer, ...]:
        """The layers that read the result `name`."""
        return tuple(layer for layer in self.layers if name in layer.inputs)


def plain_network(exported: Exported) -> PlainNetwork:
    """The layers of an exported program. Raises UnsupportedModel, with the line, for a step that is none."""
    renamed: dict[str, str] = {}
    layers: dict[str, Layer] = {}
    dropped: list[str] = []
    outputs = list(exported.outputs)
    for step in exported.steps:
        inputs = tuple(renamed.get(name, name) for name in step.inputs)
        if step.kind in NOTHING:
            renamed[step.name] = inputs[0]
        elif step.kind in LAST:
            if outputs != [step.name]:
                raise UnsupportedModel(f"{step.where}: is not the network's only output; a softmax can only be left "
                                       f"out at the end, where it does not change which class is first")
            renamed[step.name] = inputs[0]
            dropped.append(step.kind)
        else:
            layers[step.name] = _layer(step, inputs, layers)
    network = PlainNetwork(tuple(layers.values()), exported.input,
                           tuple(renamed.get(name, name) for name in outputs), tuple(dropped))
    return _relu_before_max_pool(_padding_joined(network))


NOTHING = ("dropout", "feature_dropout", "clone", "contiguous", "detach", "alias", "lift_fresh_copy", "identity",
           "_to_copy", "to")
"""Steps that leave every value as it is, in evaluation mode."""
LAST = ("softmax", "log_softmax", "_softmax", "_log_softmax")


def _layer(step: Step, inputs: tuple[str, ...], before: dict[str, Layer]) -> Layer:
    handler = HANDLERS.get(step.kind)
    if handler is None:
        raise UnsupportedModel(f"{step.where}: is not supported; supported are {SUPPORTED}")
    kind, options = handler(step)
    if kind == "subsample" and inputs[0] in before and before[inputs[0]].kind == "subsample":
        first = before[inputs[0]]
        inputs = first.inputs
        options = {"stride": tuple(a * b for a, b in zip(options["stride"], first.options["stride"], strict=True))}
    if len(inputs) != (2 if kind == "add" else 1):
        raise UnsupportedModel(f"{step.where}: reads {len(inputs)} tensors that the network computes, must read "
                               f"{2 if kind == 'add' else 1}; constants can only be weights")
    return Layer(step.name, kind, step, inputs, options)


Found = tuple[str, dict[str, Any]]


def _conv(step: Step) -> Found:
    options = step.options
    weight = _stored(step, "weight")
    if weight.value.ndim != 4 or options.get("transposed"):
        raise UnsupportedModel(f"{step.where}: must be an ordinary convolution in two dimensions")
    return "conv", {"weight": weight, "bias": options.get("bias"), "stride": _pair(options["stride"]),
                    "padding": _sides(step, weight), "dilation": _pair(options["dilation"]),
                    "groups": options["groups"]}


def _sides(step: Step, weight: Stored) -> tuple[int, int, int, int]:
    """Padding as (top, left, bottom, right); "same" adds the odd one below and on the right, as torch does."""
    padding = step.options["padding"]
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        totals = [step_ * (size - 1) for step_, size in zip(_pair(step.options["dilation"]), weight.value.shape[2:],
                                                            strict=True)]
        return totals[0] // 2, totals[1] // 2, totals[0] - totals[0] // 2, totals[1] - totals[1] // 2
    return _pair(padding) * 2


def _linear(step: Step) -> Found:
    return "linear", {"weight": _stored(step, "weight"), "bias": step.options.get("bias")}


def _batch_norm(step: Step) -> Found:
    names = ("weight", "bias", "running_mean", "running_var")
    found = {name: step.options.get(name) for name in names}
    if found["running_mean"] is None or found["running_var"] is None:
        raise UnsupportedModel(f"{step.where}: has no running statistics; it must have track_running_stats=True")
    return "batch_norm", {**found, "eps": step.options["eps"]}


def _clamp(step: Step) -> Found:
    lo, hi = {"relu": (0.0, None), "relu6": (0.0, 6.0)}.get(step.kind, (None, None))
    lo = next((step.options[key] for key in ("min_val", "min") if step.options.get(key) is not None), lo)
    hi = next((step.options[key] for key in ("max_val", "max") if step.options.get(key) is not None), hi)
    limits = (-math.inf if lo is None else float(lo), math.inf if hi is None else float(hi))
    if limits[0] >= limits[1]:
        raise UnsupportedModel(f"{step.where}: limits values to {limits[0]}..{limits[1]}; the first must be smaller")
    return "clamp", {"lo": limits[0], "hi": limits[1]}


def _add(step: Step) -> Found:
    if step.options.get("alpha", 1) != 1 or len(step.inputs) != 2 or set(step.options) - {"alpha"}:
        raise UnsupportedModel(f"{step.where}: must add two tensors that the network computes, without alpha")
    return "add", {}


def _max_pool(step: Step) -> Found:
    kernel = _pair(step.options["kernel_size"])
    if step.options.get("ceil_mode") or _pair(step.options.get("dilation", 1)) != (1, 1):
        raise UnsupportedModel(f"{step.where}: must have ceil_mode=False and dilation=1")
    return "max_pool", {"kernel": kernel, "stride": _pair(step.options["stride"] or kernel),
                        "padding": _pair(step.options["padding"])}


def _average_pool(step: Step) -> Found:
    kernel, padding = _pair(step.options["kernel_size"]), _pair(step.options["padding"])
    if step.options.get("ceil_mode") or (padding != (0, 0) and not step.options["count_include_pad"]):
        raise UnsupportedModel(f"{step.where}: must have ceil_mode=False and, with padding, count_include_pad=True")
    return "average_pool", {"kernel": kernel, "stride": _pair(step.options["stride"] or kernel), "padding": padding,
                            "divisor": step.options.get("divisor_override")}


def _global_pool(step: Step) -> Found:
    size = step.options.get("output_size")
    axes = step.options.get("dim")
    if step.kind == "mean" and sorted(axis % 4 for axis in axes or ()) != [2, 3]:
        raise UnsupportedModel(f"{step.where}: must be over dimensions (2, 3), not {axes}")
    if step.kind != "mean" and _pair(size) != (1, 1):
        raise UnsupportedModel(f"{step.where}: must have output size 1, not {size}")
    return "global_pool", {"flat": step.kind == "mean" and not step.options.get("keepdim")}


def _flatten(step: Step) -> Found:
    if len(step.shape) not in (2, 4) or (len(step.shape) == 4 and step.shape[2:] != (1, 1)):
        raise UnsupportedModel(f"{step.where}: reshapes to {list(step.shape)}; only flattening to [N, features] is "
                               f"supported")
    return "flatten", {}


def _pad(step: Step) -> Found:
    sides = list(step.options["pad"]) + [0] * (6 - len(step.options["pad"]))
    if step.options.get("mode", "constant") != "constant" or step.options.get("value") or len(sides) > 6 \
            or min(sides) < 0:
        raise UnsupportedModel(f"{step.where}: must add zeros (mode 'constant', value 0), not mode "
                               f"{step.options.get('mode')!r} with pad={step.options['pad']}")
    left, right, top, bottom, before, after = sides
    return "pad", {"sides": (top, left, bottom, right), "channels": (before, after)}


def _slice(step: Step) -> Found:
    dimension, stride = step.options["dim"], step.options["step"]
    start, end = step.options.get("start") or 0, step.options.get("end")
    whole = end is None or end >= step.shape[dimension] * stride - stride + 1
    if start != 0 or not whole or (dimension not in (2, 3) and stride != 1):
        raise UnsupportedModel(f"{step.where}: may only take every n-th row and column, from the first on")
    return "subsample", {"stride": (stride, 1) if dimension == 2 else (1, stride) if dimension == 3 else (1, 1)}


HANDLERS: dict[str, Callable[[Step], Found]] = {
    "conv2d": _conv, "convolution": _conv, "linear": _linear, "batch_norm": _batch_norm, "relu": _clamp,
    "relu6": _clamp, "hardtanh": _clamp, "clamp": _clamp, "clamp_min": _clamp, "clamp_max": _clamp, "add": _add,
    "max_pool2d": _max_pool, "avg_pool2d": _average_pool, "adaptive_avg_pool2d": _global_pool, "mean": _global_pool,
    "flatten": _flatten, "view": _flatten, "reshape": _flatten, "squeeze": _flatten, "_unsafe_view": _flatten,
    "unsqueeze": _flatten, "pad": _pad, "constant_pad_nd": _pad, "slice": _slice,
}


def _padding_joined(network: PlainNetwork) -> PlainNetwork:
    """Zeros around a map become the padding of the convolutions that read it; a slice with zero channels stays one
    layer, subsample; a pad that is neither is refused."""
    found = {layer.name: layer for layer in network.layers}
    layers: list[Layer] = []
    for layer in network.layers:
        source = found.get(layer.inputs[0])
        if layer.kind == "pad":
            if any(layer.options["sides"]) and any(layer.options["channels"]):
                raise UnsupportedModel(f"{layer.step.where}: adds zeros around the map and channels; do one at a time")
            if any(layer.options["channels"]) or not any(layer.options["sides"]):
                joined = source is not None and source.kind == "subsample" and \
                    len(network.readers(source.name)) == 1
                layer = replace(layer, kind="subsample", inputs=source.inputs if joined and source else layer.inputs,
                                options={"stride": source.options["stride"] if joined and source else (1, 1),
                                         "channels": layer.options["channels"]})
            elif any(reader.kind != "conv" for reader in network.readers(layer.name)) \
                    or layer.name in network.outputs:
                raise UnsupportedModel(f"{layer.step.where}: zeros around a map can only be added before a convolution")
        elif layer.kind == "conv" and source is not None and source.kind == "pad":
            sides = tuple(a + b for a, b in zip(layer.options["padding"], source.options["sides"], strict=True))
            layer = replace(layer, inputs=source.inputs, options={**layer.options, "padding": sides})
        layers.append(layer)
    kept = _used(layers, network.outputs)
    return replace(network, layers=tuple(kept))


def _relu_before_max_pool(network: PlainNetwork) -> PlainNetwork:
    """max_pool then clamp becomes clamp then max_pool, the same values: the maximum is then of stored activations."""
    layers = {layer.name: layer for layer in network.layers}
    for pool in network.layers:
        readers = network.readers(pool.name)
        source = layers.get(pool.inputs[0])
        if pool.kind != "max_pool" or len(readers) != 1 or readers[0].kind != "clamp" or pool.name in network.outputs \
                or source is None or source.kind in ("clamp", "max_pool"):
            continue
        clamp = readers[0]
        layers[pool.name] = Layer(pool.name, "clamp", clamp.step, pool.inputs, clamp.options)
        layers[clamp.name] = Layer(clamp.name, "max_pool", pool.step, (pool.name,), pool.options)
    return replace(network, layers=tuple(layers.values()))


def _used(layers: Sequence[Layer], outputs: Sequence[str]) -> list[Layer]:
    needed = set(outputs)
    kept = []
    for layer in reversed(layers):
        if layer.name in needed:
            needed.update(layer.inputs)
            kept.append(layer)
    return kept[::-1]


def _stored(step: Step, name: str) -> Stored:
    value = step.options.get(name)
    if not isinstance(value, Stored):
        raise UnsupportedModel(f"{step.where}: its {name} must be a parameter, not computed")
    return value


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])
