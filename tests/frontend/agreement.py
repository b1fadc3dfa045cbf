"""A module's own forward against its integer graph, integer for integer."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from shifthw.frontend import convert
from shifthw.ir import Graph, interpret
from shifthw.nn import QuantAct, Quantizer


class Net(nn.Module):
    """A module whose forward is the given function of itself and x."""

    def __init__(self, forward: Callable[["Net", torch.Tensor], object], **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)
        self.function = forward

    def forward(self, x: torch.Tensor) -> object:
        return self.function(self, x)


def agree(model: nn.Module, x: torch.Tensor, least: int = 4) -> Graph:
    """The graph of `model`, whose results on `x` must be the module's, integer for integer (in float64).

    least  different integers that each result must hold
    """
    model = model.double().eval()
    x = x.double()
    graph = convert(model, x)
    first = next(module for module in model.modules() if isinstance(module, Quantizer))
    integers = first.integers(x).numpy()
    results = interpret(graph, integers.reshape(len(integers), *graph.nodes[0].output.shape))
    with torch.no_grad():
        expected = model(x)
    for name, value in zip(graph.outputs, expected if isinstance(expected, tuple) else (expected,), strict=True):
        steps = value / graph[name].output.scale
        assert torch.equal(steps, steps.round())
        assert np.array_equal(results[name].ravel(), steps.numpy().ravel())
        assert len(np.unique(results[name])) >= least
    return graph


def images(*shape: int, count: int = 6) -> torch.Tensor:
    """Normal numbers, the same in every test."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def power(bits: int = 8, *, signed: bool = False, scale: float = 2.0**-4, **options: object) -> QuantAct:
    """A quantizer of a power of two."""
    return QuantAct(bits, signed, scale=scale, **options)  # type: ignore[arg-type]
