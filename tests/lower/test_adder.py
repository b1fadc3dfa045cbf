"""Adder layers on the engine: corners of weights and maps, what grouped and partly filled channel groups cost."""

import numpy as np
import pytest

from shifthw.emulator import Emulator
from shifthw.errors import UnsupportedModel
from shifthw.ir.graph import AdderConv2d, Graph, Requantize
from shifthw.ir.interpret import interpret
from shifthw.ir.types import IntType
from shifthw.ir.verify import MAX_BIAS, MAX_MULTIPLIER, MAX_SHIFT
from shifthw.lower import compile_graph
from shifthw.program import Program

from .graphs import GraphBuilder

U8, S8 = IntType(8, False), IntType(8, True)
ARRAY = {"images": 1, "pixels": 4, "simd": 8, "pe": 4}


def check(graph: Graph, pictures: np.ndarray, **array: int) -> Program:
    program = compile_graph(graph, **(ARRAY | array))
    run = Emulator(program).run(pictures)
    np.testing.assert_array_equal(run.outputs, interpret(graph, pictures)[graph.outputs[0]])
    assert run.cycles == program.cycles(program.batches(len(pictures)))
    return program


def builder(shape: tuple[int, int, int], dtype: IntType = S8, seed: int = 1) -> GraphBuilder:
    return GraphBuilder(np.random.default_rng(seed), shape, dtype)


@pytest.mark.parametrize("dtype", [U8, S8, IntType(2, True), IntType(3, False), IntType(16, True), IntType(32, True),
                                   IntType(32, False)], ids=str)
@pytest.mark.parametrize("extreme", ["lo", "hi"])
@pytest.mark.parametrize("reach", [-(1 << 31), -1, 0, 1, 1 << 31])
def test_extremes_of_weights_and_activations(dtype: IntType, extreme: str, reach: int) -> None:
    build = builder((11, 3, 4), dtype)
    weight = np.full((5, 11, 3, 3), reach)
    weight[2:] = np.clip(weight[2:], dtype.lo, dtype.hi)
    weight[4] = np.clip(dtype.lo + dtype.hi - weight[4], -(1 << 31), 1 << 31)
    acc = build.add(AdderConv2d(weight, (1, 1), (1, 1, 1, 1)), "images")
    build.requantize(acc, S8, gain=0.5)
    check(build.graph(), np.full((2, 11, 3, 4), getattr(dtype, extreme)))


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (7, 7)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
def test_padding_counts_the_weight(size: tuple[int, int], stride: tuple[int, int]) -> None:
    """Taps that see nothing but padding included: those of a 5x5 kernel on a 1x1 map."""
    build = builder((3, *size))
    build.requantize(build.adder("images", 6, (5, 5), stride, (2, 2, 2, 2)), S8)
    check(build.graph(), build.images(3))


@pytest.mark.parametrize("stride", [8, 9, 12])
def test_results_wait_for_a_write_beat_per_phase_plane(stride: int) -> None:
    build = builder((3, 2 * stride, 2 * stride))
    x = build.requantize(build.adder("images", 8, (1, 1), padding=(0, 0, 0, 0)), S8)
    build.requantize(build.adder(x, 8, (stride, stride), (stride, stride), (0, 0, 0, 0)), S8)
    check(build.graph(), build.images(2))


def test_layers_that_share_an_array_with_shifts() -> None:
    build = builder((3, 9, 7), U8)
    x = build.requantize(build.conv("images", 16), S8)
    x = build.requantize(build.adder(x, 16), U8)
    x = build.requantize(build.conv(x, 12, terms=2, stride=(2, 2)), S8)
    x = build.requantize(build.adder(x, 12), S8, x)
    build.requantize(build.conv(x, 5, (1, 1), padding=(0, 0, 0, 0)), S8)
    program = check(build.graph(), build.images(5), images=2)
    assert program.config.adder and program.config.exponent_levels == 8 and program.config.code_bits == 8


def test_adder_layers_alone_need_no_shift() -> None:
    build = builder((8, 6, 6), U8)
    x = build.requantize(build.adder("images", 8), U8)
    x = build.requantize(build.adder(x, 8), U8, "images")
    program = check(build.graph(), build.images(3))
    assert program.config.exponent_levels == 0 and not program.config.zero_weights


def duration(channels: int, groups: int = 1) -> int:
    """Steps of the array for an adder layer on one tile."""
    build = builder((channels, 2, 2))
    build.requantize(build.adder("images", 8, groups=groups), S8)
    return check(build.graph(), build.images(2)).layers[0].steps // 2


def test_only_grouped_layers_take_two_steps() -> None:
    assert duration(24) == 9 * 3
    assert duration(20) == 9 * 3            # the last channel group is half empty
    assert duration(8) == 9
    assert duration(8, groups=2) == 2 * 9


@pytest.mark.parametrize(("channels", "groups", "outputs"), [(20, 2, 30), (33, 3, 12), (18, 6, 36), (2, 2, 10)])
def test_groups_that_cross_channel_groups(channels: int, groups: int, outputs: int) -> None:
    """Two grouped layers, the second with a residual, then one of stride 2; the narrowest input packs taps."""
    build = builder((channels, 4, 5), IntType(5, False))
    x = build.requantize(build.adder("images", outputs, groups=groups), IntType(4, True))
    y = build.requantize(build.adder(x, outputs, groups=groups), S8, x)
    build.requantize(build.adder(y, 9, stride=(2, 2)), IntType(2, True))
    check(build.graph(), build.images(2))
    check(build.graph(), build.images(2), simd=16, pe=2, pixels=2)


def test_the_first_layer_packs_taps() -> None:
    build = builder((2, 6, 6), U8)
    build.requantize(build.adder("images", 8), U8)
    program = check(build.graph(), build.images(2))
    assert program.layers[0].steps == 3 * 2 * 9     # 9 taps in 3 steps of 4, output groups, tiles


def test_weights_of_any_range_take_a_code_of_the_bits_of_an_activation() -> None:
    build = builder((8, 4, 4))
    build.requantize(build.adder("images", 8, reach=100.0), S8)
    assert check(build.graph(), build.images(2)).config.code_bits == 8


def widest(bias: int, residual: int, groups: int = 2) -> GraphBuilder:
    """An adder layer of 32 bits whose requantize uses the largest multiplier and shift."""
    build = builder((4, 3, 3), IntType(32, True))
    acc = build.adder("images", 4, groups=groups)
    multipliers = np.full(4, MAX_MULTIPLIER), np.full(4, residual)
    op = Requantize(multipliers, np.full(4, bias), MAX_SHIFT, -(1 << 31), (1 << 31) - 1)
    build.add(op, acc, "images", dtype=IntType(32, True))
    return build


@pytest.mark.parametrize(("bias", "residual", "groups"), [
    (0, MAX_MULTIPLIER, 2), (-MAX_BIAS, -MAX_MULTIPLIER, 2), (MAX_BIAS, MAX_MULTIPLIER, 1)])
def test_widest_residuals_and_biases(bias: int, residual: int, groups: int) -> None:
    build = widest(bias, residual, groups)
    check(build.graph(), build.images(2))


@pytest.mark.parametrize(("bias", "residual", "groups"), [(MAX_BIAS, -MAX_MULTIPLIER, 1), (MAX_BIAS, 1, 2),
                                                          (-MAX_BIAS, MAX_MULTIPLIER, 2)])
def test_a_bias_that_grows_beyond_64_bits_is_refused(bias: int, residual: int, groups: int) -> None:
    with pytest.raises(UnsupportedModel, match="^adderconv2d1: its bias takes 65 bits as the engine adds it"):
        compile_graph(widest(bias, residual, groups).graph(), **ARRAY)
