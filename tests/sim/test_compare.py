"""A wrong integer is traced to the layer that made it."""

import dataclasses

import numpy as np
import pytest

from shifthw import zoo
from shifthw.emulator import Emulator
from shifthw.ir import Graph, interpret
from shifthw.isa import InstructionLayout
from shifthw.lower.compile import compile_graph
from shifthw.program import Program
from shifthw.sim.compare import first_mismatch

IMAGES = np.random.default_rng(11).integers(0, 17, (5, 1, 8, 8))


@pytest.fixture(scope="module")
def graph() -> Graph:
    return zoo.build("digits")


@pytest.fixture(scope="module")
def program(graph: Graph) -> Program:
    return compile_graph(graph, images=2, pixels=2, simd=8, pe=8)


@pytest.fixture(scope="module")
def golden(graph: Graph) -> np.ndarray:
    return interpret(graph, IMAGES)[graph.outputs[0]]


def test_equal_is_none(graph: Graph, program: Program, golden: np.ndarray) -> None:
    assert first_mismatch(graph, program, IMAGES, golden, golden.copy()) is None


def test_a_difference_that_the_emulator_does_not_show_is_the_rtl(
    graph: Graph, program: Program, golden: np.ndarray
) -> None:
    actual = golden.copy()
    actual[3, 7, 0, 0] += 5
    actual[4, 0, 0, 0] += 1
    found = first_mismatch(graph, program, IMAGES, golden, actual)
    assert found is not None
    assert (found.layer, found.image, found.index) == ("RTL only: output logits", 3, (7, 0, 0))
    assert found.actual - found.expected == 5
    assert str(found).startswith("RTL only: output logits: image 3, index [7, 0, 0]: expected ")


@pytest.mark.parametrize("layer", ["block.conv2", "conv3"])
def test_a_damaged_program_names_the_first_layer(
    graph: Graph, program: Program, golden: np.ndarray, layer: str
) -> None:
    """The layer's first weight word is cleared: the layers before it stay right."""
    output = next(row.output for row in program.layers if row.name == layer)
    damaged = dataclasses.replace(program, weight_words=_with_other_weights(program, output))
    actual = Emulator(damaged).run(IMAGES).outputs
    found = first_mismatch(graph, damaged, IMAGES, golden, actual)
    assert found is not None
    assert found.layer == output
    tensors = interpret(graph, IMAGES, keep="all")
    assert found.expected == tensors[output][(found.image, *found.index)]


def _with_other_weights(program: Program, output: str) -> np.ndarray:
    fields = InstructionLayout(program.config).decode(program.instructions[program.targets.index(output)])
    words = program.weight_words.copy()
    words[fields["weight_base"]] = 0
    return words
