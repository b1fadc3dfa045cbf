"""Each inconsistency that verify must name, made by one change to a good graph."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from shifthw.errors import UnsupportedModel
from shifthw.ir import (
    AdderConv2d,
    AddressShift2d,
    BilinearUpsample2d,
    Concat,
    Flatten,
    Graph,
    Input,
    IntType,
    Lookup,
    MaxPool2d,
    Multiply,
    Node,
    Requantize,
    SelectChannels,
    ShiftConv2d,
    ShiftWeight,
    SpatialShift2d,
    SumPool2d,
    TensorType,
    Upsample2d,
    interpret,
    verify,
)

U8 = IntType(8, False)


def good() -> Graph:
    """A residual block, an adder layer, a maximum pool, a sum pool."""
    ones, zeros = np.ones(2, np.int64), np.zeros(2, np.int64)
    sign = np.ones((1, 2, 2, 3, 3), np.int8)
    conv = ShiftConv2d(ShiftWeight(sign, np.zeros_like(sign)), padding=(1, 1, 1, 1))
    act = TensorType((2, 4, 4), U8)
    nodes = (
        Node("input", Input(), (), act),
        Node("conv", conv, ("input",), TensorType((2, 4, 4), IntType(14, True))),
        Node("add", Requantize((ones, ones), zeros, 4, 0, 255), ("conv", "input"), act),
        Node("adder", AdderConv2d(np.full((2, 2, 3, 3), -300), padding=(1, 1, 1, 1)), ("add",),
             TensorType((2, 4, 4), IntType(15, True))),
        Node("act", Requantize((ones,), zeros + 5000, 4, 0, 255), ("adder",), act),
        Node("max", MaxPool2d((2, 2), (2, 2)), ("act",), TensorType((2, 2, 2), U8)),
        Node("sum", SumPool2d((2, 2), (2, 2)), ("max",), TensorType((2, 1, 1), IntType(11, True))),
        Node("mean", Requantize((ones,), zeros, 2, 0, 255), ("sum",), TensorType((2, 1, 1), U8)),
        Node("flat", Flatten(), ("mean",), TensorType((2, 1, 1), U8)),
    )
    return Graph("net", nodes, ("flat",))


def moving() -> Graph:
    """Shifts, channels taken and joined, enlargements, a product, a table."""
    ones, zeros = np.ones(2, np.int64), np.zeros(2, np.int64)
    act, still = TensorType((2, 4, 4), U8), np.zeros((2, 2), np.int64)
    kept = Requantize((ones,), zeros, 4, 0, 255)
    nodes = (
        Node("input", Input(), (), act),
        Node("shift", SpatialShift2d(still - 1), ("input",), act),
        Node("halves", SpatialShift2d(still + 1, 2, (2, 1)), ("input",), TensorType((2, 2, 4), IntType(10, False))),
        Node("address", AddressShift2d(ones), ("shift",), act),
        Node("narrow", Requantize((ones,), zeros, 1, 0, 127), ("address",), TensorType((2, 4, 4), IntType(7, False))),
        Node("pick", SelectChannels(np.array([1, 1, 0])), ("address",), TensorType((3, 4, 4), U8)),
        Node("join", Concat(), ("pick", "input"), TensorType((5, 4, 4), U8)),
        Node("large", Upsample2d((1, 3)), ("join",), TensorType((5, 4, 12), U8)),
        Node("double", BilinearUpsample2d(), ("input",), TensorType((2, 8, 8), IntType(13, True))),
        Node("doubled", kept, ("double",), TensorType((2, 8, 8), U8)),
        Node("pool", MaxPool2d((4, 4), (1, 1)), ("input",), TensorType((2, 1, 1), U8)),
        Node("product", Multiply(), ("input", "pool"), TensorType((2, 4, 4), IntType(17, True))),
        Node("scaled", kept, ("product",), act),
        Node("table", Lookup(np.arange(256) - 100, "f"), ("scaled",), TensorType((2, 4, 4), IntType(9, True))),
    )
    return Graph("moves", nodes, ("large", "doubled", "table", "halves"))


def changed(name: str, /, graph: Graph | None = None, **fields: object) -> Graph:
    """The good graph, or another, with fields of one node replaced; `op_` prefixed ones are the operation's."""
    graph = graph or good()
    node = graph[name]
    op = fields.pop("op", node.op)
    op = replace(op, **{key[3:]: value for key, value in fields.items() if key.startswith("op_")})  # type: ignore
    fields = {key: value for key, value in fields.items() if not key.startswith("op_")}
    fresh = replace(node, op=op, **fields)
    return replace(graph, nodes=tuple(fresh if other.name == name else other for other in graph.nodes))


def reordered() -> Graph:
    graph = good()
    return replace(graph, nodes=(graph.nodes[0], graph.nodes[2], graph.nodes[1], *graph.nodes[3:]))


def weight(sign: int = 1, exponent: int = 0, shape: tuple[int, ...] = (1, 2, 2, 3, 3)) -> ShiftWeight:
    return ShiftWeight(np.full(shape, sign, np.int8), np.full(shape, exponent, np.int8))


def tensor(shape: tuple[int, int, int], bits: int, signed: bool, scale: float = 1.0) -> TensorType:
    return TensorType(shape, IntType(bits, signed), scale)


LONG = np.ones(3, np.int64)
BAD: dict[str, tuple[Callable[[], Graph], str]] = {
    "order": (reordered, "add .*reads 'conv', which no earlier node makes"),
    "no such tensor": (lambda: changed("max", inputs=("nothing",)), "max .*reads 'nothing'"),
    "name twice": (lambda: changed("max", name="conv"), "conv .*occurs before"),
    "input in the middle": (lambda: replace(good(), nodes=(*good().nodes, replace(good().nodes[0], name="b"))),
                            "b .*must be the Input if, and only if, it is first"),
    "no input": (lambda: replace(good(), nodes=good().nodes[1:]), "conv .*must be the Input"),
    "too many inputs": (lambda: changed("max", inputs=("add", "add")), "max .*has 2 inputs, must have 1"),
    "empty": (lambda: Graph("net", (), ()), "net: a graph must have nodes"),
    "no outputs": (lambda: replace(good(), outputs=()), "net: a graph must have nodes and outputs"),
    "unknown output": (lambda: replace(good(), outputs=("gone",)), "net: output 'gone'"),
    "accumulator as output": (lambda: replace(good(), outputs=("sum",)), "sum .*not quantized"),
    "accumulator read by a pool": (lambda: changed("max", inputs=("conv",)), "only a Requantize may"),
    "accumulator second": (lambda: changed("add", inputs=("input", "conv")), "it must come first"),
    "shape": (lambda: changed("conv", output=tensor((2, 4, 5), 14, True)), r"its inputs give \(2, 4, 4\)"),
    "zero size": (lambda: changed("conv", output=tensor((2, 0, 4), 14, True)), "three positive sizes"),
    "residual shape": (lambda: changed("mean", inputs=("sum", "max"), op_multiplier=(LONG[:2], LONG[:2])),
                       "joins tensors of shapes"),
    "channels": (lambda: changed("conv", op_weight=weight(shape=(1, 2, 3, 3, 3))), "3 input channels, its input has 2"),
    "window too large": (lambda: changed("conv", op_padding=(0, 0, 0, 0), op_weight=weight(shape=(1, 2, 2, 5, 3))),
                         "window larger than its padded input"),
    "narrow accumulator": (lambda: changed("conv", output=tensor((2, 4, 4), 13, True)),
                           "has a s13 accumulator; its sums need s14"),
    "unsigned accumulator": (lambda: changed("conv", output=tensor((2, 4, 4), 14, False)), "u14 accumulator"),
    "wide activation": (lambda: changed("input", output=tensor((2, 4, 4), 33, False)), "33-bit activations"),
    "one-bit activation": (lambda: changed("input", output=tensor((2, 4, 4), 1, False)), "1-bit activations"),
    "changed type": (lambda: changed("max", output=tensor((2, 2, 2), 9, False)), "makes u9 of u8"),
    "signed is no bool": (lambda: changed("input", output=tensor((2, 4, 4), 8, "no")), "signed='no'"),  # type: ignore
    "graph's name": (lambda: replace(good(), name="a\nb"), "graph: has name 'a.*printable"),
    "node's name": (lambda: changed("max", name=""), "net: node 5 has name ''; must be printable"),
    "scale is no number": (lambda: changed("input", output=tensor((2, 4, 4), 8, False, "1")), "scale 1"),  # type: ignore
    "scale": (lambda: changed("input", output=tensor((2, 4, 4), 8, False, math.nan)), "has scale nan"),
    "sign": (lambda: changed("conv", op_weight=weight(sign=2)), "signs other than -1, 0, 1"),
    "exponent": (lambda: changed("conv", op_weight=weight(exponent=16)), "exponents 16..16; must be 0..15"),
    "exponent of zero": (lambda: changed("conv", op_weight=weight(sign=0, exponent=1)), "where the sign is 0"),
    "terms": (lambda: changed("conv", op_weight=weight(shape=(5, 2, 2, 3, 3))), "1..4 terms"),
    "adder weight type": (lambda: changed("adder", op_weight=LONG[:2, None, None, None].astype(np.int32)),
                          "has weights int32"),
    "no adder weights": (lambda: changed("adder", op_weight=np.zeros((0, 2, 3, 3), np.int64)), "at least one"),
    "adder weight range": (lambda: changed("adder", op_weight=np.full((2, 2, 3, 3), 1 << 32)), r"must be within \+-"),
    "adder weight range below": (lambda: changed("adder", op_weight=np.full((2, 2, 3, 3), -(1 << 31) - 1)),
                                 r"must be within \+-2147483648"),
    "adder channels": (lambda: changed("adder", op_weight=np.zeros((2, 3, 3, 3), np.int64)), "3 input channels"),
    "adder groups": (lambda: changed("adder", op_groups=3), "3 groups, which must divide its 2"),
    "adder stride": (lambda: changed("adder", op_stride=(1, 0)), "strides and dilations of 1"),
    "narrow sums of distances": (lambda: changed("adder", output=tensor((2, 4, 4), 14, True)), "its sums need s15"),
    "sums of distances as output": (lambda: replace(good(), outputs=("adder",)), "adder .*not quantized"),
    "sums of distances into a pool": (lambda: changed("max", inputs=("adder",)), "only a Requantize may"),
    "stride": (lambda: changed("conv", op_stride=(0, 1)), "strides and dilations of 1"),
    "padding": (lambda: changed("conv", op_padding=(-1, 0, 0, 0)), "0 or more"),
    "padding pair": (lambda: changed("conv", op_padding=(1, 1)), r"must be \(top, left, bottom, right\)"),
    "groups": (lambda: changed("conv", op_groups=3), "3 groups"),
    "pool padding": (lambda: changed("max", op_padding=(2, 0, 0, 0)), "must be smaller than the kernel"),
    "multiplier length": (lambda: changed("mean", op_multiplier=(LONG,)), r"multiplier int64\[3\]; must be int64\[2\]"),
    "multiplier count": (lambda: changed("add", op_multiplier=(LONG[:2],)), "1 multiplier arrays for 2 inputs"),
    "multiplier type": (lambda: changed("mean", op_multiplier=(LONG[:2].astype(np.int32),)), "int32"),
    "multiplier range": (lambda: changed("mean", op_multiplier=(LONG[:2] << 31,)), "must be within"),
    "bias range": (lambda: changed("mean", op_bias=LONG[:2] << 62), "must be within"),
    "shift": (lambda: changed("mean", op_shift=48), "must be 0..47"),
    "clamp outside the type": (lambda: changed("mean", op_hi=256), "must be an ascending range inside u8"),
    "clamp reversed": (lambda: changed("mean", op_lo=200, op_hi=100), "ascending"),
    "rounding": (lambda: changed("mean", op_rounding="floor"), "must be a Rounding"),
}


def moved(name: str, /, **fields: object) -> tuple[Callable[[], Graph], str]:
    """A change to the graph of moves, and the message that it must give."""
    message = fields.pop("message")
    assert isinstance(message, str)
    return lambda: changed(name, moving(), **fields), message


BAD_MOVES: dict[str, tuple[Callable[[], Graph], str]] = {
    "displacements of other channels": moved("shift", op_displacement=np.zeros((3, 2), np.int64),
                                             message="displacements for 3 channels, its input has 2"),
    "displacements of one number": moved("shift", op_displacement=np.zeros((2, 1), np.int64), message="[channels, 2]"),
    "displacements of reals": moved("shift", op_displacement=np.zeros((2, 2)), message="displacements of another type"),
    "far displacement": moved("shift", op_displacement=np.full((2, 2), -65537), message=r"-65537\.\.-65537; must be"),
    "thirds of pixels": moved("shift", op_per_pixel=3, message="has 3 steps per pixel"),
    "shift's stride": moved("shift", op_stride=(0, 1), message=r"strides \(0, 1\)"),
    "halves of 8 bits": moved("halves", output=tensor((2, 2, 4), 8, False), message="makes u8 of u8; must make u10"),
    "halves of halves of 32 bits": moved("input", output=tensor((2, 4, 4), 32, False), message="must make u32|u34"),
    "whole pixels of 10 bits": moved("shift", output=tensor((2, 4, 4), 10, False), message="makes u10 of u8"),
    "strided size": moved("halves", output=tensor((2, 4, 4), 10, False), message=r"its inputs give \(2, 2, 4\)"),
    "offsets of other channels": moved("address", op_offset=np.zeros(1, np.int64), message="for 1 channels"),
    "offsets of two dimensions": moved("address", op_offset=np.zeros((2, 1), np.int64), message="offsets of another"),
    "far offset": moved("address", op_offset=np.array([0, 65537]), message=r"must be within -65536\.\.65536"),
    "channel that is not there": moved("pick", op_channels=np.array([0, 2, 1]), message=r"channels 0\.\.2; must"),
    "channel below 0": moved("pick", op_channels=np.array([0, -1, 1]), message=r"channels -1\.\.1; must be within 0"),
    "no channels": moved("pick", op_channels=np.zeros(0, np.int64), message="at least one"),
    "channels taken": moved("pick", op_channels=np.array([0]), message=r"its inputs give \(1, 4, 4\)"),
    "join of two sizes": moved("join", inputs=("halves", "input"), message="joins maps 2x4 u10 and 4x4 u8; they"),
    "join of two types": moved("join", inputs=("input", "narrow"), message="joins maps 4x4 u8 and 4x4 u7"),
    "join of an accumulator": moved("table", op=Concat(), inputs=("double",), message="only a Requantize may"),
    "join of nothing": moved("join", inputs=(), message="has 0 inputs, must have"),
    "factor of 0": moved("large", op_factor=(0, 3), message=r"factor \(0, 3\); must be two whole numbers of 1 or more"),
    "zeros is no bool": moved("large", op_zeros=1, message="must be two whole numbers"),
    "enlarged size": moved("large", op_factor=(3, 1), message=r"its inputs give \(5, 12, 4\)"),
    "narrow enlargement": moved("double", output=tensor((2, 8, 8), 12, True),
                                message="s12 accumulator; its sums need s13"),
    "enlargement read by a pool": moved("table", op=MaxPool2d((1, 1), (1, 1)), inputs=("double",),
                                        message="only a Requantize may"),
    "product of one": moved("product", inputs=("input",), message="has 1 inputs, must have 2"),
    "product with a larger map": moved("product", inputs=("pool", "input"), message="joins tensors of shapes"),
    "product with other channels": moved("product", inputs=("input", "pick"), message="joins tensors of shapes"),
    "narrow product": moved("product", output=tensor((2, 4, 4), 16, True), message="its sums need s17"),
    "product as output": (lambda: replace(moving(), outputs=("product",)), "product .*not quantized"),
    "short table": moved("table", op_table=np.arange(128), message="has 128 entries; must be 256, one per value"),
    "table beyond its type": moved("table", op_table=np.arange(256) + 1, message=r"entries 1\.\.256; must be within"),
    "table of int32": moved("table", op_table=np.zeros(256, np.int32), message="entries of another type"),
    "table of wide values": moved("table", inputs=("halves",), output=tensor((2, 2, 4), 9, True),
                                  message="reads 10-bit activations; a table takes at most 8"),
    "function is no name": moved("table", op_function=None, message="has the function None; must be a name"),
}


def test_good_graphs_pass() -> None:
    verify(good())
    verify(moving())


def test_residual_that_adds_nothing_is_legal() -> None:
    graph = changed("add", op_multiplier=(LONG[:2], LONG[:2] * 0))
    verify(graph)
    images = np.arange(2 * 16).reshape(1, 2, 4, 4)
    alone = changed("add", op_multiplier=(LONG[:2],), inputs=("conv",))
    assert np.array_equal(interpret(graph, images)["flat"], interpret(alone, images)["flat"])


@pytest.mark.parametrize(("make", "message"), (BAD | BAD_MOVES).values(), ids=BAD | BAD_MOVES)
def test_inconsistency_is_named(make: Callable[[], Graph], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message) as caught:
        verify(make())
    assert "\n" not in str(caught.value)
