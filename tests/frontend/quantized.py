"""A float network against what post-training quantization makes of it, down to the engine."""

import numpy as np
import torch
from torch import nn

from shifthw.emulator import Emulator
from shifthw.frontend import QuantizeOptions, quantize
from shifthw.frontend.convert import convert_model
from shifthw.frontend.preprocess import input_integers
from shifthw.frontend.reference import Model, evaluate
from shifthw.ir import interpret
from shifthw.lower import compile_graph

PRECISE = QuantizeOptions(weight_bits=5, terms=4, activation_bits=12, calibration="minmax")


def decibels(real: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(real.square().sum() / (real - other).square().sum()))


def agree(model: nn.Module, x: torch.Tensor, options: QuantizeOptions, *, at_least: float) -> Model:
    """The integer model, whose float network must be `model`, and whose results must be close to it; the engine's
    must be equal to those."""
    converted = convert_model(quantize(model, x, options), x[:2])
    graph, reference = converted.graph, converted.float_reference
    assert reference is not None
    maps = x.reshape(len(x), *graph.nodes[0].output.shape)
    with torch.no_grad():
        expected = model.double().eval()(x.double())
    real = evaluate(graph, reference, maps.double(), quantized=False)[graph.outputs[0]].reshape(expected.shape)
    assert float((real - expected).abs().max()) <= 1e-6 * max(1.0, float(expected.abs().max()))
    integers = input_integers(graph, maps.numpy())
    found = interpret(graph, integers)[graph.outputs[0]]
    assert decibels(expected, torch.from_numpy(found).reshape(expected.shape) * graph[graph.outputs[0]].output.scale) \
        >= at_least
    run = Emulator(compile_graph(graph, images=1, pixels=2, simd=4, pe=4)).run(integers[:2])
    assert np.array_equal(run.outputs, found[:2])
    return converted
