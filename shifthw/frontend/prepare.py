"""A plain PyTorch module rebuilt from shifthw.nn's layers, with quantizers where the engine stores values."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from ..errors import UnsupportedModel
from ..nn import Quantizer, ShiftConv2d
from .export_program import checked_copy
from .exported import Stored, export
from .placement import Place, signs
from .plain_layers import Layer, PlainNetwork
from .plain_modules import PlainWeighted, ShiftLayer, module_of
from .plain_network import SOFTMAX, plain_network
from .sharing import Sharing
from .trace import attempt

LayerFactory = Callable[[str, PlainWeighted], ShiftLayer]
QuantizerFactory = Callable[[Place], Quantizer]

OPERATORS: dict[str, Callable[..., Any]] = {"add": operator.add, "multiply": operator.mul}
EXACT, ROUNDED = 1e-6, 1e-4
"""How far the rebuilt network's outputs may be from the user's, relative to the largest: in float64, and in float32
for a forward that casts to it."""


def prepare(model: nn.Module, example_input: torch.Tensor, layer: LayerFactory,
            quantizer: QuantizerFactory) -> fx.GraphModule:
    """`model` as a module of shifthw.nn layers under the same paths, ready to calibrate, to train and to convert.

    model          any module of the supported operators (aten.SUPPORTED), weights loaded; not changed
    example_input  images [N, C, H, W] or [N, F], at least one; gives the shapes
    layer          makes the shift layer for a path and a plain convolution or linear layer
    quantizer      makes the quantizer for a place

    Dropout, and a softmax at the end, are left out: meta["dropped"] of the result names the latter. Raises
    UnsupportedModel, with the line of the model's source, for anything that has no mapping.
    """
    return rebuild(read_network(model, example_input), layer, quantizer).train(model.training)


def read_network(model: nn.Module, example_input: torch.Tensor) -> PlainNetwork:
    """The layers of `model`, which compute what its forward computes on the example; arguments as for prepare."""
    plain = checked_copy(model)
    example = torch.cat([example_input, example_input])[:2].detach().cpu().float()  # two: 1 is not taken for the batch
    network = plain_network(type(model).__name__, export(plain, example))
    _compare(plain, network, example)
    return network


def rebuild(network: PlainNetwork, layer: LayerFactory, quantizer: QuantizerFactory) -> fx.GraphModule:
    """The second half of prepare."""
    prepared = _Rebuild(network, layer, quantizer).module
    prepared.meta["dropped"] = list(network.dropped)
    return prepared


def _compare(plain: nn.Module, network: PlainNetwork, example: torch.Tensor) -> None:
    """The net under the reading of the exported program: the layers found must compute what the model computes."""
    rebuilt = _Rebuild(network, None, None).module.eval()
    tolerance, kind = EXACT, torch.float64
    with torch.no_grad():
        try:
            expected = _second_result(plain.double(), example.double())
        except RuntimeError:  # a forward with constants or casts of float32 fails on float64
            tolerance, kind = ROUNDED, torch.float32
            expected = _second_result(plain.float(), example)
        found = attempt(lambda: rebuilt.to(kind)(example.to(kind)),
                        f"{network.name}: cannot be rebuilt from the layers of its exported program")
    for softmax in network.dropped:
        found = SOFTMAX[softmax](found, dim=1)
    for wanted, value in zip(_outputs(expected), _outputs(found), strict=True):
        largest = float(wanted.abs().max())
        off = float((wanted - value.reshape(wanted.shape)).abs().max()) if wanted.numel() == value.numel() else math.inf
        if not off <= tolerance * max(largest, 1.0):
            raise UnsupportedModel(f"{network.name}: its exported program computes something else than forward (off by "
                                   f"{off:.3g} where values reach {largest:.3g}); forward must compute the same every "
                                   f"time, of the images alone")


def _second_result(plain: nn.Module, example: torch.Tensor) -> Any:
    """What a forward that remembers calls gives differently from the first, which torch.export has made."""
    plain(example.clone())
    return plain(example.clone())


def _outputs(result: Any) -> list[torch.Tensor]:
    values = list(result) if isinstance(result, tuple | list) else [result]
    if not all(isinstance(value, torch.Tensor) for value in values):
        raise UnsupportedModel(f"output: is {type(result).__name__}, must be a tensor or a tuple of tensors; return "
                               f"what the engine is to compute")
    return values


class _Rebuild:
    """Builds the graph module; without factories a plain copy, quantizers left out."""

    def __init__(self, network: PlainNetwork, layer: LayerFactory | None, quantizer: QuantizerFactory | None) -> None:
        self.network, self.layer, self.quantizer = network, layer, quantizer
        self.sharing = Sharing(network) if quantizer else None
        self.quantizers: dict[str, str] = {}
        """Path of the quantizer of each group that shares one, by its first result."""
        self.signs: dict[str, bool | None] = {}
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.made: dict[tuple[Any, ...], str] = {}
        """Path of the module of each layer: a layer that is called twice is one module."""
        self.values: dict[str, fx.Node] = {}
        self.run()
        self.module = fx.GraphModule(self.modules, self.graph, network.name)

    def run(self) -> None:
        """Emit input, layers and outputs."""
        network = self.network
        self._store(network.input, "input", self.graph.placeholder("images"))
        for layer in network.layers:
            self._store(layer.name, layer.path, self._emit(layer))
        outputs = tuple(self.values[name] for name in network.outputs)
        self.graph.output(outputs[0] if len(outputs) == 1 else outputs)

    def _store(self, name: str, path: str, value: fx.Node) -> None:
        """The value behind its quantizer, if it needs one."""
        if self.quantizer and self.sharing and name in self.sharing.first:
            first = self.sharing.first[name]
            if first not in self.quantizers:
                quantizer = self.quantizer(self.sharing.place(name, path, self.signs))
                if name == self.network.input:
                    self.signs = signs(self.network, quantizer.dtype.signed)
                self.quantizers[first] = path = self._free(f"{path}_quantizer")
                self.modules[path] = quantizer
            value = self.graph.call_module(self.quantizers[first], (value,))
        self.values[name] = value

    def _free(self, path: str) -> str:
        """`path`, or with a number behind it if it is taken, or is that of a module of the user's."""
        taken = self.modules.keys() | {layer.module_path for layer in self.network.layers}
        names = (path, *(f"{path}_{number}" for number in range(2, len(taken) + 3)))
        return next(name for name in names if name not in taken)

    def _emit(self, layer: Layer) -> fx.Node:
        sources = tuple(self.values[name] for name in layer.inputs)
        if layer.kind in OPERATORS:
            return self.graph.call_function(OPERATORS[layer.kind], sources)
        if layer.kind == "concat":
            return self.graph.call_function(torch.cat, (sources,), {"dim": 1})
        if layer.kind == "flatten" and len(layer.shape) == 4:
            return self.graph.call_method("reshape", (*sources, (-1, *layer.shape[1:])))
        key = (layer.path, layer.kind, *((name, _identity(value)) for name, value in sorted(layer.options.items())))
        if key not in self.made:
            path = layer.module_path
            self.made[key] = path = path if path and path not in self.modules else self._free(layer.path)
            self.modules[path] = self._module(path, layer)
        value = self.graph.call_module(self.made[key], sources)
        if layer.kind == "global_pool" and len(layer.shape) < 4:
            value = self.graph.call_method("flatten", (value, 1))
        return value

    def _module(self, path: str, layer: Layer) -> nn.Module:
        module = module_of(layer)
        if self.layer and isinstance(module, PlainWeighted):
            module = self.layer(path, module)
            if isinstance(module, ShiftConv2d):
                module.padding = layer.options["padding"]
        return module


def _identity(value: Any) -> Any:
    """What tells two options apart: constants by their name or numbers."""
    if isinstance(value, Stored):
        return value.name
    return tuple(value.tolist()) if isinstance(value, torch.Tensor) else value
