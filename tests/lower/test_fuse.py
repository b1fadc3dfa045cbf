"""Layers of a graph."""

import numpy as np
import pytest

from shifthw.emulator import Emulator
from shifthw.errors import UnsupportedModel
from shifthw.ir import interpret
from shifthw.ir.graph import Flatten, MaxPool2d, Requantize, Rounding, ShiftConv2d, SumPool2d
from shifthw.ir.types import IntType, ShiftWeight
from shifthw.lower import compile_graph
from shifthw.lower.fuse import Kind, Scale, fuse

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
    assert (layer.kind, layer.output) == (Kind.CONV, name)
    assert layer.source.names == layer.residual.names == ("images",)
    assert layer.scale.residual_multiplier == 5


def test_common_factors_of_two_are_divided_out_exactly() -> None:
    build = builder()
    add(build, [12, 8], build.conv("images", 4), "images", shift=5, bias=-7, rounding=Rounding.HALF_UP)
    scale = fuse(build.graph()).layers[0].scale
    assert (scale.multiplier[0], scale.residual_multiplier, scale.shift, scale.bias[0]) == (3, 2, 3, (-7 + 16) >> 2)


def scaled(scale: Scale, acc: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """The equation of Scale, per channel: int64[values, channels]."""
    total = acc[:, None] * scale.multiplier + residual[:, None] * scale.residual_multiplier + scale.bias
    shifted = total >> scale.shift
    if scale.ties_to_even and scale.shift:
        shifted = np.where(total % (1 << scale.shift) == 0, shifted & ~1, shifted)
    return np.clip(shifted, scale.lo, scale.hi)


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("shift", [0, 1, 2, 5])
@pytest.mark.parametrize("multipliers", [(1, 1, 1, 1), (2, 6, -2, 4), (4, 4, 4, 4), (12, 8, 0, -4), (0, 0, 0, 0),
                                         (3, 5, 1, -7), (32, 64, 32, 96)])
@pytest.mark.parametrize("residual_multiplier", [0, 1, 4])
def test_scales_equal_the_golden_model(rounding: Rounding, shift: int, multipliers: tuple[int, ...],
                                       residual_multiplier: int) -> None:
    """Biases that tie in all, in some and in no channels."""
    operands = (np.arange(-40, 41), np.arange(40, -41, -1) * 3)
    half = 1 << shift >> 1
    for bias in ([0, 0, 0, 0], [half, 0, 1, -1], [1, 3, 5, 7], [half, half, half, half], [2, 4, -6, 10]):
        factors = (np.array(multipliers), np.full(4, residual_multiplier))
        op = Requantize(factors, np.array(bias), shift, -128, 127, rounding)
        build = sum_of_halves(op)
        images = np.repeat(np.stack(operands, axis=1), 4, axis=1)[:, :, None, None]
        expected = interpret(build.graph(), images)[build.graph().outputs[0]][:, :, 0, 0]
        np.testing.assert_array_equal(scaled(fuse(build.graph()).layers[-1].scale, *operands), expected)


def sum_of_halves(op: Requantize) -> GraphBuilder:
    """`op` on the first four and the last four channels of the input."""
    build = GraphBuilder(np.random.default_rng(0), (8, 1, 1), IntType(16, True))
    pick = np.eye(8, dtype=np.int8).reshape(1, 8, 8, 1, 1)
    names = []
    for half in (pick[:, :4], pick[:, 4:]):
        acc = build.add(ShiftConv2d(ShiftWeight(half.copy(), np.zeros_like(half))), "images")
        names.append(build.add(Requantize((np.ones(4, np.int64),), np.zeros(4, np.int64), 0, -(1 << 15), (1 << 15) - 1),
                               acc, dtype=IntType(16, True)))
    build.add(op, *names, dtype=S8)
    return build


@pytest.mark.parametrize(("multiplier", "bias", "expected"), [
    (1, [0, 0, 0, 0], (1, 3, True)),         # ties
    (4, [0, 4, -4, 8], (1, 1, True)),        # ties, common factor gone
    (4, [1, 2, 3, 5], (1, 1, False)),        # no ties: halves may as well go up
    (4, [0, 2, 3, 5], (2, 2, True)),         # some: one factor holds the others off
    (8, [4, 4, 4, 4], (2, 1, True)),         # nothing but ties: one bit is left to see it
    (8, [0, 0, 0, 0], (1, 0, False)),        # whole numbers
])
def test_ties_to_even_only_where_there_are_ties(multiplier: int, bias: list[int],
                                                expected: tuple[int, int, bool]) -> None:
    build = builder()
    build.add(Requantize((np.full(4, multiplier),), np.array(bias), 3, -128, 127, Rounding.HALF_EVEN),
              build.conv("images", 4), dtype=S8)
    scale = fuse(build.graph()).layers[0].scale
    assert (scale.multiplier[0], scale.shift, scale.ties_to_even) == expected
    config = compile_graph(build.graph(), images=1, pixels=2, simd=4, pe=2).config
    assert config.ties_to_even == expected[2]


def test_activations_alone_become_identities() -> None:
    build = builder()
    first = add(build, [16], "images")
    add(build, [[1, 2, 3, 4], 16], first, "images")
    layers = fuse(build.graph()).layers
    assert [layer.kind for layer in layers] == [Kind.IDENTITY] * 2
    assert (layers[1].source.names, layers[1].residual.names) == ((first,), ("images",))


def test_operands_swap_if_only_the_second_has_multipliers_per_channel() -> None:
    build = builder()
    first = add(build, [16], "images")
    add(build, [16, [1, 2, 3, 4]], first, "images")
    layer = fuse(build.graph()).layers[1]
    assert (layer.source.names, layer.residual.names, layer.scale.residual_multiplier) == (("images",), (first,), 16)


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
    assert fuse(build.graph()).layers[0].source.names == ("images",)


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
