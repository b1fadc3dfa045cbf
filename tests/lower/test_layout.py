"""Layouts: phase planes, pitches, copies, placement."""

from itertools import product

import numpy as np
import pytest

from shifthw.ir.graph import MaxPool2d
from shifthw.ir.types import IntType
from shifthw.lower.allocate import allocate, lifetimes
from shifthw.lower.fuse import Network, fuse
from shifthw.lower.layout import insert_copies, lay_out
from shifthw.tensor_layout import TensorLayout

from .graphs import GraphBuilder, random_graph

S8 = IntType(8, True)


def network_of(seed: int) -> Network:
    return insert_copies(fuse(random_graph(seed)[0]))


@pytest.mark.parametrize("stride", list(product((1, 2, 3), repeat=2)))
@pytest.mark.parametrize(("shape", "pitch", "pixels"), [((5, 7, 9), 9, 4), ((4, 1, 1), 1, 8), ((9, 3, 2), 5, 2)])
def test_scatter_and_gather_are_inverse(stride: tuple[int, int], shape: tuple[int, int, int], pitch: int,
                                        pixels: int) -> None:
    layout = TensorLayout(name="t", shape=shape, dtype=S8, pixels=pixels, simd=4, stride=stride, pitch=pitch)
    images = np.random.default_rng(1).integers(-128, 128, (2, *shape))
    rows = layout.scatter(images)
    assert rows.shape == (2, layout.rows, pixels, 4)
    np.testing.assert_array_equal(layout.gather(rows), images)
    y, x, c = shape[1] - 1, shape[2] - 1, shape[0] - 1
    plane = y % stride[0] * stride[1] + x % stride[1]
    index = y // stride[0] * pitch + x // stride[1]
    row = (c // 4 * layout.planes + plane) * layout.plane_rows + index // pixels
    assert (rows[:, row, index % pixels, c % 4] == images[:, c, y, x]).all()


def test_json_round_trip() -> None:
    layout = TensorLayout(name="t", shape=(1, 2, 3), dtype=S8, pixels=2, simd=2, stride=(2, 1), pitch=3, row=5)
    assert TensorLayout.from_json(layout.to_json()) == layout


def test_pitch_leaves_room_for_wider_outputs_and_reaches_back_to_the_input() -> None:
    build = GraphBuilder(np.random.default_rng(1), (4, 4, 4), S8)
    first = build.requantize(build.conv("images", 4, (1, 1), padding=(0, 0, 0, 0)), S8)
    build.requantize(build.conv(first, 4, (1, 1), padding=(0, 2, 0, 3)), S8)
    layouts = lay_out(insert_copies(fuse(build.graph())), 4, 4)
    assert layouts[first].pitch == 9
    assert layouts["images"].pitch >= 4


def test_residual_has_the_pitch_of_its_loop() -> None:
    build = GraphBuilder(np.random.default_rng(2), (4, 8, 8), S8)
    wide = build.requantize(build.conv("images", 4, (3, 3), padding=(1, 0, 1, 0)), S8)  # 6 columns
    narrow = build.requantize(build.conv("images", 4, (3, 3), padding=(1, 0, 1, 0)), S8)
    build.requantize(build.conv(wide, 4, (3, 1), padding=(1, 0, 1, 0)), S8, narrow)
    layouts = lay_out(insert_copies(fuse(build.graph())), 4, 4)
    assert layouts[wide].pitch == layouts[narrow].pitch


def test_copies_where_readers_disagree() -> None:
    build = GraphBuilder(np.random.default_rng(3), (4, 8, 8), S8)
    build.add(MaxPool2d((2, 2), (2, 2)), "images")
    build.add(MaxPool2d((3, 3), (3, 3)), "images")
    pooled = build.nodes[-1].name
    network = insert_copies(fuse(build.graph(pooled)))
    assert [layer.output for layer in network.layers[:2]] == ["images.stride2x2", "images.stride3x3"]
    layouts = lay_out(network, 4, 4)
    assert layouts["images"].planes == 1 and layouts["images.stride3x3"].planes == 9


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_invariants_of_random_networks(first: int) -> None:
    for seed in range(first, first + 20):
        network = network_of(seed)
        layouts = allocate(network, lay_out(network, 8, 8))
        for layer in network.layers:
            assert all(layouts[name].stride == layer.stride for name in layer.source.names)
            if layer.residual:
                assert all(layouts[name].stride == (1, 1) for name in layer.residual.names)
        spans = lifetimes(network)
        names = list(layouts)
        for i, a in enumerate(names):
            for b in names[:i]:
                if spans[a][0] <= spans[b][1] and spans[b][0] <= spans[a][1]:
                    assert (layouts[a].row + layouts[a].rows <= layouts[b].row
                            or layouts[b].row + layouts[b].rows <= layouts[a].row), (a, b)
