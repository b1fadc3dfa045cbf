"""Random networks of moves, products and tables: the program against the golden model; a failure is made small."""

import numpy as np
import pytest

from shifthw.emulator import Emulator
from shifthw.errors import ShifthwError
from shifthw.ir.graph import Graph, SelectChannels
from shifthw.ir.interpret import interpret
from shifthw.lower import compile_graph

from .graphs import random_array
from .networks import KINDS, MOVES, random_network
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


def check(seed: int, kinds: tuple[str, ...] = KINDS) -> None:
    graph, build = random_network(seed, kinds)
    images, array = build.images(IMAGES), random_array(seed)
    wrong = difference(graph, images, array)
    if wrong:
        small = shrunk(graph, lambda each: difference(each, images, array) == wrong)
        pytest.fail(f"random_network({seed}, {kinds}) on random_array({seed}) {array}: {wrong}; shrunk:\n"
                    f"{description(small)}")


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_random_networks(first: int) -> None:
    for seed in range(first, first + 20):
        check(seed)


def test_random_moves_of_moves() -> None:
    for seed in range(5000, 5200):
        check(seed, MOVES)


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


def test_a_failing_network_is_made_small() -> None:
    def selects(graph: Graph) -> bool:
        return any(isinstance(node.op, SelectChannels) for node in graph.nodes)

    graphs = [random_network(seed, ("conv", "shuffle", "shift", "residual"))[0] for seed in range(60)]
    large = max((graph for graph in graphs if selects(graph)), key=lambda graph: len(graph.nodes))
    small = shrunk(large, selects)
    assert selects(small)
    assert len(small.nodes) <= 4 < 10 < len(large.nodes)
