"""Whole compilations: derived configurations, efficiency, determinism."""

import dataclasses

import numpy as np
import pytest

from shifthw import zoo
from shifthw.emulator import Emulator
from shifthw.errors import DoesNotFit
from shifthw.ir.graph import Requantize
from shifthw.ir.interpret import interpret
from shifthw.ir.types import IntType
from shifthw.lower import compile_graph
from shifthw.lower.compile import prepare
from shifthw.lower.derive import accumulator_ranges, depth
from shifthw.lower.encode import pack_words
from shifthw.lower.scaling import share_shifts, signed_bits
from shifthw.lower.schedule import Cycles
from shifthw.tile_loop import unpack_words

from .graphs import GraphBuilder, random_graph

S8, U8 = IntType(8, True), IntType(8, False)


@pytest.mark.parametrize(("name", "busy"), [("resnet8", 0.93), ("resnet20", 0.90)])
def test_residual_networks_keep_the_array_busy(name: str, busy: float) -> None:
    graph = zoo.build(name)
    program = compile_graph(graph, images=1, pixels=8, simd=16, pe=16)
    assert program.busy >= busy
    shape = graph.nodes[0].output
    images = np.random.default_rng(1).integers(shape.dtype.lo, shape.dtype.hi + 1, (2, *shape.shape))
    run = Emulator(program).run(images)
    np.testing.assert_array_equal(run.outputs, interpret(graph, images)[graph.outputs[0]])
    assert sum(layer.cycles for layer in program.layers) < program.cycles_per_batch == run.cycles_per_batch[0]


def test_equal_graphs_give_equal_bytes() -> None:
    files = [compile_graph(random_graph(3)[0], images=1, pixels=4, simd=8, pe=4).files() for _ in range(2)]
    assert files[0] == files[1]


def test_one_image_more_changes_no_word() -> None:
    one, two = (compile_graph(random_graph(4)[0], images=images, pixels=4, simd=8, pe=4) for images in (1, 2))
    assert dataclasses.replace(two.config, images=1) == one.config
    assert two.image() == one.image()


def test_accumulator_is_as_wide_as_its_extremes_and_no_wider() -> None:
    build = GraphBuilder(np.random.default_rng(1), (2, 3, 3), U8, zeros=False)
    acc = build.conv("images", 1, (1, 1), padding=(0, 0, 0, 0), levels=1)
    build.requantize(acc, S8)
    network = prepare(build.graph())
    weights = network.layers[0].weight.integer
    lo, hi = 255 * np.minimum(weights, 0).sum(), 255 * np.maximum(weights, 0).sum()
    assert list(accumulator_ranges(network).values()) == [(lo, hi)]
    program = compile_graph(build.graph(), images=1, pixels=2, simd=2, pe=1)
    assert program.config.accumulator_bits == signed_bits(int(lo), int(hi))


def test_weights_without_zeros_need_no_code_for_zero() -> None:
    build = GraphBuilder(np.random.default_rng(1), (5, 4, 4), S8, zeros=False)
    build.requantize(build.conv("images", 8), S8)
    small = compile_graph(build.graph(), images=1, pixels=4, simd=8, pe=8)
    split = compile_graph(build.graph(), images=1, pixels=4, simd=4, pe=4)
    assert (small.config.zero_weights, split.config.zero_weights) == (False, True)
    assert small.config.code_bits == split.config.code_bits - 1


def test_shifts_are_shared_where_multipliers_have_room() -> None:
    build = GraphBuilder(np.random.default_rng(1), (4, 4, 4), S8)
    for _ in range(4):
        build.requantize(build.conv(build.nodes[-1].name, 4), S8)
    layers = prepare(build.graph()).layers
    for i, (layer, shift) in enumerate(zip(layers, (4, 9, 10, 30), strict=True)):
        scale = dataclasses.replace(layer.scale, multiplier=np.array([100, -7, 3, 1]), bias=np.arange(4) - 2,
                                    shift=shift)
        layers = layers[:i] + (dataclasses.replace(layer, scale=scale),) + layers[i + 1:]
    shared = share_shifts(layers, 8)
    assert [layer.scale.shift for layer in shared] == [10, 10, 10, 30]
    assert shared[0].scale.multiplier.tolist() == [6400, -448, 192, 64]
    assert shared[0].scale.bias.tolist() == [-128, -64, 0, 64]


def test_a_shared_shift_leaves_room_for_the_residuals_zero_point() -> None:
    wide = IntType(32, True)
    build = GraphBuilder(np.random.default_rng(1), (4, 3, 3), wide)
    def layer(source: str, multipliers: tuple[np.ndarray, ...], shift: int, *residual: str) -> str:
        acc = build.adder(source, 4, (1, 1), padding=(0, 0, 0, 0))
        return build.add(Requantize(multipliers, np.zeros(4, np.int64), shift, wide.lo, wide.hi), acc, *residual,
                         dtype=wide)

    first = layer("images", (np.full(4, 1), np.full(4, 256)), 10, "images")
    layer(first, (np.full(4, (1 << 31) - 1),), 36)
    images = build.images(2)
    program = compile_graph(build.graph(), images=1, pixels=4, simd=4, pe=4)
    np.testing.assert_array_equal(Emulator(program).run(images).outputs,
                                  interpret(build.graph(), images)[build.nodes[-1].name])


def test_batches_cost_the_same() -> None:
    assert Cycles(prologue=3, batch=100).total(5) == 503


@pytest.mark.parametrize(("words", "expected"), [(1, 16), (17, 32), (512, 512), (513, 1024), (1025, 1536)])
def test_depths(words: int, expected: int) -> None:
    assert depth(words) == expected


def test_words_pack_and_unpack() -> None:
    widths, rng = [3, 1, 17, 40, 64], np.random.default_rng(1)
    fields = np.stack([rng.integers(-(1 << (w - 1)), 1 << (w - 1), 100) for w in widths[:4]]
                      + [rng.integers(-(1 << 63), 1 << 62, 100)], axis=1)
    np.testing.assert_array_equal(unpack_words(pack_words(fields, widths), widths, [True] * 5), fields)


@pytest.mark.parametrize("array", [{"simd": 12}, {"pe": 32}, {"pixels": 1}, {"images": 17}])
def test_impossible_arrays(array: dict[str, int]) -> None:
    with pytest.raises(DoesNotFit, match="array: "):
        compile_graph(random_graph(1)[0], **{"images": 1, "pixels": 4, "simd": 16, "pe": 4, **array})


@pytest.mark.parametrize(("residuals", "bits"), [((), 0), ((1, 2), 0), ((2,), 2)])
def test_layers_without_a_residual_need_a_multiplier_of_0_beside_those_with_one(residuals: tuple[int, ...],
                                                                               bits: int) -> None:
    build = GraphBuilder(np.random.default_rng(1), (4, 4, 4), S8, unit_scales=True)
    tensor = "images"
    for layer in (1, 2):
        acc = build.conv(tensor, 4)
        m = (np.ones(4, np.int64),) * (1 + (layer in residuals))
        inputs = (acc, tensor) if layer in residuals else (acc,)
        tensor = build.add(Requantize(m, np.arange(4), 6, -128, 127), *inputs, dtype=S8)
    graph, images = build.graph(), build.images(2)
    program = compile_graph(graph, images=1, pixels=4, simd=4, pe=4)
    assert program.config.multiplier_bits == bits
    np.testing.assert_array_equal(Emulator(program).run(images).outputs, interpret(graph, images)[graph.outputs[0]])
