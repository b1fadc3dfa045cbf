"""Random networks of moves, products and tables: the program against the golden model; a failure is made small."""

import dataclasses

import numpy as np
import pytest

from shifthw.emulator import Emulator
from shifthw.errors import ShifthwError
from shifthw.ir.graph import Graph, MaxPool2d, SelectChannels
from shifthw.ir.interpret import interpret
from shifthw.ir.types import IntType
from shifthw.lower import compile_graph

from .graphs import random_array
from .networks import KINDS, MOVES, NetworkBuilder, random_network
from .shrink import description, shrunk

IMAGES = 3


def difference(graph: Graph, images: np.ndarray, array: dict[str, int]) -> str:
    """What is wrong with the compiled graph; "" if nothing is."""
    golden = interpret(graph, images)[graph.outputs[0]]
    try:
        program = compile_graph(graph, **array)
        run = Emulator(program).run(images)
    except ShifthwError as error:
        return f"refused: {error}"
    except Exception as error:  # whatever it is, it is to be found
        return f"{type(error).__name__}: {error}"
    if (run.outputs != golden).any():
        return "other results"
    batches = program.batches(len(images))
    return "" if run.cycles == program.cycles(batches) else "other cycles"


def check(seed: int, kinds: tuple[str, ...] = KINDS, mixed: bool = False) -> None:
    graph, build = random_network(seed, kinds, mixed=mixed)
    images, array = build.images(IMAGES), random_array(seed)
    wrong = difference(graph, images, array)
    if wrong:
        small = shrunk(graph, lambda each: difference(each, images, array) == wrong)
        pytest.fail(f"random_network({seed}, {kinds}, mixed={mixed}), random_array({seed}) {array}: {wrong}; shrunk:\n"
                    f"{description(small)}")


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_random_networks(first: int) -> None:
    for seed in range(first, first + 20):
        check(seed)


def test_random_moves_of_moves() -> None:
    for seed in range(5000, 5200):
        check(seed, MOVES)


WITHOUT_HALVES = tuple(kind for kind in KINDS if kind != "half")
"""Half-pixel maps of 8 bits that are stored have 10, with which there are no tables."""


def test_random_networks_of_mixed_types() -> None:
    for seed in range(8000, 8060):
        check(seed, WITHOUT_HALVES, mixed=True)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(8060, 9060, 100))
def test_many_random_networks_of_mixed_types(first: int) -> None:
    for seed in range(first, first + 100):
        check(seed, WITHOUT_HALVES, mixed=True)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(60, 2560, 100))
def test_many_random_networks(first: int) -> None:
    for seed in range(first, first + 100):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(5200, 6200, 100))
def test_many_random_moves_of_moves(first: int) -> None:
    for seed in range(first, first + 100):
        check(seed, MOVES)


@pytest.mark.parametrize(("stored", "asked"), [(4, 5), (4, 8), (2, 2), (3, 6)])
@pytest.mark.parametrize("signed", [False, True])
def test_tables_may_be_asked_for_more_bits_than_any_tensor_has(stored: int, asked: int, signed: bool) -> None:
    build = NetworkBuilder(np.random.default_rng(31), (3, 4, 4), IntType(stored, False))
    x = build.requantize(build.conv("images", 6), IntType(asked, signed), gain=3.0)
    build.requantize(build.conv(build.lookup(x, IntType(stored, True)), 4), IntType(stored, False))
    array = {"images": 1, "pixels": 4, "simd": 8, "pe": 4}
    assert compile_graph(build.graph(), **array).config.activation_bits == max(stored, asked, 3)
    assert difference(build.graph(), build.images(IMAGES), array) == ""


def test_names_of_the_models_own_do_not_collide_with_those_of_copies() -> None:
    """A shifted map is stored for a pool; another tensor has its copy's name."""
    build = NetworkBuilder(np.random.default_rng(32), (5, 5, 4), IntType(8, True))
    moved = build.concat(build.shift("images"), build.shift("images"))
    own = build.requantize(build.conv("images", 10), IntType(8, True))
    pooled = [build.add(MaxPool2d((2, 2), (1, 1)), name) for name in (own, moved)]
    build.requantize(build.conv(build.concat(*pooled), 4), IntType(8, True))

    def renamed(name: str) -> str:
        return f"{moved}.copy" if name == own else name

    nodes = tuple(dataclasses.replace(node, name=renamed(node.name), inputs=tuple(map(renamed, node.inputs)))
                  for node in build.nodes)
    graph = dataclasses.replace(build.graph(), nodes=nodes)
    array = {"images": 1, "pixels": 4, "simd": 8, "pe": 4}
    assert any(layer.copy for layer in compile_graph(graph, **array).layers)
    assert difference(graph, build.images(IMAGES), array) == ""


def test_a_failing_network_is_made_small() -> None:
    def selects(graph: Graph) -> bool:
        return any(isinstance(node.op, SelectChannels) for node in graph.nodes)

    graphs = [random_network(seed, ("conv", "shuffle", "shift", "residual"))[0] for seed in range(60)]
    large = max((graph for graph in graphs if selects(graph)), key=lambda graph: len(graph.nodes))
    small = shrunk(large, selects)
    assert selects(small)
    assert len(small.nodes) <= 4 < 10 < len(large.nodes)
