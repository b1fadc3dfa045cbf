"""Random networks of all layers: their own forward, the integer graph and the program give the same integers."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from shifthw.emulator import Emulator
from shifthw.frontend.convert import convert_model
from shifthw.frontend.reference import evaluate
from shifthw.ir import interpret
from shifthw.lower import compile_graph
from shifthw.nn import QuantAct

from .random_models import KINDS, RandomNetwork, with_classes


def check(seed: int, program: bool) -> Counter[str]:
    network = RandomNetwork(seed)
    made = Counter(network.made)
    last = network.steps[-1].__name__
    model: nn.Module = network if seed % 4 or last == "half" else with_classes(network)
    model = nn.Sequential(model, QuantAct(8, True, scale=2.0**-3)) if last == "half" else model
    model = model.double().eval()
    converted = convert_model(model, network.example)
    graph, (name,) = converted.graph, converted.graph.outputs
    first = network.layers[0]
    assert isinstance(first, QuantAct)
    integers = first.integers(network.example).numpy()
    results = interpret(graph, integers)[name]
    with torch.no_grad():
        steps = model(network.example) / graph[name].output.scale
    assert torch.equal(steps, steps.round())
    assert np.array_equal(results.ravel(), steps.numpy().ravel())
    assert converted.fake_reference is not None
    real = evaluate(graph, converted.fake_reference, torch.from_numpy(integers) * float(first.scale), quantized=True)
    assert np.array_equal((real[name] / graph[name].output.scale).numpy(), results)
    if program:
        compiled = compile_graph(graph, images=1, pixels=4, simd=8, pe=4)
        assert np.array_equal(Emulator(compiled).run(integers).outputs, results)
    return made


@pytest.mark.parametrize("seeds", [range(start, start + 8) for start in range(0, 40, 8)], ids=str)
def test_random_networks(seeds: range) -> None:
    for seed in seeds:
        check(seed, seed % 4 == 0)


def check_close(seed: int) -> None:
    """Real scales: convert itself compares layer by layer; the program is the graph's."""
    network = RandomNetwork(seed, exact=False)
    last = network.steps[-1].__name__
    model = nn.Sequential(network, QuantAct(8, True, scale=0.07)) if last == "half" else network
    graph = convert_model(model.double().eval(), network.example).graph
    first = network.layers[0]
    assert isinstance(first, QuantAct)
    integers = first.integers(network.example).numpy()
    compiled = compile_graph(graph, images=1, pixels=2, simd=4, pe=2)
    assert np.array_equal(Emulator(compiled).run(integers).outputs, interpret(graph, integers)[graph.outputs[0]])


@pytest.mark.parametrize("seeds", [range(start, start + 8) for start in range(0, 24, 8)], ids=str)
def test_random_networks_of_real_scales(seeds: range) -> None:
    for seed in seeds:
        check_close(seed)


@pytest.mark.slow
def test_many_random_networks() -> None:
    made: Counter[str] = Counter()
    for seed in range(1000, 1600):
        made += check(seed, seed % 3 == 0)
        check_close(seed)
    assert set(made) == set(KINDS)
