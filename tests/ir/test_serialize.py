"""Graphs to JSON values and arrays, and back."""

import json

import numpy as np
import pytest

from shifthw import zoo
from shifthw.errors import UnsupportedModel
from shifthw.ir import (
    AdderConv2d,
    AddressShift2d,
    BilinearUpsample2d,
    Concat,
    Graph,
    Input,
    IntType,
    Lookup,
    Multiply,
    Node,
    Requantize,
    SelectChannels,
    SpatialShift2d,
    TensorType,
    Upsample2d,
    accumulator_type,
    interpret,
    output_shape,
    verify,
)
from shifthw.ir.serialize import from_document, to_document


def test_round_trip_keeps_every_value() -> None:
    graph = zoo.build("digits")
    document, arrays = to_document(graph)
    again = from_document(json.loads(json.dumps(document)), arrays)
    verify(again)
    assert (again.name, again.outputs, again.metadata) == (graph.name, graph.outputs, graph.metadata)
    second, second_arrays = to_document(again)
    assert second == document
    assert list(second_arrays) == list(arrays)
    assert all(np.array_equal(second_arrays[key], arrays[key]) for key in arrays)


def test_adder_layer_comes_back_and_is_checked() -> None:
    op = AdderConv2d(np.arange(-9, 9).reshape(1, 2, 3, 3), (2, 1), (1, 0, 2, 1), (1, 2))
    source = TensorType((2, 5, 7), IntType(8, True), 0.5)
    sums = TensorType(output_shape(op, (source,)), accumulator_type(op, source), 0.5)
    quantized = Requantize((np.ones(1, np.int64),), np.zeros(1, np.int64), 3, -128, 127)
    nodes = (Node("input", Input(), (), source), Node("adder", op, ("input",), sums),
             Node("out", quantized, ("adder",), TensorType(sums.shape, IntType(8, True))))
    document, arrays = to_document(Graph("net", nodes, ("out",)))
    document = json.loads(json.dumps(document))
    again = from_document(document, arrays)
    verify(again)
    found = again["adder"].op
    assert isinstance(found, AdderConv2d)
    assert np.array_equal(found.weight, op.weight)
    assert (found.stride, found.padding, found.dilation, found.groups) == (op.stride, op.padding, op.dilation, 1)
    with pytest.raises(ValueError, match="must have 4 dimensions"):
        from_document(document, arrays | {"adder/weight": op.weight[0]})
    with pytest.raises(UnsupportedModel, match="has weights float64"):
        verify(from_document(document, arrays | {"adder/weight": op.weight * 1.0}))


def moving() -> Graph:
    """Every operation that moves values, a product, an enlargement between pixels, a table."""
    u8, u10, shape = IntType(8, False), IntType(10, False), (2, 3, 4)
    small, large = TensorType(shape, u8), TensorType((3, 6, 4), u8)
    kept = Requantize((np.ones(2, np.int64),), np.zeros(2, np.int64), 4, 0, 255)
    wide = accumulator_type(BilinearUpsample2d(), small)
    nodes = (
        Node("x", Input(), (), small),
        Node("shift", SpatialShift2d(np.array([[0, -3], [7, 1]]), 2), ("x",), TensorType(shape, u10, 0.25)),
        Node("strided", SpatialShift2d(np.array([[0, -3], [7, 1]]), 1, (1, 2)), ("x",), TensorType((2, 3, 2), u8)),
        Node("quarter", kept, ("shift",), small),
        Node("address", AddressShift2d(np.array([-5, 2])), ("quarter",), small),
        Node("product", Multiply(), ("x", "address"), TensorType(shape, accumulator_type(Multiply(), small, small))),
        Node("scaled", kept, ("product",), small),
        Node("table", Lookup(np.arange(256)[::-1].copy(), "leaky_relu 0.125"), ("scaled",), small),
        Node("pick", SelectChannels(np.array([1])), ("table",), TensorType((1, 3, 4), u8)),
        Node("join", Concat(), ("pick", "x"), TensorType((3, 3, 4), u8)),
        Node("tall", Upsample2d((2, 1)), ("join",), large),
        Node("stuffed", Upsample2d((2, 3), zeros=True), ("strided",), TensorType((2, 6, 6), u8)),
        Node("double", BilinearUpsample2d(), ("x",), TensorType((2, 6, 8), wide)),
        Node("enlarged", kept, ("double",), TensorType((2, 6, 8), u8)),
    )
    return Graph("moves", nodes, ("tall", "stuffed", "enlarged"))


def test_moves_products_and_tables_come_back() -> None:
    graph = moving()
    verify(graph)
    document, arrays = to_document(graph)
    again = from_document(json.loads(json.dumps(document)), arrays)
    verify(again)
    assert to_document(again)[0] == document
    assert [node.output for node in again.nodes] == [node.output for node in graph.nodes]
    images = np.random.default_rng(5).integers(0, 256, (3, 2, 3, 4))
    results, expected = interpret(again, images, keep="all"), interpret(graph, images, keep="all")
    assert all(np.array_equal(results[name], value) for name, value in expected.items())


@pytest.mark.parametrize(("node", "field", "value", "message"), [
    ("shift", "per_pixel", True, "per_pixel must be int"), ("shift", "stride", 2, "stride must be list"),
    ("tall", "factor", [2.0, 1], "factor must be a list of int"), ("tall", "zeros", 0, "zeros must be bool"),
    ("table", "function", 3, "function must be str"),
])
def test_malformed_field_is_named(node: str, field: str, value: object, message: str) -> None:
    document, arrays = to_document(moving())
    next(entry for entry in document["nodes"] if entry["name"] == node)[field] = value
    with pytest.raises(TypeError, match=message):
        from_document(document, arrays)


@pytest.mark.parametrize("key", ["shift/displacement", "address/offset", "pick/channels", "table/table"])
def test_missing_array_is_named(key: str) -> None:
    document, arrays = to_document(moving())
    del arrays[key]
    with pytest.raises(KeyError, match=key):
        from_document(document, arrays)


def test_unknown_operation_is_named() -> None:
    document, arrays = to_document(zoo.build("digits"))
    document["nodes"][3]["op"] = "Softmax"
    with pytest.raises(ValueError, match="unknown operation 'Softmax'"):
        from_document(document, arrays)
