"""Who reads the values that a prepared network stores, and what its framework makes of them there."""

import copy
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import fx, nn

from ..ir.graph import Rounding
from ..nn import AdderConv2d, PadShortcut, Quantizer, ShiftConv2d, ShiftLinear
from .framework import SourceLayer

PASSED_ON = (nn.MaxPool2d, nn.Flatten, nn.Identity, PadShortcut)
"""Rounding before them is rounding behind them: they choose, move or copy values."""
AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True, eq=False)
class Stored:
    """One quantizer of a prepared network, by its path.

    layers      paths of the shift and adder layers that read its values
    is_added    an addition reads them
    is_averaged an average reads them
    """

    path: str
    quantizer: Quantizer
    layers: tuple[str, ...]
    is_added: bool
    is_averaged: bool


def stored_values(prepared: fx.GraphModule) -> tuple[Stored, ...]:
    """The quantizers of a prepared network in order."""
    modules = dict(prepared.named_modules())
    found = []
    for node in prepared.graph.nodes:
        quantizer = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(quantizer, Quantizer):
            readers = list(_readers(node, modules))
            reading = [modules.get(str(reader.target)) for reader in readers]
            found.append(Stored(
                str(node.target), quantizer,
                tuple(str(reader.target) for reader, module in zip(readers, reading, strict=True)
                      if isinstance(module, ShiftConv2d | ShiftLinear | AdderConv2d)),
                any(reader.target is operator.add for reader in readers),
                any(isinstance(module, AVERAGES) for module in reading)))
    return tuple(found)


def _readers(node: fx.Node, modules: Mapping[str, nn.Module]) -> Iterator[fx.Node]:
    for user in node.users:
        if user.op == "call_module" and isinstance(modules[str(user.target)], PASSED_ON):
            yield from _readers(user, modules)
        else:
            yield user


def nearest_grid(layers: Mapping[str, SourceLayer], default: Quantizer) -> Callable[[], Quantizer]:
    """Makes quantizers for values that the framework does not round: to the nearest step of the finest of its grids,
    which is `default` if no layer has one."""
    grid = _finest(layers.values()) or default
    return lambda: Quantizer(grid.dtype, grid.dtype.lo, grid.dtype.hi, Rounding.HALF_UP, float(grid.scale))


def use_framework_rounding(prepared: fx.GraphModule, layers: Mapping[str, SourceLayer]) -> None:
    """Give every quantizer the rounding that the framework does at the inputs of the layers behind it, the finest of
    several; where it does none, the quantizer stays."""
    for stored in stored_values(prepared):
        grid = _finest(layers[path] for path in stored.layers if path in layers)
        if grid is not None:
            prepared.set_submodule(stored.path, copy.deepcopy(grid))


def _finest(layers: Iterable[SourceLayer]) -> Quantizer | None:
    return min((layer.rounding for layer in layers if layer.rounding is not None),
               key=lambda rounding: float(rounding.scale), default=None)


def same_grid(one: Quantizer, other: Quantizer) -> bool:
    """Whether two quantizers make the same of every number."""
    return (one.lo, one.hi, one.rounding, float(one.scale)) == (other.lo, other.hi, other.rounding, float(other.scale))


def deviations(prepared: fx.GraphModule, layers: Mapping[str, SourceLayer]) -> tuple[str, ...]:
    """Where the prepared network rounds otherwise than the framework, in words."""
    stored = stored_values(prepared)
    other = [path for value in stored for path in value.layers
             if path in layers and (rounding := layers[path].rounding) and not same_grid(value.quantizer, rounding)]
    unrounded = [path for value in stored for path in value.layers if path in layers and not layers[path].rounding]
    ordinary = [path for value in stored for path in value.layers if path not in layers]
    adders = {path: layer for path, layer in layers.items() if isinstance(layer.layer, AdderConv2d)}
    found = {
        "the inputs of {} are on another grid than the framework's": other,
        "the inputs of {} are stored rounded, the framework takes them as they are": unrounded + ordinary,
        "weights of {} are rounded to the step of their inputs, which they need for |x - w|": [
            path for path, layer in adders.items() if _weights_differ(prepared.get_submodule(path), layer.layer)],
        "the inputs of {} are on a grid through 0, the framework's is off it by a part of a step": [
            path for path, layer in layers.items() if layer.affine is not None],
        "the real weights of {} are rounded to sums of powers of two": ordinary,
        "residuals are stored rounded, the framework adds them as they are": [v.path for v in stored if v.is_added],
        "averages are of stored values, the framework rounds behind them": [v.path for v in stored if v.is_averaged],
        "batch norms have multipliers of 18 bits, the framework's are float32": [
            path for path, module in prepared.named_modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d)],
    }
    return tuple(text.format(listed(paths)) for text, paths in found.items() if paths)


def _weights_differ(prepared: nn.Module, source: nn.Module) -> bool:
    assert isinstance(prepared, AdderConv2d) and isinstance(source, AdderConv2d)
    return not torch.equal(prepared.rounded_weight(), source.rounded_weight())


def listed(names: list[str], shown: int = 3) -> str:
    """The first few names, and how many more there are."""
    names = list(dict.fromkeys(names))
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
