"""The design-space search and its resource model."""

import dataclasses

import numpy as np
import pytest

from shifthw.arch import ArrayConfig
from shifthw.errors import DoesNotFit
from shifthw.ir.graph import Graph
from shifthw.ir.types import IntType
from shifthw.lower import compile_graph
from shifthw.lower.bound import Bounds
from shifthw.lower.compile import prepare
from shifthw.lower.derive import skeleton
from shifthw.lower.explore import NEARLY_BEST, Budget, explore, search
from shifthw.lower.resources import FAMILIES, ram18, resources

from .graphs import GraphBuilder, random_array, random_graph
from .networks import KINDS, MOVES, random_network

BOARD = Budget(lut=70560, ff=141120, bram36=216, dsp=360, clock_mhz=200, axi_data_bits=128, family="xcup")


@pytest.fixture(scope="module")
def graph() -> Graph:
    build = GraphBuilder(np.random.default_rng(1), (3, 16, 16), IntType(8, False))
    first = build.requantize(build.conv("images", 16), IntType(8, False))
    build.requantize(build.conv(first, 32, stride=(2, 2)), IntType(8, False))
    return build.graph()


def test_throughput_is_the_best_of_what_fits(graph: Graph) -> None:
    found = explore(graph, BOARD)
    program = found.program
    assert resources(program.config, FAMILIES["xcup"]) == found.estimate
    assert found.estimate.lut <= 0.85 * BOARD.lut and found.estimate.bram36 <= 0.9 * BOARD.bram36
    best = program.cycles_per_batch / program.config.images
    for images, pixels, simd, pe in [(1, 8, 16, 8), (2, 4, 16, 8), (4, 4, 8, 8), (1, 16, 16, 4), (1, 2, 32, 32)]:
        other = compile_graph(graph, images=images, pixels=pixels, simd=simd, pe=pe, axi_data_bits=128)
        need = resources(other.config, FAMILIES["xcup"])
        if need.lut <= 0.85 * BOARD.lut and need.dsp <= 0.95 * BOARD.dsp and need.bram36 <= 0.9 * BOARD.bram36:
            assert best <= NEARLY_BEST * other.cycles_per_batch / images
    again = compile_graph(graph, images=program.config.images, pixels=program.config.pixels,
                          simd=program.config.simd, pe=program.config.pe, axi_data_bits=128)
    assert again.files() == program.files()


def test_latency_runs_one_image(graph: Graph) -> None:
    program = search(graph, BOARD, "latency")
    assert program.config.images == 1
    assert program.cycles_per_batch <= NEARLY_BEST * search(graph, BOARD, pins={"images": 1}).cycles_per_batch


def test_pins_hold(graph: Graph) -> None:
    c = search(graph, BOARD, pins={"pixels": 4, "pe": 2}).config
    assert (c.pixels, c.pe) == (4, 2)


@pytest.mark.parametrize(("change", "pins", "message"), [
    ({"lut": 4000}, {}, "LUTs, 3400 may be used"),
    ({"bram36": 1}, {"pixels": 2, "simd": 8, "pe": 2}, "block RAMs.*largest being tensor"),
    ({"dsp": 4}, {"pixels": 8}, "DSP slices"),
    ({}, {"pixels": 64, "simd": 128, "pe": 128}, "pin fewer or smaller"),
    ({}, {"pe": 3}, "pe must be a power of two"),
    ({}, {"rows": 3}, "rows cannot be chosen"),
])
def test_what_does_not_fit_is_named(graph: Graph, change: dict[str, int], pins: dict[str, int], message: str) -> None:
    with pytest.raises(DoesNotFit, match=message):
        search(graph, dataclasses.replace(BOARD, **change), pins=pins)


@pytest.mark.parametrize(("width", "words", "blocks"), [(8, 512, 1), (8, 2048, 1), (8, 2049, 2), (36, 512, 1),
                                                        (64, 512, 2), (64, 1024, 4), (1, 16384, 1)])
def test_block_rams(width: int, words: int, blocks: int) -> None:
    assert ram18(width, words) == blocks


@pytest.mark.parametrize(("bits", "levels"), [(7, 7), (12, 12)])
def test_more_of_anything_costs_more(bits: int, levels: int) -> None:
    config = ArrayConfig(images=1, pixels=4, simd=8, pe=4, activation_bits=bits, exponent_levels=levels)
    base = resources(config)
    for change in ({"images": 2}, {"pixels": 8}, {"simd": 16}, {"pe": 8},
                   {"activation_bits": bits + 1}, {"exponent_levels": levels + 1}, {"accumulator_bits": 25},
                   {"max_pool": True}, {"ties_to_even": True}, {"adder": True}):
        more = resources(dataclasses.replace(config, **change))
        assert more.lut > base.lut and more.ff >= base.ff and more.dsp >= base.dsp
    assert resources(dataclasses.replace(config, feature_rows=4096)).bram36 > base.bram36
    dual = dataclasses.replace(config, adder=True)
    assert resources(dataclasses.replace(dual, exponent_levels=0)).lut < min(base.lut, resources(dual).lut)
    assert resources(dataclasses.replace(config, residual=True)).dsp == 2 * base.dsp
    assert resources(dataclasses.replace(config, accumulator_bits=26)).dsp == 2 * base.dsp
    assert resources(dataclasses.replace(config, accumulator_bits=26), FAMILIES["xcup"]).dsp == base.dsp


def test_maps_that_are_far_too_large_are_told_in_bytes() -> None:
    """Choosing between so many block RAMs takes more LUTs than there are: the lanes are not what is too much."""
    build = GraphBuilder(np.random.default_rng(2), (3, 280, 280), IntType(8, False))
    build.requantize(build.conv(build.requantize(build.conv("images", 96), IntType(8, False)), 96), IntType(8, False))
    with pytest.raises(DoesNotFit, match=r"LUTs, .*block RAMs, .*feature memory has \d+ bytes, the largest"):
        explore(build.graph(), BOARD)


@pytest.mark.parametrize("seed", range(60))
def test_bounds_are_never_above_what_is_planned(seed: int) -> None:
    """All arrays that one excludes would be worse, or too large."""
    graph, _ = random_graph(seed, adders=0.2) if seed % 3 == 0 else random_network(seed, (MOVES, KINDS)[seed % 3 - 1])
    network, array = prepare(graph), random_array(seed)
    program = compile_graph(graph, **array)
    bounds, shape = Bounds(network), skeleton(**array, axi_data_bits=64)
    assert bounds.cycles(shape) <= program.cycles_per_batch
    assert bounds.rows(shape) <= program.rows_used
    assert bounds.weight_words(shape) <= len(program.weight_words)
