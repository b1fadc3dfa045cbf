"""The integer network of an import against the framework's own forward pass."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..frontend.draft import Grid
from ..frontend.preprocess import input_grid, input_integers
from ..ir.graph import Graph, Requantize
from ..ir.interpret import interpret
from ..nn.quantizers import rounded

BATCH = 32


@dataclass(frozen=True)
class Comparison:
    """Of the outputs of both, on the output's grid: the framework's are rounded to it as the network rounds.

    outputs            integers compared; where the framework's network ends in a softmax, which is left out, the
                       number of the greatest output instead, one per image
    differing          those that are another integer than the framework's in float32
    largest            greatest difference, in steps of the output; 0 where numbers of classes are compared
    step               real value of one step
    differing_exactly  those that are another integer than the same layers give in float64, whose sums are as
                       good as exact: what float32 does not explain
    same_class         images whose greatest output is the same
    reasons            where the integer network rounds otherwise, in words
    softmax            numbers of classes are compared
    """

    images: int
    outputs: int
    differing: int
    largest: int
    step: float
    differing_exactly: int
    same_class: int
    reasons: tuple[str, ...]
    softmax: bool = False


def compare(framework: nn.Module, graph: Graph, images: torch.Tensor, reasons: tuple[str, ...] = (), *,
            softmax: bool = False) -> Comparison:
    """Run both on real images float32[N, C, H, W].

    framework  computes what the source framework computes
    softmax    it ends in a softmax, which the graph does not have
    """
    node = graph[graph.outputs[0]]
    golden = interpret(graph, input_integers(graph, images.double().numpy()))[node.name].reshape(len(images), -1)
    in_float32 = on_grid(graph, forward(framework, images))
    in_float64 = on_grid(graph, forward(copy.deepcopy(framework).double(), images.double()))
    same_class = int(np.sum(golden.argmax(axis=1) == in_float32.argmax(axis=1)))
    largest = 0 if softmax else int(np.abs(golden - in_float32).max())
    if softmax:
        golden, in_float32, in_float64 = (values.argmax(axis=1) for values in (golden, in_float32, in_float64))
    return Comparison(
        images=len(images), outputs=golden.size, differing=int(np.sum(golden != in_float32)),
        largest=largest, step=node.output.scale, differing_exactly=int(np.sum(golden != in_float64)),
        same_class=same_class, reasons=reasons, softmax=softmax)


def forward(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The model's outputs for real images, a batch at a time."""
    with torch.no_grad():
        return torch.cat([model(batch) for batch in images.split(BATCH)])


def on_grid(graph: Graph, outputs: torch.Tensor) -> np.ndarray:
    """Real outputs as int64[N, values] on the grid of the graph's output."""
    grid = output_grid(graph)
    steps = rounded(outputs.double().flatten(1) / grid.scale, grid.rounding)
    return steps.clamp(grid.lo, grid.hi).to(torch.int64).numpy()


def output_grid(graph: Graph) -> Grid:
    """That of the quantizer behind which only values are chosen or moved."""
    node = graph[graph.outputs[0]]
    while not isinstance(node.op, Requantize):
        if not node.inputs:
            return input_grid(graph)
        node = graph[node.inputs[0]]
    return Grid(node.output.dtype, node.output.scale, node.op.lo, node.op.hi, node.op.rounding)
