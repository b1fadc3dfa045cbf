"""What costs nothing: spatial shifts, shuffles, splits, concatenations, channel shifts."""

from itertools import pairwise

import numpy as np
import pytest

from shifthw.ir.graph import Graph, SpatialShift2d
from shifthw.ir.types import IntType
from shifthw.lower import compile_graph
from shifthw.program import Program

from .networks import NetworkBuilder

U8 = IntType(8, False)
ARRAYS = [(8, 16, 16), (8, 8, 8), (4, 32, 8), (16, 4, 2)]
PLAIN = {"kernel": (1, 1), "padding": (0, 0, 0, 0)}


def compiled(graph: Graph, array: tuple[int, int, int]) -> Program:
    pixels, simd, pe = array
    return compile_graph(graph, images=1, pixels=pixels, simd=simd, pe=pe)


def builder() -> NetworkBuilder:
    return NetworkBuilder(np.random.default_rng(1), (3, 16, 16), U8)


def shift_network(reach: int, expansion: int = 3) -> Graph:
    """ShiftResNet blocks: 1x1, shift, 1x1 with a residual; the second stage has stride 2."""
    build = builder()
    x = build.requantize(build.conv("images", 18), U8)
    for channels, stride in ((18, 1), (18, 1), (36, 2), (36, 1)):
        y = build.requantize(build.conv(x, expansion * channels, **PLAIN), U8)
        if reach >= 0:
            displacement = build.rng.integers(-reach, reach, (expansion * channels, 2), endpoint=True)
            y = build.add(SpatialShift2d(displacement), y)
        acc = build.conv(y, channels, stride=(stride, stride), **PLAIN)
        x = build.requantize(acc, U8, x if stride == 1 else None)
    build.requantize(build.conv(x, 10, **PLAIN), U8)
    return build.graph()


@pytest.mark.parametrize("array", ARRAYS)
def test_shifts_take_no_cycles(array: tuple[int, int, int]) -> None:
    still, without = compiled(shift_network(0), array), compiled(shift_network(-1), array)
    shifted = compiled(shift_network(3), array)
    assert shifted.cycles_per_batch == still.cycles_per_batch == without.cycles_per_batch
    assert [layer.steps for layer in shifted.layers] == [layer.steps for layer in without.layers]
    assert len(shifted.weight_words) == len(without.weight_words)
    assert shifted.rows_used == without.rows_used
    assert not any(layer.copy for layer in shifted.layers)


def shufflenet_v2(width: int, shuffled: bool, units: int = 5) -> Graph:
    """Units that pass half of the channels by, join both halves, and shuffle them."""
    build = builder()
    x = build.requantize(build.conv("images", 2 * width), U8)
    for _ in range(units):
        left, right = (build.select(x, np.arange(first, first + width)) for first in (0, width))
        y = build.requantize(build.conv(right, width, **PLAIN), U8)
        y = build.requantize(build.conv(y, width, groups=width), U8)
        y = build.requantize(build.conv(y, width, **PLAIN), U8)
        x = build.concat(left, y)
        if shuffled:
            x = build.select(x, np.arange(2 * width).reshape(2, width).T.ravel())
    build.requantize(build.conv(x, 32, **PLAIN), U8)
    return build.graph()


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("width", [24, 29, 58])
def test_shuffles_of_parts_take_no_cycles(width: int, array: tuple[int, int, int]) -> None:
    plain, shuffled = (compiled(shufflenet_v2(width, each), array) for each in (False, True))
    assert shuffled.cycles_per_batch == plain.cycles_per_batch
    assert not any(layer.copy for layer in shuffled.layers)


def shufflenet_v1(middle: int, shuffled: bool, groups: int = 3) -> Graph:
    """Units of grouped 1x1, shuffle, depthwise and grouped 1x1 convolutions with a residual."""
    build = builder()
    x = build.requantize(build.conv("images", 4 * middle), U8)
    for _ in range(3):
        y = build.requantize(build.conv(x, middle, groups=groups, **PLAIN), U8)
        if shuffled:
            y = build.select(y, np.arange(middle).reshape(groups, -1).T.ravel())
        y = build.requantize(build.conv(y, middle, groups=middle), U8)
        x = build.requantize(build.conv(y, 4 * middle, groups=groups, **PLAIN), U8, x)
    return build.graph()


@pytest.mark.parametrize("array", ARRAYS)
def test_shuffles_between_grouped_convolutions_take_no_cycles(array: tuple[int, int, int]) -> None:
    plain, shuffled = (compiled(shufflenet_v1(60, each), array) for each in (False, True))
    assert shuffled.cycles_per_batch == plain.cycles_per_batch
    assert not any(layer.copy for layer in shuffled.layers)


@pytest.mark.parametrize("array", ARRAYS[:2])
def test_a_circular_channel_shift_takes_no_cycles(array: tuple[int, int, int]) -> None:
    cycles = []
    for amount in (0, 1, 7):
        build = builder()
        x = build.requantize(build.conv("images", 32), U8)
        x = build.select(x, np.roll(np.arange(32), amount))
        x = build.requantize(build.conv(x, 32, **PLAIN), U8)
        build.requantize(build.conv(x, 16, **PLAIN), U8)
        cycles.append(compiled(build.graph(), array).cycles_per_batch)
    assert all(a == b for a, b in pairwise(cycles))


def test_parts_of_full_channel_groups_are_joined_for_nothing() -> None:
    cycles = []
    for parts in (1, 2, 4):
        build = builder()
        made = [build.requantize(build.conv("images", 64 // parts), U8) for _ in range(parts)]
        x = build.concat(*made) if parts > 1 else made[0]
        build.requantize(build.conv(x, 32), U8)
        program = compiled(build.graph(), (8, 16, 16))
        cycles.append(program.layers[-1].steps)
        assert not any(layer.copy for layer in program.layers)
    assert len(set(cycles)) == 1


def test_a_residual_in_other_lanes_is_copied_and_reported() -> None:
    build = builder()
    x = build.requantize(build.conv("images", 24), U8)
    y = build.requantize(build.conv(x, 24, groups=24), U8)
    build.requantize(y, U8, build.select(x, np.arange(24)[::-1].copy()))
    program = compiled(build.graph(), (8, 16, 16))
    copies = [layer for layer in program.layers if layer.copy]
    assert len(copies) == 1
    assert "different lanes" in copies[0].copy
