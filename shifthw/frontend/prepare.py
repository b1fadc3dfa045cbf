"""A plain PyTorch module rebuilt from shifthw.nn's layers, with quantizers where the engine stores values."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from ..errors import UnsupportedModel
from ..nn import PadShortcut, Quantizer, ShiftConv2d, ShiftLinear
from .exported import Stored, export
from .placement import Place, is_negative_possible, quantized_results
from .plain_layers import Layer, PlainNetwork, plain_network

LayerFactory = Callable[[str, nn.Conv2d | nn.Linear], ShiftConv2d | ShiftLinear]
QuantizerFactory = Callable[[Place], Quantizer]

TOLERANCE = 1e-6
"""Of the rebuilt network's outputs in float64, relative to the largest."""


def prepare(model: nn.Module, example_input: torch.Tensor, layer: LayerFactory,
            quantizer: QuantizerFactory) -> fx.GraphModule:
    """`model` as a module of shifthw.nn layers under the same paths, ready to calibrate, to train and to convert.

    model          any module of the supported operators (plain_layers.SUPPORTED), weights loaded; not changed
    example_input  images [N, C, H, W] or [N, F], at least one; gives the shapes
    layer          makes the shift layer for a path and a plain convolution or linear layer
    quantizer      makes the quantizer for a place

    A softmax at the end is left out: meta["dropped"] of the result names it. Raises UnsupportedModel, with
    the line of the model's source, for anything that has no mapping.
    """
    example = example_input.detach().cpu()
    network = plain_network(export(model, example))
    rebuilt = _Rebuild(network, None, None).module
    _compare(model, rebuilt, network, example)
    prepared = _Rebuild(network, layer, quantizer).module
    prepared.meta["dropped"] = list(network.dropped)
    prepared.train(model.training)
    return prepared


def _compare(model: nn.Module, rebuilt: fx.GraphModule, network: PlainNetwork, example: torch.Tensor) -> None:
    """The net under the reading of the exported program: the layers found must compute what the model computes."""
    from copy import deepcopy
    with torch.no_grad():
        expected = deepcopy(model).cpu().double().eval()(example.double())
        found = rebuilt.double().eval()(example.double())
    for kind in network.dropped:
        found = (functional.log_softmax if "log" in kind else functional.softmax)(found, dim=1)
    both = [value if isinstance(value, tuple | list) else (value,) for value in (expected, found)]
    for wanted, value in zip(*both, strict=True):
        largest = float(wanted.abs().max())
        off = float((wanted - value.reshape(wanted.shape)).abs().max())
        if not off <= TOLERANCE * max(largest, 1.0):
            raise UnsupportedModel(f"{type(model).__name__}: its exported program computes something else than forward "
                                   f"(off by {off:.3g} where values reach {largest:.3g}); forward must compute the "
                                   f"same every time, of the images alone")


class _Rebuild:
    """Builds the graph module; without factories a plain copy, quantizers left out."""

    def __init__(self, network: PlainNetwork, layer: LayerFactory | None, quantizer: QuantizerFactory | None) -> None:
        self.network, self.layer, self.quantizer = network, layer, quantizer
        self.quantized = quantized_results(network) if quantizer else frozenset()
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.values: dict[str, fx.Node] = {}
        self._input()
        for step in network.layers:
            self._quantize(step.name, self._path(step), self._emit(step))
        outputs = tuple(self.values[name] for name in network.outputs)
        self.graph.output(outputs[0] if len(outputs) == 1 else outputs)
        self.module = fx.GraphModule(self.modules, self.graph, "Prepared")

    def _input(self) -> None:
        self._quantize(self.network.input, "input", self.graph.placeholder("images"))

    def _quantize(self, name: str, path: str, value: fx.Node) -> None:
        if self.quantizer and name in self.quantized:
            place = Place(path, is_negative_possible(self.network, name), name == self.network.input,
                          name in self.network.outputs)
            value = self._call(f"{path}_quantizer", self.quantizer(place), value)
        self.values[name] = value

    def _path(self, layer: Layer) -> str:
        """The path of the module that a layer was, or that of the forward that calls the function, and its name."""
        weight = layer.options.get("weight") or layer.options.get("running_mean")
        if isinstance(weight, Stored) and weight.owner:
            return weight.owner
        return f"{layer.step.path}.{layer.step.name}" if layer.step.path else layer.step.name

    def _call(self, path: str, module: nn.Module, value: fx.Node) -> fx.Node:
        """A call of a new module at `path`, or of the one that is there: a layer may be called twice."""
        taken = self.modules.get(path)
        if taken is not None and not isinstance(module, ShiftConv2d | ShiftLinear | nn.Conv2d | nn.Linear
                                                | nn.BatchNorm2d | nn.BatchNorm1d):
            path = next(name for name in (f"{path}_{n}" for n in range(2, 10000)) if name not in self.modules)
            taken = None
        self.modules[path] = taken or module
        return self.graph.call_module(path, (value,))

    def _emit(self, layer: Layer) -> fx.Node:
        sources = [self.values[name] for name in layer.inputs]
        path = self._path(layer)
        if layer.kind == "add":
            return self.graph.call_function(operator.add, tuple(sources))
        if layer.kind in ("conv", "linear"):
            plain = _convolution(layer) if layer.kind == "conv" else _linear(layer)
            module = self._weighted(path, plain, layer)
        else:
            module = MODULES[layer.kind](layer)
        value = self._call(path, module, sources[0])
        if layer.options.get("flat"):
            value = self._call(f"{path}_flatten", nn.Flatten(), value)
        return value

    def _weighted(self, path: str, plain: nn.Conv2d | nn.Linear, layer: Layer) -> nn.Module:
        if self.layer is None:
            return plain
        module = self.layer(path, plain)
        if isinstance(module, ShiftConv2d):
            module.padding = layer.options["padding"]
        return module


class _PaddedConv2d(nn.Conv2d):
    """A convolution whose zeros may differ from side to side: `sides` is (top, left, bottom, right)."""

    sides: tuple[int, int, int, int]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        top, left, bottom, right = self.sides
        return functional.conv2d(functional.pad(input, (left, right, top, bottom)), self.weight, self.bias, self.stride,
                                 0, self.dilation, self.groups)


def _convolution(layer: Layer) -> nn.Conv2d:
    options = layer.options
    weight = options["weight"].value
    groups, sides = options["groups"], options["padding"]
    even = sides[:2] == sides[2:]
    module = (nn.Conv2d if even else _PaddedConv2d)(
        weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), options["stride"],
        sides[:2] if even else 0, options["dilation"], groups, bias=options["bias"] is not None)
    if isinstance(module, _PaddedConv2d):
        module.sides = sides
    return _filled(module, layer)


def _linear(layer: Layer) -> nn.Linear:
    weight = layer.options["weight"].value
    return _filled(nn.Linear(weight.shape[1], weight.shape[0], layer.options["bias"] is not None), layer)


def _filled(module: Any, layer: Layer) -> Any:
    """The module with the layer's weights and bias."""
    bias = layer.options["bias"]
    if bias is not None and not isinstance(bias, Stored):
        raise UnsupportedModel(f"{layer.step.where}: its bias must be a parameter, not computed")
    module.weight = nn.Parameter(layer.options["weight"].value.clone())
    if bias is not None:
        module.bias = nn.Parameter(bias.value.clone())
    return module


def _batch_norm(layer: Layer) -> nn.Module:
    options = layer.options
    affine = options["weight"] is not None
    kind = nn.BatchNorm2d if len(layer.step.shape) == 4 else nn.BatchNorm1d
    module = kind(len(options["running_mean"].value), options["eps"], affine=affine)
    state = {name: options[name].value for name in ("weight", "bias", "running_mean", "running_var")
             if options[name] is not None}
    module.load_state_dict(state | {"num_batches_tracked": torch.tensor(0)})
    return module


def _clamp(layer: Layer) -> nn.Module:
    lo, hi = layer.options["lo"], layer.options["hi"]
    return nn.ReLU() if (lo, hi) == (0.0, math.inf) else nn.Hardtanh(lo, hi)


def _subsample(layer: Layer) -> nn.Module:
    before, after = layer.options.get("channels", (0, 0))
    stride = layer.options["stride"]
    outputs = layer.step.shape[1]
    if stride[0] != stride[1]:
        raise UnsupportedModel(f"{layer.step.where}: must take every n-th row and column alike, not {stride}")
    return PadShortcut(outputs - before - after, outputs, stride[0], before)


MODULES: dict[str, Callable[[Layer], nn.Module]] = {
    "batch_norm": _batch_norm, "clamp": _clamp, "subsample": _subsample, "flatten": lambda layer: nn.Flatten(),
    "max_pool": lambda layer: nn.MaxPool2d(layer.options["kernel"], layer.options["stride"], layer.options["padding"]),
    "average_pool": lambda layer: nn.AvgPool2d(layer.options["kernel"], layer.options["stride"],
                                               layer.options["padding"], divisor_override=layer.options["divisor"]),
    "global_pool": lambda layer: nn.AdaptiveAvgPool2d(1),
}
