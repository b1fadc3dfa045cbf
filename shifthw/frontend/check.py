"""The net under the conversion: the module's own forward against the integer graph, layer by layer."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import UnsupportedModel
from ..ir.graph import Concat, Graph, Requantize
from ..ir.interpret import interpret
from ..nn import Quantizer
from .trace import attempt

TOLERATED = 0.01
"""Share of a layer's values that may be further from the graph's than its rounded constants explain."""
SLACK = 1.5
"""Steps on top of what the constants explain: a tie, decided by the last bit of a real number."""


def check(graph: Graph, model: nn.Module, example: torch.Tensor, calls: Sequence[tuple[str, str]]) -> None:
    """Raise UnsupportedModel if `model` computes something else than `graph` on the example input.

    model  the traced copy, in evaluation mode; it is changed to float64
    calls  path of the quantizer and name of its node, in the order of the calls

    Each layer is judged by itself: it gets the graph's integers, since following small differences
    through the layers would show nothing where a network is untrained.
    """
    judge = _Judge(graph, model.double(), torch.nan_to_num(example.cpu().double()), calls)
    with torch.no_grad():
        worst = attempt(judge.run, f"{graph.name}: its forward fails in float64, in which it is compared with the "
                                   f"integer graph")
    if worst:
        name, share = worst[0]
        raise UnsupportedModel(f"{graph.name}: the module computes something that the converter did not see: at "
                               f"{name} {share:.0%} of the values differ from the integer graph's; forward must only "
                               f"call supported layers and functions, and compute the same every time")


class _Judge:
    def __init__(self, graph: Graph, model: nn.Module, example: torch.Tensor, calls: Sequence[tuple[str, str]]) -> None:
        self.graph, self.model, self.example, self.calls = graph, model, example, calls
        self.found: list[tuple[str, float]] = []
        self.residual_unit = _residual_unit(graph)
        self.results: dict[str, torch.Tensor] = {}

    def run(self) -> list[tuple[str, float]]:
        """The layers that differ and the share of their values, in the order of the module's calls."""
        first = self.graph.nodes[0]
        source = self.model.get_submodule(next(path for path, name in self.calls if name == first.name))
        assert isinstance(source, Quantizer)
        images = source.integers(self.example).numpy().reshape(-1, *first.output.shape)
        self.results = {name: torch.from_numpy(value)
                        for name, value in interpret(self.graph, images, keep="all").items()}
        names: dict[str, list[str]] = defaultdict(list)
        for path, name in self.calls:
            names[path].append(name)
        hooks = [self.model.get_submodule(path).register_forward_hook(self._hook(iter(called)))
                 for path, called in names.items()]
        try:
            outputs = self.model(self.example.clone())
        finally:
            for hook in hooks:
                hook.remove()
        for name, value in zip(self.graph.outputs, outputs if isinstance(outputs, tuple | list) else (outputs,),
                               strict=True):
            self._compare(name, value)
        return self.found

    def _hook(self, called: Iterator[str]) -> Any:
        def replace(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            name = next(called, None)
            if name not in self.results:  # no output depends on it
                return output
            self._compare(name, output)
            return self.results[name].reshape(output.shape).double() * self.graph[name].output.scale
        return replace

    def _compare(self, name: str, value: torch.Tensor) -> None:
        tensor = self.graph[name].output
        integers = self.results[name].reshape(value.shape)
        steps = torch.round(value / tensor.scale).clamp(tensor.dtype.lo, tensor.dtype.hi)
        near = (steps - integers).abs() <= SLACK + self._explained(name).reshape(value.shape)
        share = 1.0 - float(near.double().mean())
        if share > TOLERATED:
            self.found.append((name, share))

    def _explained(self, name: str) -> torch.Tensor:
        """Steps that the rounding of multipliers and bias explains: each is off by half a unit at most."""
        node = self.graph[name]
        if isinstance(node.op, Concat):  # a quantizer's parts, each with a requantization of its own
            return torch.cat([self._explained(source) for source in node.inputs], dim=1)
        if not isinstance(node.op, Requantize):
            return torch.zeros(self.results[name].shape, dtype=torch.float64)
        units = (1, self.residual_unit)
        total = sum(self.results[source].abs().double() * unit
                    for source, unit in zip(node.inputs, units, strict=False))
        return (total + 1) / 2 / 2**node.op.shift


def _residual_unit(graph: Graph) -> int:
    """The power of two that all multipliers of second inputs are multiples of."""
    common = 0
    for node in graph.nodes:
        if isinstance(node.op, Requantize):
            for multiplier in node.op.multiplier[1:]:
                common |= int(np.bitwise_or.reduce(multiplier))
    return common & -common
