"""Layers of a graph."""

import numpy as np
import pytest

from shifthw.emulator import Emulator
from shifthw.errors import UnsupportedModel
from shifthw.ir import interpret
from shifthw.ir.graph import Flatten, MaxPool2d, Requantize, Rounding, SumPool2d
from shifthw.ir.types import IntType
from shifthw.lower import compile_graph
from shifthw.lower.fuse import Kind, fuse

from .graphs import GraphBuilder

S8 = IntType(8, True)


def builder(shape: tuple[int, int, int] = (4, 6, 6)) -> GraphBuilder:
    return GraphBuilder(np.random.default_rng(1), shape, S8)


def add(build: GraphBuilder, multipliers: list[int | list[int]], *inputs: str, shift: int = 4,
        rounding: Rounding = Rounding.FLOOR, bias: int = 0) -> str:
    channels = build.type(inputs[0]).channels
    m = tuple(np.broadcast_to(np.array(value, np.int64), channels) for value in multipliers)
    return build.add(Requantize(m, np.full(channels, bias), shift, -128, 127, rounding), *inputs, dtype=S8)


def test_conv_takes_its_requantize_and_residual() -> None:
    build = builder()
    name = add(build, [3, 5], build.conv("images", 4), "images")
    network = fuse(build.graph())
    (layer,) = network.layers
    assert (layer.kind, layer.source, layer.output, layer.residual) == (Kind.CONV, "images", name, "images")
    assert layer.scale.residual_multiplier == 5


def test_common_factors_of_two_are_divided_out_exactly() -> None:
    build = builder()
    add(build, [12, 8], build.conv("images", 4), "images", shift=5, bias=-7, rounding=Rounding.HALF_UP)
    scale = fuse(build.graph()).layers[0].scale
    assert (scale.multiplier[0], scale.residual_multiplier, scale.shift, scale.bias[0]) == (3, 2, 3, (-7 + 16) >> 2)


def test_activations_alone_become_identities() -> None:
    build = builder()
    first = add(build, [16], "images")
    add(build, [[1, 2, 3, 4], 16], first, "images")
    layers = fuse(build.graph()).layers
    assert [layer.kind for layer in layers] == [Kind.IDENTITY] * 2
    assert (layers[1].source, layers[1].residual) == (first, "images")


def test_operands_swap_if_only_the_second_has_multipliers_per_channel() -> None:
    build = builder()
    first = add(build, [16], "images")
    add(build, [16, [1, 2, 3, 4]], first, "images")
    layer = fuse(build.graph()).layers[1]
    assert (layer.source, layer.residual, layer.scale.residual_multiplier) == ("images", first, 16)


def test_residual_multipliers_per_channel_have_no_mapping() -> None:
    build = builder()
    add(build, [3, [1, 2, 3, 4]], build.conv("images", 4), "images")
    with pytest.raises(UnsupportedModel, match="residual images has a multiplier per channel"):
        fuse(build.graph())


def test_two_accumulators_have_no_mapping() -> None:
    build = builder()
    add(build, [3, 3], build.conv("images", 4), build.conv("images", 4))
    with pytest.raises(UnsupportedModel, match="quantize the other operand"):
        fuse(build.graph())


def test_linear_behind_flatten_covers_the_map() -> None:
    build = builder((4, 3, 5))
    build.add(Flatten(), "images")
    add(build, [3], build.conv("flatten1", 7, (1, 1), padding=(0, 0, 0, 0)))
    layer = fuse(build.graph()).layers[0]
    assert layer.kernel == (3, 5) and layer.weight.sign.shape == (1, 7, 4, 3, 5)


def test_flatten_of_one_pixel_is_nothing() -> None:
    build = builder((4, 1, 1))
    add(build, [3], build.add(Flatten(), "images"))
    assert fuse(build.graph()).layers[0].source == "images"


def test_only_linear_layers_read_flattened_maps() -> None:
    build = builder()
    build.add(Flatten(), "images")
    build.add(MaxPool2d((1, 1), (1, 1)), "flatten1")
    with pytest.raises(UnsupportedModel, match="before the flatten"):
        fuse(build.graph())


def test_strides_without_a_second_window_are_dropped() -> None:
    build = builder((4, 5, 8))
    add(build, [3], build.add(SumPool2d((5, 2), (5, 2)), "images"))
    assert fuse(build.graph()).layers[0].stride == (1, 2)


def test_the_input_itself_as_result_is_copied() -> None:
    network = fuse(builder().graph())
    assert network.result == "images.result" and network.layers[0].kind is Kind.IDENTITY


def test_residual_times_zero_is_none() -> None:
    build = builder()
    other = build.requantize(build.conv("images", 4), S8)
    add(build, [1, 0], build.conv(other, 4), other, shift=0)
    layers = fuse(build.graph()).layers
    assert [layer.residual for layer in layers] == [None, None]
    program = compile_graph(build.graph(), images=1, pixels=4, simd=4, pe=4)
    images = build.images(2)
    golden = interpret(build.graph(), images)[build.graph().outputs[0]]
    np.testing.assert_array_equal(Emulator(program).run(images).outputs, golden)
