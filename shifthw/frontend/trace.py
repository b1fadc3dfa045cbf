"""A module's forward as a torch.fx graph with the shape of every value."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from ..errors import UnsupportedModel
from ..nn import PadShortcut, Quantizer, ShiftConv2d, ShiftLinear

LEAVES = (PadShortcut, Quantizer, ShiftConv2d, ShiftLinear)


@dataclass(frozen=True, eq=False)
class Trace:
    """The steps of a model in evaluation mode and the values that the example input gives."""

    model: nn.Module
    nodes: tuple[fx.Node, ...]
    values: dict[fx.Node, Any]

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Shape of one image's value, without the batch dimension; () for what is not a tensor."""
        value = self.values[node]
        return tuple(value.shape[1:]) if isinstance(value, torch.Tensor) else ()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or super().is_leaf_module(m, module_qualified_name)


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]


def trace(model: nn.Module, example_input: torch.Tensor) -> Trace:
    """Trace a copy of `model` in evaluation mode and run it on `example_input` [N, C, H, W] or [N, F].

    Raises UnsupportedModel if forward cannot be traced, or fails on the example.
    """
    name = type(model).__name__
    model = copy.deepcopy(model).cpu().eval()
    graph = _attempt(lambda: _Tracer().trace(model),
                     f"{name}: its forward cannot be traced; it must not branch on values of tensors")
    recorder = _Recorder(fx.GraphModule(model, graph))
    with torch.no_grad():
        _attempt(lambda: recorder.run(example_input),
                 f"{name}: its forward fails on the example input of shape {list(example_input.shape)}")
    return Trace(model, tuple(graph.nodes), recorder.values)


def _attempt(action: Callable[[], Any], what: str) -> Any:
    """The action's result; whatever the user's code raises becomes one line."""
    try:
        return action()
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnsupportedModel(f"{what}: {reason}") from error
